# SPDX-License-Identifier: MIT
"""Content as it arrives: strict line ends, size, header scanned once, header firewall, hop counts; memory or file.

Small messages stay one bytes object. What grows beyond `INLINE_CONTENT_BYTES` is handed to a `ContentWriter`, piece
by piece, so that a large message needs little memory. A refusal is remembered and the rest is thrown away, because
the true end of the content must be found first (RFC 5321 §4.2.5, §6.3 for loops).
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.header import HeaderBlock, clean_text, display_text, first_address
from bridgehead.mail.item import SCL_FIELD, Priority, read_scl, says_tls_optional
from bridgehead.mail.limits import INLINE_CONTENT_BYTES, LOGGED_TEXT, SKIPPED_BYTES, STREAM_CHUNK_BYTES
from bridgehead.mail.priority import PRIORITY_FIELDS, priority_asked
from bridgehead.mail.reply import Reply
from bridgehead.queues.store import ContentWriter
from bridgehead.receive.permissions.header_firewall import count_received, hosts_passed, strip_header
from bridgehead.receive.settings import Right
from bridgehead.smtp import replies
from bridgehead.smtp.content import is_strict

_AUTHORS_SHOWN: Final = 3
_FAULT: Final = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")
_FACTS: Final = frozenset(
    {b"subject", b"message-id", b"from", b"sender", b"date", b"tls-required", SCL_FIELD, *PRIORITY_FIELDS}
)


class ContentRules(msgspec.Struct, frozen=True, kw_only=True):
    """What this session's connector and rights say about content.

    Attributes:
        max_message_size, max_header_size: octets.
        max_hop_count, max_local_hop_count: Received fields in all, and naming us; 0 local: never refused.
        fqdn: the name that Received fields of ours carry.
        rights: decide what the header firewall leaves.
        complete: add Message-ID and Date where they are missing (RFC 6409 §8).
    """

    max_message_size: int
    max_header_size: int
    max_hop_count: int
    max_local_hop_count: int
    fqdn: str
    rights: frozenset[Right]
    complete: bool


class BodyWatch(Protocol):
    """Reads the body while it passes."""

    def body(self, data: bytes) -> None: ...


class HeaderDecision(msgspec.Struct, frozen=True):
    """What a check of the header section came to: a refusal, fields to put in front, who wants to see the body, and the
    section that takes the place of the one that came, b"" where it stays as it is."""

    refusal: Reply | None = None
    fields: bytes = b""
    body: BodyWatch | None = None
    header: bytes = b""


class HeaderFacts(msgspec.Struct):
    """What logs and trace show of a header."""

    message_id: str = ""
    subject: str = ""
    header_from: str = ""
    is_ascii: bool = True
    priority: Priority = Priority.NORMAL
    tls_optional: bool = False
    """ "TLS-Required: No" (RFC 8689 §3)."""
    scl: int | None = None


class IncomingContent:
    """The content of one transaction.

    Args:
        rules: limits and rights.
        received: makes our Received field; called once, when the header is complete.
        added_fields: makes Message-ID and Date fields for what is missing: (has message id, has date) -> octets.
        check_header: what else decides about the header section.
        binary: BODY=BINARYMIME: octets of any kind are allowed after the header.
    """

    __slots__ = (
        "_added", "_binary", "_check_header", "_head", "_held", "_in_memory", "_parts", "_received", "_rules",
        "detail", "facts", "has_8bit", "refusal", "size", "skipped", "watch", "writer",
    )  # fmt: skip

    def __init__(
        self,
        rules: ContentRules,
        received: Callable[[], bytes],
        added_fields: Callable[[bool, bool], bytes],
        check_header: Callable[[bytes], HeaderDecision] | None = None,
        *,
        binary: bool = False,
    ) -> None:
        self._rules = rules
        self._received = received
        self._added = added_fields
        self._check_header = check_header
        self.watch: BodyWatch | None = None
        self._binary = binary
        self._head: bytes | None = b""
        self._held = b""
        self._parts: list[bytes] = []
        self._in_memory = 0
        self.size = 0
        self.skipped = 0
        self.refusal: Reply | None = None
        self.detail = ""
        """What exactly was wrong, for us alone; "" while nothing is."""
        self.facts = HeaderFacts()
        self.has_8bit = False
        self.writer: ContentWriter | None = None

    def add(self, data: bytes, *, final: bool = False) -> None:
        """Take a piece; `final`: the last. Afterwards see `refusal`, and `spill_due` for large content."""
        if self._held:
            data, self._held = self._held + data, b""
        if not final and data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        self.size += len(data)
        if self.refusal is not None:
            self.skipped += len(data)
            return
        if self.size > self._rules.max_message_size:
            self._refuse(replies.MESSAGE_TOO_LARGE)
            return
        if not self._binary and not is_strict(data):
            self.detail = f"at octet {self.size - len(data) + _first_fault(data)} of the content"
            self._refuse(_what_is_wrong(data))
            return
        if self._head is None:
            self._keep(data)
            if self.watch is not None:
                self.watch.body(data)
        else:
            self._add_to_header(data, final)

    def _refuse(self, reply: Reply) -> None:
        self.refusal = reply
        self._parts.clear()
        self._head = None if self._head is None else b""

    @property
    def must_give_up(self) -> bool:
        """Refused long ago and still no end: the connection is not worth reading from any more."""
        return self.skipped > SKIPPED_BYTES

    @property
    def spill_due(self) -> bool:
        """Memory holds enough: take `spilled` and write it before more is read."""
        return self._in_memory > INLINE_CONTENT_BYTES and self.refusal is None and (
            self.writer is None or self._in_memory >= STREAM_CHUNK_BYTES
        )  # fmt: skip

    def spilled(self) -> bytes:
        """What memory holds now, given up by it."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._in_memory = 0
        return data

    def in_memory(self) -> Content:
        """The whole content, where no writer was used."""
        return BytesContent(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))

    def _keep(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
            self._in_memory += len(data)
            if not self.has_8bit and not data.isascii():
                self.has_8bit = True

    # --- header -----------------------------------------------------------------------------------------------------

    def _add_to_header(self, data: bytes, final: bool) -> None:
        head = self._head + data if self._head else data
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", max(0, len(head) - len(data) - 3)) + 2
        if end == 1:
            if len(head) > self._rules.max_header_size:
                self.detail = _largest_field(head)
                self._refuse(replies.HEADER_TOO_LARGE)
            elif final:
                self._header_complete(head if head.endswith(b"\r\n") or not head else head + b"\r\n", b"")
            else:
                self._head = head
        elif end > self._rules.max_header_size:
            self.detail = _largest_field(head[:end])
            self._refuse(replies.HEADER_TOO_LARGE)
        else:
            self._header_complete(head[:end], head[end:])

    def _header_complete(self, header: bytes, rest: bytes) -> None:
        rules = self._rules
        self._head = None
        if self._binary and not is_strict(header):
            self._refuse(_what_is_wrong(header))
            return
        fields = b""
        if self._check_header is not None:
            decision = self._check_header(header)
            if decision.refusal is not None:
                self.detail = _authors(header)
                self._refuse(decision.refusal)
                return
            fields, self.watch = decision.fields, decision.body
            if decision.header:
                header = decision.header
            if self.watch is not None:
                self.watch.body(rest[2:])
        hops, own_hops = count_received(header, rules.fqdn)
        if hops > rules.max_hop_count or (rules.max_local_hop_count and own_hops > rules.max_local_hop_count):
            self.detail = f"{hops} hops, {own_hops} of them here: {' < '.join(hosts_passed(header))}"
            self._refuse(replies.HOP_COUNT)
            return
        header = strip_header(header, rules.rights)
        has_date = self._learn(header)
        added = b"" if not rules.complete else self._added(bool(self.facts.message_id), has_date)
        self._keep(self._received() + fields + header + added + rest)
        # They know the transaction that has this content: kept, they would leave each message to the collector.
        del self._received, self._added, self._check_header

    def _learn(self, header: bytes) -> bool:
        """Note the facts, of a field that is repeated the first; tells whether there is a Date."""
        facts = self.facts
        facts.is_ascii = header.isascii()
        found = _first_values(header)
        if b"subject" in found:
            facts.subject = display_text(found[b"subject"])
        if b"message-id" in found:
            facts.message_id = display_text(found[b"message-id"])
        author = found.get(b"sender") or found.get(b"from")
        if author:
            facts.header_from = first_address(author)
        if not found.keys().isdisjoint(PRIORITY_FIELDS):
            facts.priority = priority_asked(found)
        if b"tls-required" in found:
            facts.tls_optional = says_tls_optional(found[b"tls-required"])
        if SCL_FIELD in found:  # past the header firewall: whoever brought it may
            facts.scl = read_scl(found[SCL_FIELD])
        return b"date" in found


def _first_values(header: bytes) -> dict[bytes, bytes]:
    """The first value of each field that is noted, with its folded lines."""
    found: dict[bytes, bytes] = {}
    name = b""
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if name:
                found[name] += line
            continue
        key, colon, value = line.partition(b":")
        name = key.rstrip().lower()
        if name in _FACTS and colon and name not in found:
            found[name] = value
        else:
            name = b""
    return found


def _what_is_wrong(data: bytes) -> Reply:
    """Why content is not strict."""
    if b"\0" in data:
        return replies.NUL
    return replies.BARE_CR if data.count(b"\r") > data.count(b"\r\n") else replies.BARE_LF


def _first_fault(data: bytes) -> int:
    """Where the first NUL, bare CR or bare LF stands."""
    found = _FAULT.search(data)
    return found.start() if found else 0


def _authors(header: bytes) -> str:
    """The From fields as they came, for whoever asks why they were refused."""
    found = b", and From: ".join(list(HeaderBlock(header).raw_values(b"from"))[:_AUTHORS_SHOWN])
    text = clean_text(found[:LOGGED_TEXT].decode("utf-8", "replace"), LOGGED_TEXT)
    return f"From: {text}" if text else "no From field"


def _largest_field(header: bytes) -> str:
    """The field that takes most of a header."""
    fields = HeaderBlock(header).fields
    if not fields:
        return f"{len(header)} octets without a field"
    name, start, end = max(fields, key=lambda field: field[2] - field[1])
    return f"{name.decode('ascii', 'replace')} alone has {end - start} octets"
