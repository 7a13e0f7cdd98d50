# SPDX-License-Identifier: MIT
"""The machine-readable part of a report: message/delivery-status and its UTF-8 form (RFC 3464 §2, RFC 6533 §3).

Values come from outside and are made safe here: no field can end early, and no line grows past RFC 5322's limit.
"""

import re
from email.utils import formatdate
from typing import Final

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, ENVELOPE_ID_OCTETS, ORIGINAL_RECIPIENT_OCTETS

_FOLD_AT: Final = 76
_LONGEST: Final = 900
_SMTP_REPLY: Final = re.compile(r"[245]\d\d[ -]")
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]{1,30}")
_NOT_XTEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


class ReportedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one recipient. Times are Unix seconds, 0 for "not said".

    Attributes:
        final_recipient: where the message was to go in the end.
        original_recipient: "type;address" as the sender wrote it, "" where unknown.
        will_retry_until: only of a delay.
    """

    final_recipient: Mailbox
    status: DeliveryStatus
    original_recipient: str = ""
    last_attempt: float = 0.0
    will_retry_until: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one message.

    Attributes:
        reporting_mta: name of the server that reports.
        envelope_id: ENVID, decoded; "" where none.
        arrival: Unix time of acceptance.
    """

    reporting_mta: str
    recipients: list[ReportedRecipient]
    envelope_id: str = ""
    arrival: float = 0.0


def delivery_status(report: Report, *, utf8: bool) -> bytes:
    """The fields with CR LF: those of the message, then a group for each recipient.

    Args:
        utf8: write addresses as UTF-8 for message/global-delivery-status; else all is ASCII (RFC 6533 §3).
    """
    lines = _field("Reporting-MTA", f"dns;{report.reporting_mta}", utf8)
    if report.envelope_id:
        lines = _field("Original-Envelope-Id", report.envelope_id[: ENVELOPE_ID_OCTETS * 2], utf8) + lines
    if report.arrival:
        lines += _field("Arrival-Date", formatdate(report.arrival), utf8)
    for recipient in report.recipients:
        lines += ["", *_recipient(recipient, utf8)]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8" if utf8 else "ascii", "replace")


def _recipient(recipient: ReportedRecipient, utf8: bool) -> list[str]:
    status = recipient.status
    lines: list[str] = []
    if original := _original(recipient.original_recipient, utf8):
        lines += _field("Original-Recipient", original, utf8)
    lines += _field("Final-Recipient", typed_address(recipient.final_recipient, utf8), utf8)
    lines += _field("Action", status.action.value, utf8)
    lines += _field("Status", status.status, utf8)
    if status.remote_mta:
        lines += _field("Remote-MTA", f"dns;{status.remote_mta}", utf8)
    if status.diagnostic:
        kind = "smtp" if _SMTP_REPLY.match(status.diagnostic) else "x-bridgehead"
        lines += _field("Diagnostic-Code", f"{kind};{status.diagnostic[:DIAGNOSTIC_TEXT]}", utf8)
    if recipient.last_attempt:
        lines += _field("Last-Attempt-Date", formatdate(recipient.last_attempt), utf8)
    if recipient.will_retry_until and status.action is Action.DELAYED:
        lines += _field("Will-Retry-Until", formatdate(recipient.will_retry_until), utf8)
    return lines


def typed_address(mailbox: Mailbox, utf8: bool) -> str:
    """An address with its type (RFC 3464 §2.3.2); what is not ASCII as RFC 6533 §3 writes it."""
    ascii_form = mailbox.in_ascii()
    if ascii_form is not None:
        return f"rfc822;{ascii_form}"
    return f"utf-8;{mailbox if utf8 else _xtext(str(mailbox))}"


def _original(typed: str, utf8: bool) -> str:
    """ORCPT in the form of Original-Recipient, "" where it is of no use."""
    kind, separator, address = typed[: ORIGINAL_RECIPIENT_OCTETS * 2].partition(";")
    if not separator or not _ADDRESS_TYPE.fullmatch(kind):
        return ""
    if address.isascii():
        return f"{kind};{address}"
    return f"utf-8;{address if utf8 else _xtext(address)}"


def _xtext(address: str) -> str:
    r"""utf-8-addr-xtext of RFC 6533 §3: what is not ASCII as \x{HEX}."""
    return _NOT_XTEXT.sub(lambda match: f"\\x{{{ord(match[0]):X}}}", address)


def _field(name: str, value: str, utf8: bool) -> list[str]:
    """One field, folded at spaces; a word that is too long for a line is broken."""
    text = clean_text(value, 8 * DIAGNOSTIC_TEXT)
    if not utf8:
        text = text.encode("ascii", "replace").decode("ascii")
    lines = [f"{name}:"]
    for word in text.split():
        for part in (word[i : i + _LONGEST] for i in range(0, len(word), _LONGEST)):
            if len(lines[-1]) + len(part) < _FOLD_AT or lines == [f"{name}:"]:
                lines[-1] += f" {part}"
            else:
                lines.append(f" {part}")
    return lines
