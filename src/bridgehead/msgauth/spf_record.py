# SPDX-License-Identifier: MIT
"""SPF records: parsing and macro strings (RFC 7208 §4.6, §5, §6, §7, §12). What they mean is decided in `spf.py`."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.limits import SPF_RECORD_BYTES, SPF_TERMS

_TERM: Final = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9_.\-]*)(.*)", re.DOTALL)
_DUAL_CIDR: Final = re.compile(r"(.*?)(?:/(\d{1,3}))?(?://(\d{1,3}))?", re.DOTALL)
_MACRO: Final = re.compile(r"%(?:\{([A-Za-z])(\d*)([rR]?)([.\-+,/_=]*)\}|([%_\-]))")
_MECHANISMS: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
_DOMAIN_LETTERS: Final = frozenset("slodiphv")
_EXPLANATION_LETTERS: Final = _DOMAIN_LETTERS | frozenset("crt")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class SpfSyntaxError(Exception):
    """A record, or a domain-spec of one, is not as RFC 7208 §12 has it: permerror."""


class Mechanism(msgspec.Struct, frozen=True):
    """One mechanism.

    Attributes:
        qualifier: one of + - ~ ?.
        name: all, include, a, mx, ptr, ip4, ip6, exists.
        domain: domain-spec, "" for the current domain.
        network: of ip4 and ip6, "" otherwise.
        ipv4_bits, ipv6_bits: prefix lengths of a and mx.
    """

    qualifier: str
    name: str
    domain: str = ""
    network: str = ""
    ipv4_bits: int = 32
    ipv6_bits: int = 128


class SpfRecord(msgspec.Struct, frozen=True):
    """A record: mechanisms in order, and the two modifiers that mean something ("" where absent)."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""
    explanation: str = ""


class MacroValues(NamedTuple):
    """What macros stand for (§7.2)."""

    sender: str
    """local-part@domain"""
    domain: str
    ip: IPv4Address | IPv6Address
    helo: str
    validated: str = "unknown"
    receiver: str = "unknown"
    timestamp: int = 0


def is_spf(record: bytes) -> bool:
    """Whether a TXT record is an SPF record at all (§4.5)."""
    return record[:7].lower() == b"v=spf1 " or record.lower() == b"v=spf1"


def parse_record(record: bytes) -> SpfRecord:
    """Parse an SPF record whole before anything of it is used (§4.6). Raises SpfSyntaxError."""
    if len(record) > SPF_RECORD_BYTES:
        raise SpfSyntaxError(f"the record is longer than {SPF_RECORD_BYTES} octets")
    try:
        text = record.decode("ascii")
    except UnicodeDecodeError:
        raise SpfSyntaxError("the record holds characters beyond ASCII") from None
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    terms = [term for term in text.split(" ")[1:] if term]
    if len(terms) > SPF_TERMS:
        raise SpfSyntaxError(f"the record has more than {SPF_TERMS} terms")
    for term in terms:
        match = _TERM.fullmatch(term)
        if match is None:
            raise SpfSyntaxError(f"{term!r} is neither mechanism nor modifier")
        qualifier, name, rest = match.groups()
        if rest.startswith("="):
            _add_modifier(modifiers, qualifier, name.lower(), rest[1:])
        else:
            mechanisms.append(_mechanism(qualifier or "+", name.lower(), rest, term))
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect", ""), modifiers.get("exp", ""))


def _add_modifier(modifiers: dict[str, str], qualifier: str, name: str, value: str) -> None:
    if qualifier:
        raise SpfSyntaxError(f"the modifier {name} has a qualifier")
    if name in ("redirect", "exp"):
        if name in modifiers:
            raise SpfSyntaxError(f"{name} occurs twice")
        _check_domain_spec(value)
        modifiers[name] = value
    else:
        _check_macros(value, _DOMAIN_LETTERS)


def _mechanism(qualifier: str, name: str, rest: str, term: str) -> Mechanism:
    if name not in _MECHANISMS:
        raise SpfSyntaxError(f"{term!r}: there is no mechanism {name!r}")
    if name == "all":
        if rest:
            raise SpfSyntaxError(f"{term!r}: all takes no argument")
        return Mechanism(qualifier, name)
    if name in ("ip4", "ip6"):
        return Mechanism(qualifier, name, network=_network(name, rest, term))
    if name in ("a", "mx"):
        match = _DUAL_CIDR.fullmatch(rest)
        assert match is not None
        return Mechanism(
            qualifier, name, _argument(match[1], term, required=False),
            ipv4_bits=_bits(match[2], 32, term), ipv6_bits=_bits(match[3], 128, term),
        )  # fmt: skip
    return Mechanism(qualifier, name, _argument(rest, term, required=name != "ptr"))


