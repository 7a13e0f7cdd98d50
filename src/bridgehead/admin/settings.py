# SPDX-License-Identifier: MIT
"""Settings of the management interface: who of this machine may use it, and whether it is offered to others."""

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP interface. Root and the server's own account are administrators on its Unix socket; others have the
    highest role in whose list they stand, as "name" of an account or "group:name".

    Attributes:
        binding: address and port of TCP, "192.0.2.10:8443"; only with TLS and a login. "" offers none.
        tls_certificate_file, tls_key_file: PEM pair for it; the server's own where these are empty.
        administrators_file: logins and tokens for it, written by `bridgehead administrator`.
        local_administrators: accounts and groups of this machine that may change the server itself.
        local_operators: those that may act on queues and messages.
        local_viewers: those that may see everything but message content.
        local_help_desk: those that may see queues, messages and traces without subjects.
    """

    binding: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    administrators_file: str = "administrators.json"
    local_administrators: list[str] = []
    local_operators: list[str] = []
    local_viewers: list[str] = []
    local_help_desk: list[str] = []
