# SPDX-License-Identifier: MIT
"""The ways out for alarms: what a channel is, its words, and the log, which is always one.

Mail, webhook and command have modules of their own. None of them uses a queue, a connector or the SMTP client of this
server: what tells of its failure must not fail with it.
"""

import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from bridgehead.monitoring.book import Notice, Occasion
from bridgehead.net.trust import verifying_context
from bridgehead.tracking.alarms import Severity

log = logging.getLogger("bridgehead.alarms")


class ChannelFault(Exception):
    """A channel could tell nobody; the message says why, in words fit for a log, and holds no secret."""


class Channel(Protocol):
    """One way out."""

    @property
    def name(self) -> str:
        """What commands and the book call it."""

    async def send(self, notices: Sequence[Notice]) -> None:
        """Tell all of them, or raise ChannelFault. Takes no longer than its time-out."""


class NoticeView(msgspec.Struct, frozen=True, kw_only=True):
    """A notice as programs read it. `since`: Unix time as ISO 8601, UTC."""

    occasion: Occasion
    id: str
    severity: Severity
    since: datetime
    text: str
    remedy: str


class Bulletin(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook or command is given."""

    server: str
    sent: datetime
    notices: list[NoticeView]


def bulletin(server: str, now: float, notices: Sequence[Notice]) -> bytes:
    """Notices as JSON."""
    views = [
        NoticeView(
            occasion=notice.occasion,
            id=notice.alarm.id,
            severity=notice.alarm.severity,
            since=datetime.fromtimestamp(notice.alarm.since, UTC),
            text=notice.alarm.text,
            remedy=notice.alarm.remedy,
        )
        for notice in notices
    ]
    return msgspec.json.encode(Bulletin(server=server, sent=datetime.fromtimestamp(now, UTC), notices=views))


def client_context(*, verify: bool, ca_file: str = "") -> ssl.SSLContext:
    """A TLS context, made anew so that renewed trust anchors are used at once. Raises OSError, ssl.SSLError."""
    context = verifying_context(ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_HEADINGS = {
    Occasion.RAISED: "{}", Occasion.WORSE: "{}, worse", Occasion.REMINDER: "{}, still", Occasion.CLEARED: "all clear",
    Occasion.TEST: "test",
}  # fmt: skip


def heading(notice: Notice) -> str:
    """ "CRITICAL", "WARNING, still", "all clear"."""
    return _HEADINGS[notice.occasion].format(notice.alarm.severity.upper())


class LogChannel:
    """Alarms in the server's own log, where they are told whatever else is set up."""

    name = "log"

    async def send(self, notices: Sequence[Notice]) -> None:
        """Never fails."""
        for notice in notices:
            alarm = notice.alarm
            level = logging.WARNING
            if notice.occasion in (Occasion.CLEARED, Occasion.TEST):
                level = logging.INFO
            elif alarm.severity is Severity.CRITICAL:
                level = logging.ERROR
            remedy = f"; {alarm.remedy}" if alarm.remedy and notice.occasion is not Occasion.CLEARED else ""
            log.log(level, "alarm %s: %s: %s%s", alarm.id, heading(notice), alarm.text, remedy)