def _argument(rest: str, term: str, *, required: bool) -> str:
    if not rest and not required:
        return ""
    if not rest.startswith(":") or len(rest) == 1:
        raise SpfSyntaxError(f"{term!r}: a domain is expected")
    _check_domain_spec(rest[1:])
    return rest[1:]


def _bits(text: str | None, most: int, term: str) -> int:
    if text is None:
        return most
    if int(text) > most or (len(text) > 1 and text[0] == "0"):
        raise SpfSyntaxError(f"{term!r}: /{text} is no prefix length")
    return int(text)


def _network(name: str, rest: str, term: str) -> str:
    address, slash, bits = rest[1:].partition("/")
    most = 32 if name == "ip4" else 128
    if not rest.startswith(":") or (slash and not bits.isdigit()):
        raise SpfSyntaxError(f"{term!r}: an address is expected")
    length = _bits(bits or None, most, term)
    try:
        network = ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        raise SpfSyntaxError(f"{term!r}: {address!r} is no address") from None
    if network.max_prefixlen != most:
        raise SpfSyntaxError(f"{term!r}: {address!r} is of the other family")
    return str(network)


def _check_domain_spec(text: str) -> None:
    """domain-spec ends in a top label or a macro (§7.1)."""
    _check_macros(text, _DOMAIN_LETTERS)
    _, dot, top = text.removesuffix(".").rpartition(".")
    if not (text.endswith("}") or (dot and _is_top_label(top))):
        raise SpfSyntaxError(f"{text!r} is no domain")


def _is_top_label(label: str) -> bool:
    """toplabel of §7.1: letters, digits and inner hyphens, and not digits alone."""
    letters = label.replace("-", "")
    return letters.isascii() and letters.isalnum() and not label.isdigit() and label[0] != "-" != label[-1]


def _check_macros(text: str, letters: frozenset[str]) -> None:
    position = 0
    while (percent := text.find("%", position)) >= 0:
        match = _MACRO.match(text, percent)
        if match is None:
            raise SpfSyntaxError(f"{text!r}: a macro is malformed")
        if match[1] is not None and (match[1].lower() not in letters or (match[2] and int(match[2][:9]) == 0)):
            raise SpfSyntaxError(f"{text!r}: {match[0]} is no macro here")
        position = match.end()
    if any(not 0x20 < ord(character) < 0x7F for character in text):
        raise SpfSyntaxError(f"{text!r} holds characters that may not stand there")


def expand(text: str, values: MacroValues, *, explanation: bool = False) -> str:
    """A macro string with its macros replaced (§7). `explanation`: c, r and t are allowed. Raises SpfSyntaxError."""
    if not explanation:
        _check_macros(text, _DOMAIN_LETTERS)

    def replaced(match: "re.Match[str]") -> str:
        if match[5] is not None:
            return {"%": "%", "_": " ", "-": "%20"}[match[5]]
        letter = match[1]
        if letter.lower() not in (_EXPLANATION_LETTERS if explanation else _DOMAIN_LETTERS):
            raise SpfSyntaxError(f"{match[0]} is no macro here")
        value = _transformed(_value(letter.lower(), values), match[2], bool(match[3]), match[4] or ".")
        return _escaped(value) if letter.isupper() else value

    if explanation and _MACRO.sub("", text).count("%"):
        raise SpfSyntaxError("a macro is malformed")
    return _MACRO.sub(replaced, text)


def domain_of(text: str, values: MacroValues) -> str:
    """The domain of a domain-spec; over-long ones lose labels on the left (§7.3). Raises SpfSyntaxError."""
    name = expand(text, values).rstrip(".")
    while len(name) > 253 and "." in name:
        name = name.partition(".")[2]
    return name.lower()


def _value(letter: str, values: MacroValues) -> str:
    local_part, _, sender_domain = values.sender.rpartition("@")
    match letter:
        case "s":
            return values.sender
        case "l":
            return local_part
        case "o":
            return sender_domain
        case "d":
            return values.domain
        case "i":
            return _dotted(values.ip)
        case "p":
            return values.validated
        case "v":
            return "in-addr" if values.ip.version == 4 else "ip6"
        case "h":
            return values.helo
        case "c":
            return str(values.ip)
        case "r":
            return values.receiver
        case _:
            return str(values.timestamp)


def _dotted(ip: IPv4Address | IPv6Address) -> str:
    return str(ip) if isinstance(ip, IPv4Address) else ".".join(ip.exploded.replace(":", ""))


def _transformed(value: str, digits: str, reverse: bool, delimiters: str) -> str:
    parts = re.split("[" + re.escape(delimiters) + "]", value)
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-int(digits[:9]) :]
    return ".".join(parts)


def _escaped(value: str) -> str:
    return "".join(
        character if character in _UNRESERVED else "".join(f"%{octet:02X}" for octet in character.encode())
        for character in value
    )
