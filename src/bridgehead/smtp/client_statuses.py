# SPDX-License-Identifier: MIT
"""What a reply means for a recipient: its `DeliveryStatus`, with the reply made safe to log and to quote (RFC 3463)."""

from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT
from bridgehead.mail.reply import Reply, reply_from_wire

_SHORT_STATUSES: Final = {f"2.{a}.{b} ": f"2.{a}.{b}" for a in range(10) for b in range(10)}


def reply_of(code: int, lines: list[bytes]) -> Reply:
    """The reply as a value."""
    return reply_from_wire(code, [line.decode("utf-8", "replace") for line in lines])


def positive_status(
    code: int, lines: list[bytes], *, action: Action, remote_mta: str, dsn_passed_on: bool
) -> DeliveryStatus:  # fmt: skip
    """The status of recipients whose content was taken. On the hot path: no regular expression, one object."""
    line = lines[0] if len(lines) == 1 else b" ".join(lines)
    text = f"{code} {line.decode('utf-8', 'replace')}"
    if len(text) > DIAGNOSTIC_TEXT or not text.isprintable():
        text = clean_text(text, DIAGNOSTIC_TEXT)
    status = _SHORT_STATUSES.get(text[4:10], "2.0.0")
    return DeliveryStatus(
        action=action, status=status, diagnostic=text, remote_mta=remote_mta, dsn_passed_on=dsn_passed_on
    )  # fmt: skip


def negative_status(code: int, lines: list[bytes], remote_mta: str) -> DeliveryStatus:
    """The status of recipients that a 4yz or 5yz reply is about."""
    reply = reply_of(code, lines)
    action, default = (Action.FAILED, "5.0.0") if code >= 500 else (Action.DELAYED, "4.0.0")
    return DeliveryStatus(
        action=action, status=reply.status or default, diagnostic=str(reply)[:DIAGNOSTIC_TEXT], remote_mta=remote_mta
    )  # fmt: skip
