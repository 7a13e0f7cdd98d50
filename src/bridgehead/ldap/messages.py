# SPDX-License-Identifier: MIT
"""The messages of LDAP that a login needs (RFC 4511 §4): bind, search, StartTLS.

Requests are octets; a response is a `Result` or an `Entry`, or None where it says nothing that matters here. Referrals
are never followed, so what they name is not read.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from bridgehead.ldap import ber
from bridgehead.ldap.filters import Filter
from bridgehead.mail.secret import Secret

_START_TLS: Final = "1.3.6.1.4.1.1466.20037"
_VERSION: Final = 3
_ENTRY: Final = 0x64
_REFERENCE: Final = 0x73
_INTERMEDIATE: Final = 0x79
_RESULTS: Final = {0x61, 0x65, 0x78}
"""BindResponse, SearchResultDone, ExtendedResponse."""


class Code(IntEnum):
    """Result codes that mean something here (RFC 4511 appendix A)."""

    SUCCESS = 0
    SIZE_LIMIT_EXCEEDED = 4
    REFERRAL = 10
    CONSTRAINT_VIOLATION = 19
    NO_SUCH_OBJECT = 32
    INVALID_DN_SYNTAX = 34
    INAPPROPRIATE_AUTHENTICATION = 48
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS_RIGHTS = 50
    UNWILLING_TO_PERFORM = 53


class Scope(IntEnum):
    """Where a search looks (RFC 4511 §4.5.1.2)."""

    BASE = 0
    SUBTREE = 2


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. `most`: entries; `seconds`: the server's own limit."""

    base: str
    scope: Scope
    filter: Filter
    attributes: Sequence[str]
    most: int
    seconds: int


class Result(msgspec.Struct, frozen=True):
    """How a request ended. `diagnostic` is the server's text."""

    code: int
    diagnostic: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One entry that was found. Names of attributes are in lower case, without options."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    def texts(self, attribute: str) -> list[str]:
        """The values of an attribute that are text."""
        found = []
        for value in self.attributes.get(attribute.lower(), ()):
            try:
                found.append(value.decode("utf-8"))
            except UnicodeDecodeError:
                continue
        return found


def bind(number: int, name: str, password: Secret) -> bytes:
    """A simple bind (§4.2). An empty name or password would be an anonymous or unauthenticated bind, which succeeds
    (RFC 4513 §5.1.1, §5.1.2); neither can be asked for."""
    if not name or not password.reveal():
        raise ValueError("a bind needs a name and a password")
    return _message(
        number,
        ber.element(0x60, ber.integer(_VERSION), ber.octets(name), ber.octets(password.reveal(), 0x80)),
    )


def search(number: int, wanted: Search) -> bytes:
    """A search (§4.5.1); aliases are never followed."""
    return _message(
        number,
        ber.element(
            0x63, ber.octets(wanted.base), ber.integer(wanted.scope, ber.ENUMERATED), ber.integer(0, ber.ENUMERATED),
            ber.integer(wanted.most), ber.integer(wanted.seconds), ber.boolean(False), wanted.filter.encoded,
            ber.element(ber.SEQUENCE, *(ber.octets(one) for one in wanted.attributes)),
        ),
    )  # fmt: skip


def start_tls(number: int) -> bytes:
    """StartTLS (§4.14)."""
    return _message(number, ber.element(0x77, ber.octets(_START_TLS, 0x80)))


def _message(number: int, operation: bytes) -> bytes:
    return ber.element(ber.SEQUENCE, ber.integer(number), operation)


def decode(data: bytes) -> tuple[int, Result | Entry | None]:
    """A whole message: its number, and what it says. Raises BerError."""
    message = ber.Reader(ber.Reader(data).expect(ber.SEQUENCE))
    number = message.number()
    tag, content = message.read()
    reader = ber.Reader(content)
    if tag == _ENTRY:
        return number, _entry(reader)
    if tag in _RESULTS:
        return number, _result(reader)
    if tag in (_REFERENCE, _INTERMEDIATE):
        return number, None
    raise ber.BerError(f"a message has the tag {tag:#04x}, which is no response")


def _result(reader: ber.Reader) -> Result:
    code = reader.number(ber.ENUMERATED)
    reader.text()  # matchedDN
    return Result(code, reader.text())


def _entry(reader: ber.Reader) -> Entry:
    dn = reader.text()
    attributes: dict[str, tuple[bytes, ...]] = {}
    listed = ber.Reader(reader.expect(ber.SEQUENCE))
    while listed.more:
        attribute = ber.Reader(listed.expect(ber.SEQUENCE))
        name = attribute.text().partition(";")[0].lower()
        values, found = ber.Reader(attribute.expect(ber.SET)), []
        while values.more:
            found.append(values.expect(ber.OCTET_STRING))
        attributes[name] = (*attributes.get(name, ()), *found)
    return Entry(dn, attributes)
