# SPDX-License-Identifier: MIT
"""Reports as messages: words for people, fields for machines and the original (multipart/report, RFC 3462, 6533).

The readable part has Exchange's layout. Whatever comes from outside is escaped for where it stands. The report is valid
for any next hop: all of it is 7-bit except an 8-bit original, which needs 8BITMIME as it did on its way here.
"""

import re
from binascii import b2a_base64, b2a_qp
from email.header import Header
from email.utils import formatdate
from typing import Final

import msgspec

from bridgehead.dsn.original import Original
from bridgehead.dsn.readable import readable_html, readable_text
from bridgehead.dsn.report import Report, delivery_status
from bridgehead.dsn.texts import SUBJECTS
from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import SUBJECT_TEXT

_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]{1,900}>")
_SEVERITY: Final = (Action.FAILED, Action.DELAYED, Action.EXPANDED, Action.RELAYED, Action.DELIVERED)


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a report is made from.

    Attributes:
        report: what became of whom.
        original: what is returned of the message.
        to: the reverse-path of the original.
        postmaster: From of the report.
        original_subject, original_message_id: "" where absent.
        message_id: of the report itself, with angle brackets.
        boundary: token that does not occur elsewhere, letters and digits.
        now: Unix time.
        send_html: an HTML part stands beside the plain one.
        utf8: the sender's address or message uses SMTPUTF8: fields may be UTF-8 (RFC 6533).
    """

    report: Report
    original: Original
    to: Mailbox
    postmaster: Mailbox
    message_id: str
    boundary: str
    now: float
    original_subject: str = ""
    original_message_id: str = ""
    send_html: bool = True
    utf8: bool = False


class ComposedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A finished report.

    Attributes:
        pieces: header and body with CR LF; one of them may be large.
        subject: as people read it.
        has_8bit: next hops must offer 8BITMIME.
        headers_utf8: next hops must offer SMTPUTF8.
    """

    pieces: tuple[bytes, ...]
    subject: str
    has_8bit: bool
    headers_utf8: bool

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """Octets."""
        return sum(map(len, self.pieces))


def compose(parts: Composition) -> ComposedReport:
    """The report as a message."""
    subject = clean_text(f"{subject_word(parts.report)}: {parts.original_subject}", SUBJECT_TEXT)
    eight_bit = parts.original.is_eight_bit_message
    header = _header(parts, subject, eight_bit)
    pieces = (
        header, b"\r\n",
        _delimiter(parts.boundary), _readable(parts),
        _delimiter(parts.boundary), _fields(parts),
        _delimiter(parts.boundary), *_returned(parts.original),
        f"\r\n--{parts.boundary}--\r\n".encode(),
    )  # fmt: skip
    return ComposedReport(pieces=pieces, subject=subject, has_8bit=eight_bit, headers_utf8=not header.isascii())


def subject_word(report: Report) -> str:
    """ "Undeliverable", "Delivery delayed" ...: the gravest outcome names the report."""
    actions = {recipient.status.action for recipient in report.recipients}
    return SUBJECTS[next(action for action in _SEVERITY if action in actions)]


def _header(parts: Composition, subject: str, eight_bit: bool) -> bytes:
    to = parts.to.in_ascii() or parts.to
    sender = parts.postmaster.in_ascii() or parts.postmaster
    lines = [
        f"From: Mail Delivery System <{sender}>",
        f"To: <{to}>",
        f"Date: {formatdate(parts.now)}",
        f"Subject: {encoded_text(subject, 'Subject')}",
        f"Message-ID: {parts.message_id}",
    ]
    if _MESSAGE_ID.fullmatch(parts.original_message_id):
        lines += [f"In-Reply-To: {parts.original_message_id}", f"References: {parts.original_message_id}"]
    lines += [
        "Auto-Submitted: auto-replied",
        "Content-Language: en-US",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{parts.boundary}"',
    ]
    if eight_bit:
        lines.append("Content-Transfer-Encoding: 8bit")
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def encoded_text(text: str, field: str) -> str:
    """Unstructured text for a header field, as encoded words where it needs them (RFC 2047), folded with CR LF."""
    plain = text.isascii() and "=?" not in text and max(map(len, text.split(" "))) < 70
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return Header(safe, "us-ascii" if plain else "utf-8", header_name=field).encode(linesep="\r\n")


def _readable(parts: Composition) -> bytes:
    text = _text_part("plain", readable_text(parts.report, parts.original))
    if not parts.send_html:
        return text
    inner = f"{parts.boundary}text"
    return b"".join((
        f'Content-Type: multipart/alternative; boundary="{inner}"\r\n\r\n'.encode(),
        _delimiter(inner), text,
        _delimiter(inner), _text_part("html", readable_html(parts.report, parts.original)),
        f"\r\n--{inner}--\r\n".encode(),
    ))  # fmt: skip


def _text_part(subtype: str, text: str) -> bytes:
    encoded = b2a_qp(text.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head.encode() + encoded


def _fields(parts: Composition) -> bytes:
    fields = delivery_status(parts.report, utf8=parts.utf8)
    if fields.isascii():
        return b"Content-Type: message/delivery-status\r\n\r\n" + fields
    return _base64_part("message/global-delivery-status", fields)


def _returned(original: Original) -> tuple[bytes, ...]:
    """The original, or its header, under the media type that may hold it; in pieces."""
    global_form = not original.header.isascii()
    if original.body is None:
        if global_form:
            return (_base64_part("message/global-headers", original.header),)
        return b"Content-Type: text/rfc822-headers\r\n\r\n", original.header
    if global_form:
        return (_base64_part("message/global", original.header + original.body),)
    encoding = b"Content-Transfer-Encoding: 8bit\r\n" if original.is_eight_bit_message else b""
    return b"Content-Type: message/rfc822\r\n" + encoding + b"\r\n", original.header, original.body


def _base64_part(media_type: str, data: bytes) -> bytes:
    """UTF-8 forms may be encoded (RFC 6533 §3, RFC 6532 §3.7), so that the report itself stays 7-bit."""
    lines = (b2a_base64(data[i : i + 57], newline=False) + b"\r\n" for i in range(0, len(data), 57))
    return f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode() + b"".join(lines)


def _delimiter(boundary: str) -> bytes:
    return f"\r\n--{boundary}\r\n".encode()
