# SPDX-License-Identifier: MIT
"""Settings of the embedded directory."""

import msgspec


class DirectorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where recipients and logins are kept.

    Attributes:
        recipients_file: SQLite database (".db", ".sqlite") or TOML file; changed by `bridgehead recipient`.
        users_file: logins with salted password verifiers; changed by `bridgehead user`.
    """

    recipients_file: str = "recipients.db"
    users_file: str = "users.toml"
