# SPDX-License-Identifier: MIT
"""Reports read back: what a delivery-status report, ours or another server's, says of whom (RFC 3462, 3464, 6533).

Reading is bounded and forgiving where RFC 3464 is; anything that is no such report is a `NotAReport`.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from typing import Final

import msgspec

from bridgehead.mail.header import HeaderBlock, clean_text, split_header
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, DSN_FIELDS_BYTES, REPORTED_RECIPIENTS
from bridgehead.mail.mime import BOUNDARY_CHARACTERS, content_type, parts_of

_STATUS_TYPES: Final = ("message/delivery-status", "message/global-delivery-status")
_ORIGINAL_TYPES: Final = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
_ENCODED_CHAR: Final = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class NotAReport(ValueError):
    """The message is no delivery-status report; the text says what is missing."""


class ParsedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one recipient; addresses without their type, "" for what is not said."""

    final_recipient: str
    action: str
    status: str
    original_recipient: str = ""
    remote_mta: str = ""
    diagnostic: str = ""
    last_attempt: str = ""
    will_retry_until: str = ""


class ParsedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report as read. `original_header` is the header of the message it is about, b"" where it is not returned."""

    reporting_mta: str
    recipients: list[ParsedRecipient]
    envelope_id: str = ""
    arrival: str = ""
    original_header: bytes = b""


def parse_report(data: bytes) -> ParsedReport:
    """Read a whole message. Raises NotAReport."""
    header, body = split_header(data)
    media_type, parameters = content_type(HeaderBlock(header))
    if media_type != "multipart/report" or parameters.get("report-type", "").lower() != "delivery-status":
        raise NotAReport("the message is not of type multipart/report; report-type=delivery-status")
    boundary = parameters.get("boundary", "")
    if not boundary or len(boundary) > BOUNDARY_CHARACTERS:
        raise NotAReport("the boundary is missing or too long")
    fields, original = None, b""
    for part_type, content in _parts(body, boundary):
        if part_type in _STATUS_TYPES and fields is None:
            fields = content[:DSN_FIELDS_BYTES]
        elif part_type in _ORIGINAL_TYPES:
            original = split_header(content)[0]
    if fields is None:
        raise NotAReport("no part holds the delivery status")
    return _report(fields, original)


def _report(fields: bytes, original: bytes) -> ParsedReport:
    groups = [HeaderBlock(group + b"\r\n") for group in re.split(rb"(?:\r?\n){2,}", fields.strip()) if group.strip()]
    if len(groups) < 2:
        raise NotAReport("the delivery status names no recipient")
    if len(groups) > REPORTED_RECIPIENTS + 1:
        raise NotAReport(f"the delivery status names more than {REPORTED_RECIPIENTS} recipients")
    return ParsedReport(
        reporting_mta=_typed(groups[0], b"reporting-mta"),
        envelope_id=_value(groups[0], b"original-envelope-id"),
        arrival=_value(groups[0], b"arrival-date"),
        recipients=[_recipient(group) for group in groups[1:]],
        original_header=original,
    )


def _recipient(group: HeaderBlock) -> ParsedRecipient:
    status = _STATUS.match(_value(group, b"status"))
    if status is None:
        raise NotAReport("a recipient has no status code")
    return ParsedRecipient(
        final_recipient=_typed(group, b"final-recipient"),
        original_recipient=_typed(group, b"original-recipient"),
        action=_value(group, b"action").lower(),
        status=status[0],
        remote_mta=_typed(group, b"remote-mta"),
        diagnostic=_typed(group, b"diagnostic-code"),
        last_attempt=_value(group, b"last-attempt-date"),
        will_retry_until=_value(group, b"will-retry-until"),
    )


def _value(group: HeaderBlock, name: bytes) -> str:
    text = clean_text(group.first(name).decode("utf-8", "replace"), 2 * DIAGNOSTIC_TEXT)
    return " ".join(text.split())


def _typed(group: HeaderBlock, name: bytes) -> str:
    """The value after its type; utf-8-addr-xtext decoded (RFC 6533 §3)."""
    kind, separator, value = _value(group, name).partition(";")
    if not separator:
        return kind
    value = value.strip()
    return _ENCODED_CHAR.sub(_decoded, value) if kind.strip().lower() == "utf-8" else value


def _decoded(match: "re.Match[str]") -> str:
    number = int(match[1], 16)
    return chr(number) if 0x20 <= number < 0x110000 and not 0xD800 <= number < 0xE000 else "?"


def _parts(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """Type and decoded content of each part at the top level."""
    return [
        (content_type(block)[0], _decode(content, block.first(b"content-transfer-encoding").lower()))
        for block, content in parts_of(body, boundary)
    ]


def _decode(content: bytes, encoding: bytes) -> bytes:
    if encoding == b"base64":
        try:
            return a2b_base64(content)
        except Base64Error:
            raise NotAReport("a part is not valid base64") from None
    return a2b_qp(content) if encoding == b"quoted-printable" else content
