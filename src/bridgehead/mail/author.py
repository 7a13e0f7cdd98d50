# SPDX-License-Identifier: MIT
"""Who a message says it is from: the From field, read strictly (RFC 5322 §3.4, §3.6.2; RFC 6532).

Programs disagree about a From field that is not as the RFC has it, so a forger can show readers another author than
the checks saw. Whatever an odd field could mean to any reader is therefore given, with what is odd about it.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.encoded_word import ENCODED_WORD, decode_words
from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.limits import FROM_ADDRESSES, FROM_FIELD_BYTES

_ATOM: Final = re.compile(r"[^\s()<>\[\]:;@\\,\"]+")
_LITERAL: Final = re.compile(r"\[[^\[\]\\]*\]")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CONTROL_ENCODED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\r\n](?=\s*\S)")
"""What no name has; a line end behind one is a script's mistake."""
_COMMENT: Final = re.compile(r"\((?:[^()\\]|\\.)*\)", re.DOTALL)
_AROUND: Final = re.compile(r" ?([@.]) ?")
_ODD_FIELD: Final = re.compile(rb"(?im)^(?![ \t])[^!-~\n]{0,8}from[^!-9;-~\n]{0,8}:([^\n]*)")
"""A From field, or a line that some reader takes for one: a byte order mark before the name, a NUL behind it."""
_LIKELY: Final = re.compile(r"[^\s()<>\[\]:;,\"\\@]{1,64}@[^\s()<>:;,\"\\@]{1,255}")
_MARKS: Final = "<>,:;@"


class FromFault(StrEnum):
    """What is odd about the author fields of a message. The values stand in logs."""

    MISSING = "there is no From field"
    SEVERAL_FIELDS = "there are several From fields"
    SEVERAL_AUTHORS = "From names several addresses and there is no Sender"
    GROUP = "From holds a group"
    AFTER_SEMICOLON = "text follows an unquoted semicolon in From"
    CONTROL_CHARACTER = "From holds a control character"
    ENCODED_ADDRESS = "From holds an encoded word within an address"
    RAW_8BIT = "From holds octets beyond ASCII that are no UTF-8"
    MALFORMED = "From is not a list of addresses"
    TOO_LONG = "From is longer than anybody's name"


MISLEADING: Final = frozenset(FromFault) - {FromFault.MISSING, FromFault.MALFORMED}
"""Faults that let two programs see two authors; the others are mostly old devices."""


