# SPDX-License-Identifier: MIT
"""Settings of the categorizer: organisation limits (Set-TransportConfig names in snake case)."""

import msgspec

from bridgehead.mail.units import ByteSize, Count


class CategorizerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Organisation-wide limits, applied to every message but reports.

    Attributes:
        max_send_size: mail from inside (authenticated) to anywhere; max_receive_size: mail from outside.
        max_recipient_envelope_limit: recipients before expansion; a group counts once.
        expansion_size_limit: recipients of one copy after expansion; more are spread over several copies.
        plus_addressing_enabled: user+detail@domain reaches user@domain.
    """

    max_send_size: ByteSize = ByteSize(36 * 1024**2)
    max_receive_size: ByteSize = ByteSize(36 * 1024**2)
    max_recipient_envelope_limit: Count = Count(500)
    expansion_size_limit: int = 1000
    plus_addressing_enabled: bool = True
