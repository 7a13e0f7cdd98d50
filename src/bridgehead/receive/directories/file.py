# SPDX-License-Identifier: MIT
"""A message file as pickup and replay directories take it: what both share (pure; RFC 5322).

Text files of any system are read: their line ends become CR LF. The header must be made of fields only, with a blank
line behind it; what could be read in two ways is refused, never guessed.
"""

from collections.abc import Callable

import msgspec

from bridgehead.mail.address import QUOTED_STRING, AddressError, Mailbox, parse_mailbox
from bridgehead.mail.envelope import BodyType, Envelope
from bridgehead.mail.header import HeaderBlock, clean_text, display_text, first_address
from bridgehead.mail.identity import message_id_field
from bridgehead.mail.item import (
    SCL_FIELD,
    Directionality,
    MailItem,
    Source,
    TlsRequirement,
    read_scl,
    says_tls_optional,
)
from bridgehead.mail.priority import PRIORITY_FIELDS, priority_asked
from bridgehead.mail.trace_fields import date_time
from bridgehead.smtp.content import canonical_line_ends


class BadSubmission(ValueError):
    """The file is no message that can be submitted; the text says why, fit for a log."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller knows of a message about to be made: identity, time (Unix seconds) and our name."""

    internal_message_id: int
    network_message_id: str
    now: float
    fqdn: str


class Submission(msgspec.Struct, frozen=True):
    """A message ready to be submitted."""

    item: MailItem
    content: bytes


def open_file(data: bytes) -> tuple[HeaderBlock, bytes]:
    """Header and the rest, which begins with the blank line. Raises BadSubmission."""
    if b"\0" in data:
        raise BadSubmission("the file holds a NUL octet")
    text = canonical_line_ends(data)
    end = text.find(b"\r\n\r\n")
    if end < 0 or text.startswith(b"\r\n"):
        raise BadSubmission("a blank line between header and body was expected")
    header = HeaderBlock(text[: end + 2])
    position = 0
    for _, start, field_end in header.fields:
        if start != position:
            break
        position = field_end
    if position != len(header.block):
        # The line itself may be anything, a misplaced body with its secrets among it: it is found by its number.
        number = header.block.count(b"\r\n", 0, position) + 1
        raise BadSubmission(f"line {number} of the header is no field")
    return header, text[end + 2 :]


def address_list(values: list[bytes]) -> list[Mailbox]:
    """All addresses in the values of address fields, those of groups too (RFC 5322 §3.4). Raises BadSubmission."""
    found = []
    for value in values:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadSubmission("an address field is no UTF-8") from None
        for entry in _split_addresses(text):
            try:
                found.append(parse_mailbox(entry))
            except AddressError as error:
                raise BadSubmission(f'"{clean_text(entry, 80)}" is no address: {error}') from None
    return found


def _split_addresses(text: str) -> list[str]:
    """The addr-specs in a list, without names, comments and groups' names."""
    entries: list[str] = []
    words: list[str] = []
    angle: str | None = None
    position = depth = 0
    while position <= len(text):
        char = text[position : position + 1]
        if depth:
            position += 1 if char != "\\" else 2
            depth += (char == "(") - (char == ")")
            if not char:
                raise BadSubmission("a comment in an address field does not end")
            continue
        if char == '"' and (quoted := QUOTED_STRING.match(text, position)):
            words.append(quoted.group())
            position = quoted.end()
            continue
        if char == '"':
            raise BadSubmission("a quoted text in an address field does not end")
        if char == "(":
            depth = 1
        elif char == "<":
            end = text.find(">", position)
            if end < 0 or angle is not None:
                raise BadSubmission("the angle brackets of an address do not match")
            angle, position = text[position + 1 : end], end
        elif char in (",", ";", ""):
            entry = "".join(words).strip() if angle is None else angle
            if entry or angle is not None:
                entries.append(entry)
            words, angle = [], None
        elif char == ":" and "[" not in "".join(words):
            words = []
        elif angle is None:
            words.append(char)
        elif not char.isspace():
            raise BadSubmission("something follows the angle brackets of an address")
        position += 1
    return entries


def originator(header: HeaderBlock) -> Mailbox:
    """Sender where there is one, else the only address of From (RFC 5322 §3.6.2). Raises BadSubmission."""
    for name in (b"from", b"sender"):
        if header.count(name) > 1:
            raise BadSubmission(f"there are several {name.decode().title()} fields")
    authors = address_list(list(header.raw_values(b"from")))
    senders = address_list(list(header.raw_values(b"sender")))
    if len(senders) > 1:
        raise BadSubmission("Sender names several addresses")
    if senders:
        return senders[0]
    if not authors:
        raise BadSubmission("there is no address in From or Sender")
    if len(authors) > 1:
        raise BadSubmission("From names several addresses, so a Sender is needed")
    return authors[0]


def make_submission(
    arrival: Arrival, envelope: Envelope, received: str, header: bytes, body: bytes, *, connector: str,
    client_ip: str = "", helo: str = "",
) -> Submission:  # fmt: skip
    """The message of a file: trace field on top, Message-ID and Date added where they are missing.

    Args:
        received: what the Received field says before its id.
        header: fields that stay; body: the rest, beginning with the blank line.
        connector: the directory's name, in place of a connector's.
    """
    date = date_time(arrival.now)
    trace = f"Received: {received} with id\r\n <{arrival.internal_message_id}@{arrival.fqdn}>; {date}\r\n"
    block = HeaderBlock(header)
    added = ""
    message_id = display_text(block.first(b"message-id"))
    if not message_id:
        message_id = message_id_field(arrival.network_message_id, arrival.fqdn)
        added += f"Message-ID: {message_id}\r\n"
    if not block.first(b"date"):
        added += f"Date: {date}\r\n"
    content = b"".join((trace.encode(), header, added.encode(), body))
    has_8bit = not content.isascii()
    if has_8bit and envelope.body_type is BodyType.SEVEN_BIT:
        envelope.body_type = BodyType.EIGHT_BIT_MIME
    headers_utf8 = _is_utf8_beyond_ascii(header)
    envelope.smtputf8 = envelope.smtputf8 or headers_utf8
    item = MailItem(
        internal_message_id=arrival.internal_message_id,
        network_message_id=arrival.network_message_id,
        received_at=arrival.now,
        envelope=envelope,
        size=len(content),
        message_id=message_id,
        subject=display_text(block.first(b"subject")),
        priority=priority_asked({name: block.first(name) for name in PRIORITY_FIELDS}),
        header_from=first_address(block.first(b"sender")) or first_address(block.first(b"from")),
        source=Source.PICKUP,
        connector=connector,
        client_ip=client_ip,
        helo=helo,
        principal="system",
        authenticated=True,
        directionality=Directionality.ORIGINATING,
        has_8bit=has_8bit,
        headers_utf8=headers_utf8,
        tls_requirement=_tls_requirement(block),
        scl=read_scl(block.first(SCL_FIELD)),
    )
    return Submission(item, content)


def _tls_requirement(block: HeaderBlock) -> TlsRequirement:
    """What the header says of TLS (RFC 8689 §3); a file has no other way to say it."""
    return TlsRequirement.OPTIONAL if says_tls_optional(block.first(b"tls-required")) else TlsRequirement.NONE


def _is_utf8_beyond_ascii(header: bytes) -> bool:
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


Reader = Callable[[bytes, Arrival], Submission]
"""Makes a message of a file's octets. Raises BadSubmission."""
