# SPDX-License-Identifier: MIT
"""What one address showed in a test; `smtp_steps` fills it in, expectations judge it."""

import msgspec

from bridgehead.admin.probe.certificate import Certificate
from bridgehead.mail.reply import Reply
from bridgehead.smtp.client_events import Extensions


class Observed(msgspec.Struct, kw_only=True):
    """What one address showed, as far as the test came.

    Attributes:
        address: "192.0.2.1:25".
        reachable: it greeted us and answered EHLO.
        before, after: what was offered in clear and over TLS; `after` is None without TLS.
        tls_version: "TLSv1.3", "" without TLS.
        chain: as sent.
        trusted: whether the chain leads to a trust anchor and is valid; None where nobody looked.
        logged_on: whether the log-on worked; None where there was none.
        replies: to RCPT by recipient; MAIL's under "".
    """

    address: str
    source: str = ""
    reachable: bool = False
    before: Extensions | None = None
    after: Extensions | None = None
    tls_version: str = ""
    chain: list[Certificate] = []
    trusted: bool | None = None
    logged_on: bool | None = None
    replies: dict[str, Reply] = {}

    @property
    def offered(self) -> Extensions | None:
        """What counts: after TLS where there is TLS."""
        return self.after or self.before
