# SPDX-License-Identifier: MIT
"""Search filters as they go over the wire (RFC 4511 §4.5.1.7), made from parts: a value is a value and nothing else.

A filter of the administrator's own is parsed from its text form (RFC 4515); what a client typed never is.
"""

import re
from typing import Final

import msgspec

from bridgehead.ldap import ber

_AND: Final = 0xA0
_OR: Final = 0xA1
_NOT: Final = 0xA2
_EQUAL: Final = 0xA3
_SUBSTRINGS: Final = 0xA4
_PRESENT: Final = 0x87
_OPERATORS: Final = {"=": _EQUAL, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_EXTENSIBLE: Final = 0xA9
_DEPTH_MOST: Final = 20

_DESCRIPTION: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]{0,127}|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*")
_RULE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+")
_ITEM: Final = re.compile(r"([^=<>~:()]*)((?::[^=()]*)?:=|[<>~]?=)([^()]*)")
_VALUE: Final = re.compile(r"(?:[^\\*()\0]|\\[0-9A-Fa-f]{2})*")


class Filter(msgspec.Struct, frozen=True):
    """A search filter, encoded. Made by the functions below."""

    encoded: bytes


def is_attribute(name: str) -> bool:
    """Whether this is an attribute's description (RFC 4512 §2.5)."""
    return _DESCRIPTION.fullmatch(name) is not None


def equals(attribute: str, value: str) -> Filter:
    """`attribute` is this value."""
    assert is_attribute(attribute), "attributes are named by settings, which were checked"
    return Filter(ber.element(_EQUAL, ber.octets(attribute), ber.octets(value)))


def present(attribute: str) -> Filter:
    """There is such an attribute."""
    return Filter(ber.octets(attribute, _PRESENT))


def any_of(*filters: Filter) -> Filter:
    """At least one holds."""
    return filters[0] if len(filters) == 1 else Filter(ber.element(_OR, *(one.encoded for one in filters)))


def all_of(*filters: Filter) -> Filter:
    """Each holds."""
    return filters[0] if len(filters) == 1 else Filter(ber.element(_AND, *(one.encoded for one in filters)))


def parse(text: str) -> Filter:
    """An administrator's own filter, "(objectClass=person)". Raises ValueError, which says what is wrong with it."""
    encoded, rest = _parse(text, 0)
    if rest:
        raise ValueError(f'"{rest}" follows after the filter has ended')
    return Filter(encoded)


def _parse(text: str, depth: int) -> tuple[bytes, str]:
    """The filter that `text` begins with, and what follows it."""
    if depth > _DEPTH_MOST:
        raise ValueError(f"it is more than {_DEPTH_MOST} deep")
    if not text.startswith("("):
        raise ValueError(f'"(" was expected before "{text}"' if text else '"(" was expected')
    inner = text[1:]
    if inner[:1] in ("&", "|"):
        encoded, rest = _parse_list(_AND if inner[0] == "&" else _OR, inner[1:], depth)
    elif inner[:1] == "!":
        negated, rest = _parse(inner[1:], depth + 1)
        encoded = ber.element(_NOT, negated)
    else:
        found = _ITEM.match(inner)
        if found is None:
            raise ValueError(f'"attribute=value" was expected at "{inner}"')
        encoded, rest = _item(*found.groups()), inner[found.end() :]
    if not rest.startswith(")"):
        raise ValueError('a ")" is missing')
    return encoded, rest[1:]


def _parse_list(tag: int, rest: str, depth: int) -> tuple[bytes, str]:
    parts = []
    while rest.startswith("("):
        part, rest = _parse(rest, depth + 1)
        parts.append(part)
    if not parts:
        raise ValueError('"&" and "|" need filters in parentheses')
    return ber.element(tag, *parts), rest


def _item(attribute: str, operator: str, value: str) -> bytes:
    if operator.endswith(":="):
        return _extensible(attribute, operator[:-2], value)
    if not is_attribute(attribute):
        raise ValueError(f'"{attribute}" is no name of an attribute')
    if operator != "=" or "*" not in value:
        return ber.element(_OPERATORS[operator], ber.octets(attribute), ber.octets(_unescaped(value)))
    if value == "*":
        return present(attribute).encoded
    first, *middle, last = value.split("*")
    pieces = [ber.octets(_unescaped(first), 0x80)] if first else []
    pieces += [ber.octets(_unescaped(one), 0x81) for one in middle if one]
    pieces += [ber.octets(_unescaped(last), 0x82)] if last else []
    if not pieces:
        raise ValueError(f'"{value}" compares with nothing')
    return ber.element(_SUBSTRINGS, ber.octets(attribute), ber.element(ber.SEQUENCE, *pieces))


def _extensible(attribute: str, middle: str, value: str) -> bytes:
    """attribute[:dn][:rule]:=value, as "memberOf:1.2.840.113556.1.4.1941:=CN=Mail,DC=contoso,DC=com"."""
    dn = middle == ":dn" or middle.startswith(":dn:")
    rule = (middle[3:] if dn else middle).removeprefix(":")
    if attribute and not is_attribute(attribute):
        raise ValueError(f'"{attribute}" is no name of an attribute')
    if (rule and not _RULE.fullmatch(rule)) or not (rule or attribute):
        raise ValueError(f'"{rule}" is no matching rule')
    return ber.element(
        _EXTENSIBLE,
        ber.octets(rule, 0x81) if rule else b"",
        ber.octets(attribute, 0x82) if attribute else b"",
        ber.octets(_unescaped(value), 0x83),
        ber.boolean(True, 0x84) if dn else b"",
    )


def _unescaped(value: str) -> bytes:
    r"""A value with its \2a (RFC 4515 §3)."""
    if not _VALUE.fullmatch(value):
        raise ValueError(f'"{value}" holds one of * ( ) \\, which are written \\2a \\28 \\29 \\5c')
    parts = re.split(r"\\([0-9A-Fa-f]{2})", value)
    return b"".join(bytes.fromhex(part) if index % 2 else part.encode() for index, part in enumerate(parts))
