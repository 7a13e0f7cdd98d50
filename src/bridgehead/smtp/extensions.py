# SPDX-License-Identifier: MIT
"""Service extensions a server offers, as a table from feature to EHLO line (RFC 5321 §2.2, §4.1.1.1).

Which are on is the connector's decision; `Features` carries it into the engine.
"""

import msgspec


class Features(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What this session offers now. Replaced as a whole when TLS or a login changes it.

    Attributes:
        max_message_size: octets declared with SIZE (RFC 1870); 0 offers SIZE without a number, None not at all.
        auth_mechanisms: names offered with AUTH (RFC 4954); empty: AUTH is not offered.
        max_recipients: RCPTMAX of LIMITS (RFC 9422); 0: not declared.
        require_tls: REQUIRETLS is offered (RFC 8689), which is so over TLS only.
    """

    pipelining: bool = True
    max_message_size: int | None = 0
    eight_bit_mime: bool = True
    binary_mime: bool = True
    chunking: bool = True
    smtputf8: bool = True
    dsn: bool = True
    enhanced_status_codes: bool = True
    starttls: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    max_recipients: int = 0
    require_tls: bool = False


def ehlo_lines(features: Features) -> list[str]:
    """The keyword lines of the EHLO reply, in a fixed order."""
    size = "SIZE" if not features.max_message_size else f"SIZE {features.max_message_size}"
    table = (
        (features.max_message_size is not None, size),
        (features.pipelining, "PIPELINING"),
        (features.dsn, "DSN"),
        (features.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
        (features.starttls, "STARTTLS"),
        (bool(features.auth_mechanisms), "AUTH " + " ".join(features.auth_mechanisms)),
        (features.eight_bit_mime, "8BITMIME"),
        (features.binary_mime and features.chunking, "BINARYMIME"),
        (features.chunking, "CHUNKING"),
        (features.smtputf8 and features.eight_bit_mime, "SMTPUTF8"),
        (features.require_tls, "REQUIRETLS"),
        (features.max_recipients > 0, f"LIMITS RCPTMAX={features.max_recipients}"),
    )
    return [line for offered, line in table if offered]
