# SPDX-License-Identifier: MIT
"""Settings of our own MTA-STS policies (RFC 8461), which other servers fetch from us."""

import msgspec

from bridgehead.mail.units import Duration
from bridgehead.routing.mta_sts import StsMode


class MtaStsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policies that we publish, and where.

    Attributes:
        binding: serves https://mta-sts.DOMAIN/.well-known/mta-sts.txt, "0.0.0.0:443"; empty: not served here.
        mode: testing: senders report and deliver; enforce: they deliver to these hosts over verified TLS only.
        mx: host names of MX records, "*.contoso.com" for any in it; empty: the `fqdn` of connectors that take mail
            from strangers.
        max_age: for how long senders remember; weeks once it is proved.
        domains: that have a policy; empty: every accepted domain without a wildcard.
    """

    binding: str = ""
    mode: StsMode = StsMode.TESTING
    mx: list[str] = []
    max_age: Duration = Duration(days=7)
    domains: list[str] = []
