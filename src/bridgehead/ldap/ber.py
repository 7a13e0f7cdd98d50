# SPDX-License-Identifier: MIT
"""ASN.1's Basic Encoding Rules as LDAP restricts them (RFC 4511 §5.1): lengths are definite, tags are one octet.

Writing returns octets; reading goes through `Reader`, which never looks beyond what it was given.
"""

from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LENGTH_OCTETS: Final = 4
_INTEGER_OCTETS: Final = 4
"""INTEGER (0 .. maxInt), RFC 4511 §4.1.1."""


class BerError(Exception):
    """These octets are no BER of the kind that LDAP takes."""


def element(tag: int, *contents: bytes) -> bytes:
    """One element around the contents."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def octets(value: bytes | str, tag: int = OCTET_STRING) -> bytes:
    """An octet string; text in UTF-8."""
    return element(tag, value.encode() if isinstance(value, str) else value)


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A number, 0 or more."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(value: bool, tag: int = BOOLEAN) -> bytes:
    """True is 0xFF (RFC 4511 §5.1)."""
    return element(tag, b"\xff" if value else b"\0")


def whole(data: bytes | bytearray, most: int) -> int:
    """Octets of the message that `data` begins with, 0 while it is not there as a whole. Raises BerError for what is no
    message, or one of more than `most` octets."""
    if data and data[0] != SEQUENCE:
        raise BerError("it does not speak LDAP")
    if len(data) < 2:
        return 0
    length, start = data[1], 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= _LENGTH_OCTETS:
            raise BerError("a message has no definite length")
        start += count
        if len(data) < start:
            return 0
        length = int.from_bytes(data[2:start], "big")
    if start + length > most:
        raise BerError(f"a message has more than {most} octets")
    return start + length if len(data) >= start + length else 0


class Reader:
    """Reads one element after the other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def read(self) -> tuple[int, bytes]:
        """The next element's tag and content. Raises BerError."""
        data, at = self._data, self._at
        if at + 2 > len(data):
            raise BerError("an element is cut off")
        tag, length, start = data[at], data[at + 1], at + 2
        if tag & 0x1F == 0x1F:
            raise BerError("a tag has several octets")
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= _LENGTH_OCTETS or start + count > len(data):
                raise BerError("a length is none")
            length = int.from_bytes(data[start : start + count], "big")
            start += count
        if start + length > len(data):
            raise BerError("an element is longer than what it stands in")
        self._at = start + length
        return tag, data[start : start + length]

    def expect(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag. Raises BerError."""
        found, content = self.read()
        if found != tag:
            raise BerError(f"an element has the tag {found:#04x} where {tag:#04x} was expected")
        return content

    def number(self, tag: int = INTEGER) -> int:
        """A number, 0 to 2^31-1. Raises BerError."""
        content = self.expect(tag)
        if not 1 <= len(content) <= _INTEGER_OCTETS or content[0] & 0x80:
            raise BerError("a number is none that LDAP has")
        return int.from_bytes(content, "big")

    def text(self) -> str:
        """An LDAPString; what is no UTF-8 is shown as such. Raises BerError."""
        return self.expect(OCTET_STRING).decode("utf-8", "replace")
