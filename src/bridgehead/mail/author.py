# SPDX-License-Identifier: MIT
"""Who a message says it is from: the From field, read strictly (RFC 5322 §3.4, §3.6.2; RFC 6532).

Programs disagree about a From field that is not as the RFC has it, so a forger can show readers another author than
the checks saw. Whatever an odd field could mean to any reader is therefore given, with what is odd about it.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.limits import FROM_ADDRESSES, FROM_FIELD_BYTES

_ATOM: Final = re.compile(r"[^\s()<>\[\]:;@\\,\"]+")
_LITERAL: Final = re.compile(r"\[[^\[\]\\]*\]")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
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
    if _CONTROL.search(text):
        faults[FromFault.CONTROL_CHARACTER] = None
        text = _CONTROL.sub("", text)
    tokens = list(_tokens(text))
    fault = _odd_mark(tokens)
    try:
        if fault is not None:
            raise _Malformed
        return _mailboxes(tokens)
    except (_Malformed, AddressError):
        faults[fault or FromFault.MALFORMED] = None
        return _likely(text)


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


def _tokens(text: str) -> Iterator[_Token]:
    """The field in pieces, comments left out."""
    position, spaced = 0, False
    while position < len(text):
        character = text[position]
        if character.isspace():
            position, spaced = position + 1, True
            continue
        if character == "(":
            position, spaced = _after_comment(text, position), True
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
    """Where a comment ends; one that never ends takes the rest."""
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
    return position


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
    """Everything that looks like an address to anybody, quoted or not."""
    found = []
    for match in _LIKELY.finditer(text):
        try:
            found.append(parse_mailbox(match.group().strip(".'")))
        except AddressError:
            continue
        if len(found) >= FROM_ADDRESSES:
            break
    return found