class Author(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        addresses: of From, as the strict reading has them; where there is a fault, every address that some reader
            could see.
        faults: in the order found, each once.
    """

    addresses: tuple[Mailbox, ...]
    faults: tuple[FromFault, ...] = ()


class _Token(NamedTuple):
    """A piece of a field: "word", "literal", a mark of `_MARKS`, or "?" for what may not stand there."""

    kind: str
    text: str
    spaced: bool
    """White space or a comment was before it."""


class _Malformed(Exception):
    """The strict reading failed."""


def read_author(header: HeaderBlock) -> Author:
    """Read the From fields of a message. Never raises."""
    values = list(header.raw_values(b"from"))
    faults: dict[FromFault, None] = {}
    if not header.block.isascii() or b"\0" in header.block:
        odd = _ODD_FIELD.findall(header.block)
        if len(odd) > len(values):
            faults[FromFault.CONTROL_CHARACTER] = None
            values = odd
    if not values:
        faults[FromFault.MISSING] = None
    elif len(values) > 1:
        faults[FromFault.SEVERAL_FIELDS] = None
    addresses: dict[Mailbox, None] = {}
    for value in values[:FROM_ADDRESSES]:
        found = _read_value(value, faults)
        addresses.update(dict.fromkeys(found))
    if len(addresses) > 1 and len(values) == 1 and not faults and not header.count(b"sender"):
        faults[FromFault.SEVERAL_AUTHORS] = None
    return Author(tuple(addresses)[:FROM_ADDRESSES], tuple(faults))


def _read_value(value: bytes, faults: dict[FromFault, None]) -> list[Mailbox]:
    if len(value) > FROM_FIELD_BYTES:
        faults[FromFault.TOO_LONG] = None
        value = value[:FROM_FIELD_BYTES]
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        faults[FromFault.RAW_8BIT] = None
        text = value.decode("latin-1")
    raw = text
    if _CONTROL.search(text):
        faults[FromFault.CONTROL_CHARACTER] = None
        text = _CONTROL.sub("", text)
    tokens = list(_tokens(text))
    fault = _odd_mark(tokens)
    try:
        if fault is not None or _quotes_mislead(tokens):
            raise _Malformed
        found = _mailboxes(tokens)
        fault = _encoded(text, found) if "=?" in text else None
        if fault is None:
            return found
        faults[fault] = None
        return list(dict.fromkeys([*found, *_likely(raw)]))
    except (_Malformed, AddressError):
        faults[fault or FromFault.MALFORMED] = None
        return _likely(raw)


def _odd_mark(tokens: list[_Token]) -> FromFault | None:
    """A group or a semicolon outside of angle brackets."""
    inside = False
    for position, token in enumerate(tokens):
        if token.kind in "<>":
            inside = token.kind == "<"
        elif token.kind == ":" and not inside:
            return FromFault.GROUP
        elif token.kind == ";" and not inside:
            return FromFault.AFTER_SEMICOLON if position + 1 < len(tokens) else FromFault.MALFORMED
    return None


def _quotes_mislead(tokens: list[_Token]) -> bool:
    """An address in quotes where who does not know about quotes, or about quotes in them, finds the author's."""
    for place, token in enumerate(tokens):
        before_at = [after.kind for after in tokens[place + 1 : place + 2]] == ["@"]
        if token.text.startswith('"') and "@" in token.text and (before_at or '\\"' in token.text):
            return True
    return False


def _encoded(text: str, addresses: list[Mailbox]) -> FromFault | None:
    """What encoded words must not be or hold (RFC 2047 §5: no part of an address)."""
    if any(ENCODED_WORD.search(str(address)) for address in addresses):
        return FromFault.ENCODED_ADDRESS
    if any(_CONTROL_ENCODED.search(decode_words(word.group())) for word in ENCODED_WORD.finditer(text)):
        return FromFault.CONTROL_CHARACTER
    return None


def _tokens(text: str) -> Iterator[_Token]:
    """The field in pieces, comments left out, but one that never ends."""
    position, spaced = 0, False
    while position < len(text):
        character = text[position]
        if character.isspace():
            position, spaced = position + 1, True
            continue
        if character == "(":
            end = _after_comment(text, position)
            if end > len(text):
                yield _Token("?", "(", spaced)
            position, spaced = end, True
            continue
        match = _match(text, position)
        if match is not None:
            yield _Token("literal" if character == "[" else "word", match.group(), spaced)
            position = match.end()
        else:
            yield _Token(character if character in _MARKS else "?", character, spaced)
            position += 1
        spaced = False


def _match(text: str, position: int) -> "re.Match[str] | None":
    character = text[position]
    if character == '"':
        return _QUOTED.match(text, position)
    return _LITERAL.match(text, position) if character == "[" else _ATOM.match(text, position)


def _after_comment(text: str, position: int) -> int:
    """Where a comment ends; behind the end of the text for one that never does."""
    depth = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return len(text) + 1


def _mailboxes(tokens: list[_Token]) -> list[Mailbox]:
    """mailbox-list. Raises _Malformed, AddressError."""
    parts: list[list[_Token]] = [[]]
    inside = False
    for token in tokens:
        if token.kind in "<>":
            inside = token.kind == "<"
        if token.kind == "," and not inside:
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) > FROM_ADDRESSES:
        raise _Malformed
    return [_mailbox(part) for part in parts]


def _mailbox(tokens: list[_Token]) -> Mailbox:
    """addr-spec, or a phrase with an address in angle brackets."""
    kinds = [token.kind for token in tokens]
    if "<" in kinds:
        opening = kinds.index("<")
        if kinds[-1] != ">" or any(kind != "word" for kind in kinds[:opening]):
            raise _Malformed
        tokens = tokens[opening + 1 : -1]
    if not tokens or any(token.kind not in ("word", "literal", "@") for token in tokens):
        raise _Malformed
    if any(token.spaced for token in tokens[1:]):
        raise _Malformed
    return parse_mailbox("".join(token.text for token in tokens))


def _likely(text: str) -> list[Mailbox]:
    """Everything that looks like an address to anybody: quoted or not, encoded or not, with comments and spaces where
    RFC 5322 §4.4 had them, with characters that nobody sees, or that look alike."""
    found: dict[Mailbox, None] = {}
    for reading in dict.fromkeys((_CONTROL.sub("", text), _closed_up(text), _closed_up(decode_words(text)))):
        for match in _LIKELY.finditer(reading):
            try:
                found[parse_mailbox(match.group().strip(".'"))] = None
            except AddressError:
                continue
            if len(found) >= FROM_ADDRESSES:
                return list(found)
    return list(found)


def _closed_up(text: str) -> str:
    """The text as a forgiving reader may show it."""
    plain = unicodedata.normalize("NFKC", _COMMENT.sub("", _CONTROL.sub(" ", text)))
    visible = "".join(one for one in plain if unicodedata.category(one) != "Cf")
    return _AROUND.sub(r"\1", " ".join(visible.split()))
