# SPDX-License-Identifier: MIT
"""Header fields of a message, found and edited by offset so that nothing else changes (RFC 5322 §2.2, RFC 6532).

`HeaderBlock` scans once and keeps bytes as they came. What a field means to an administrator (display text of a
subject, the address in From) is decoded here too, bounded and freed of control characters.
"""

import re
from collections.abc import Callable, Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

from bridgehead.mail.address import DOT_STRING, QUOTED_STRING
from bridgehead.mail.limits import SUBJECT_TEXT

ORGANIZATION_FIELDS: Final = (b"x-ms-exchange-organization-",)
FOREST_FIELDS: Final = (b"x-ms-exchange-forest-",)
INTERNAL_FIELDS: Final = ORGANIZATION_FIELDS + FOREST_FIELDS
"""How names of fields begin that mean something inside the organization only."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_ANGLE_ADDRESS = re.compile(r"<([^<>]*@[^<>]*)>")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\n]*\n[ \t])*[^\n]*\n?)")


class HeaderBlock:
    """The header section of a message: all octets before the empty line.

    Args:
        block: the fields with their line ends, without the empty line.
    """

    __slots__ = ("block", "fields")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.fields: list[tuple[bytes, int, int]] = []
        """(name in lower case, start, end) of each field, in order; a line that is no field counts to none."""
        position = 0
        while match := _FIELD.match(block, position) or self._next_field(position):
            self.fields.append((match[1].lower(), match.start(), match.end()))
            position = match.end()

    def _next_field(self, position: int) -> "re.Match[bytes] | None":
        """The first field at or after a malformed line."""
        while (newline := self.block.find(b"\n", position)) >= 0:
            position = newline + 1
            if match := _FIELD.match(self.block, position):
                return match
        return None

    def count(self, name: bytes) -> int:
        """How many fields have this name (lower case)."""
        return sum(1 for field, _, _ in self.fields if field == name)

    def raw_values(self, name: bytes) -> Iterator[bytes]:
        """The values of the fields with this name (lower case), unfolded, without the outer white space."""
        for field, start, end in self.fields:
            if field == name:
                value = self.block[start:end].split(b":", 1)[1]
                yield value.replace(b"\r\n", b"").replace(b"\n", b"").strip()

    def first(self, name: bytes) -> bytes:
        """The first value with this name, b"" where there is none."""
        return next(self.raw_values(name), b"")

    def without(self, unwanted: Callable[[bytes], bool]) -> bytes:
        """The block without the fields whose (lower-case) name `unwanted` accepts."""
        kept, position = [], 0
        for name, start, end in self.fields:
            if unwanted(name):
                kept.append(self.block[position:start])
                position = end
        kept.append(self.block[position:])
        return b"".join(kept)


def without_fields(block: bytes, unwanted: tuple[bytes, ...]) -> bytes:
    """The header section without fields whose name is, or begins with, one of these in lower case.

    A name ending in "-" is the beginning of names, others are whole names.
    """
    if block[:1] not in (b" ", b"\t"):
        lower = block.lower()
        for name in unwanted:
            if name in lower:
                break
        else:
            return block
    kept: list[bytes] = []
    position = 0
    for name, start, end in HeaderBlock(block).fields:
        if start > position:
            kept.append(_without_lines(block[position:start], unwanted, not kept))
        if not _is_unwanted(name, unwanted):
            kept.append(block[start:end])
        position = end
    if position < len(block):
        kept.append(_without_lines(block[position:], unwanted, not kept))
    return b"".join(kept)


def _is_unwanted(name: bytes, unwanted: tuple[bytes, ...]) -> bool:
    return any(name.startswith(one) if one.endswith(b"-") else name == one for one in unwanted)


def _without_lines(lines: bytes, unwanted: tuple[bytes, ...], at_start: bool) -> bytes:
    """Malformed lines, less those that look like an unwanted field, with what continues them.

    `at_start`: nothing is before them, so that lines beginning with white space go too.
    """
    kept, dropping = [], at_start
    for line in lines.splitlines(keepends=True):
        bare = line.lstrip().lower()
        if bare.startswith(unwanted):
            dropping = True
        elif line[:1] not in (b" ", b"\t"):
            dropping = False
        if not dropping:
            kept.append(line)
    return b"".join(kept)


def split_header(data: bytes) -> tuple[bytes, bytes]:
    """Header section and the rest, which begins with the empty line. All is header where no empty line comes."""
    if data.startswith(b"\r\n"):
        return b"", data
    end = data.find(b"\r\n\r\n")
    return (data, b"") if end < 0 else (data[: end + 2], data[end + 2 :])


def clean_text(text: str, limit: int = SUBJECT_TEXT) -> str:
    """Text from outside made safe to log: one line, no controls, bounded."""
    return (text if text.isprintable() else _CONTROLS.sub(" ", text))[:limit].strip()


def display_text(value: bytes, limit: int = SUBJECT_TEXT) -> str:
    """A field's value as people read it: encoded words decoded (RFC 2047), one line, bounded."""
    text = value[: limit * 8].decode("utf-8", "replace")
    if text.isprintable() and "=?" not in text:
        return text[:limit].strip()
    if "=?" in text:
        try:
            parts = decode_header(text)
            text = "".join(
                part if isinstance(part, str) else part.decode(charset or "latin-1", "replace")
                for part, charset in parts
            )
        except (HeaderParseError, LookupError, ValueError):
            pass
    return clean_text(text, limit)


def first_address(value: bytes) -> str:
    """The first addr-spec in a From or Sender field, "" where none is found (RFC 5322 §3.4).

    Quoted display names and comments cannot pose as the address. Syntax checks belong to the rooms that decide on them.
    """
    text, depth = value[:8192].decode("utf-8", "replace"), 0
    if '"' not in text and "(" not in text and "\\" not in text:
        return _address_in(text)
    outside: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if depth == 0 and char == '"' and (match := QUOTED_STRING.match(text, position)):
            outside.append(match.group() if text[match.end() : match.end() + 1] == "@" else " ")
            position = match.end()
            continue
        if char == "\\":
            position += 2
            continue
        if char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif depth == 0:
            outside.append(char)
        position += 1
    return _address_in("".join(outside))


def _address_in(bare: str) -> str:
    """The first address in text without quotes and comments."""
    if found := _ANGLE_ADDRESS.search(bare):
        return clean_text(found[1])
    for word in re.split(r"[\s,;:]+", bare):
        local, at, domain = word.rpartition("@")
        if at and domain and (DOT_STRING.fullmatch(local) or QUOTED_STRING.fullmatch(local)):
            return clean_text(word)
    return ""
