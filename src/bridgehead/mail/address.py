# SPDX-License-Identifier: MIT
"""Mail addresses of the envelope (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3; RFC 5890 for domain names).

An address is parsed once, here, into a `Mailbox`; every room then works on its parts. Addresses in header
fields (RFC 5322) are looser and live in `header.py`.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

import idna
import msgspec

from bridgehead.mail.limits import DOMAIN_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS

# Classes say what does not belong to them: one that goes up to U+10FFFF takes `re` milliseconds, at each start.
_ATEXT = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
QUOTED_STRING = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_QUOTED_PAIR = re.compile(r"\\(.)")
_TO_QUOTE = re.compile(r'(["\\])')


class AddressError(ValueError):
    """The text is no address; the message says why in words fit for a log."""


class Mailbox(msgspec.Struct, frozen=True, array_like=True, cache_hash=True, gc=False):
    """Local part and domain. The null reverse-path `<>` is `NULL`, bare `<postmaster>` has an empty domain.

    `local_part` is without quotes or quoted pairs; `domain` is as written, either a name (U-labels allowed) or an
    address literal with its brackets.
    """

    local_part: str
    domain: str

    def __str__(self) -> str:
        """The address in wire form, without angle brackets."""
        return _wire_form(self.local_part, self.domain)

    @property
    def is_null(self) -> bool:
        """True for the null reverse-path."""
        return not self.local_part and not self.domain

    @property
    def is_ascii(self) -> bool:
        """False where the address needs SMTPUTF8 as written."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def domain_key(self) -> str:
        """The domain in the form used to compare: A-labels, lower case."""
        return domain_key(self.domain)

    @property
    def key(self) -> str:
        """The address in the form used to look up: local part case-folded, domain as `domain_key`."""
        return f"{self.local_part.lower()}@{domain_key(self.domain)}"

    def in_ascii(self) -> "Mailbox | None":
        """The same mailbox with A-labels, or None where the local part itself needs SMTPUTF8."""
        if not self.local_part.isascii():
            return None
        return self if self.domain.isascii() else Mailbox(self.local_part, self.domain_key)


NULL: Final = Mailbox("", "")
"""The null reverse-path, `<>`."""


@lru_cache(maxsize=16384)
def _wire_form(local_part: str, domain: str) -> str:
    local = local_part
    if local and not DOT_STRING.fullmatch(local):
        local = '"' + _TO_QUOTE.sub(r"\\\1", local) + '"'
    return f"{local}@{domain}" if domain else local


@lru_cache(maxsize=16384)
def domain_key(domain: str) -> str:
    """Domain in lower case with A-labels (RFC 5890); an address literal in its canonical form."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return domain.lower()


@lru_cache(maxsize=16384)
def parse_mailbox(text: str) -> Mailbox:
    """Parse `local-part@domain` strictly (RFC 5321 §4.1.2). Raises AddressError.

    Source routes are the caller's to remove; `postmaster` without a domain is the caller's to allow.
    """
    if text.startswith('"'):
        match = QUOTED_STRING.match(text)
        if match is None:
            raise AddressError("the quoted local part does not end or holds a forbidden character")
        raw_local = match.group()
        local = _QUOTED_PAIR.sub(r"\1", raw_local[1:-1])
        rest = text[match.end() :]
    else:
        raw_local, _, _ = text.partition("@")
        if not DOT_STRING.fullmatch(raw_local):
            raise AddressError("the local part holds a forbidden character or a misplaced dot")
        local, rest = raw_local, text[len(raw_local) :]
    if not rest.startswith("@"):
        raise AddressError("there is no @ after the local part")
    domain = parse_domain(rest[1:])
    if not local:
        raise AddressError("the local part is empty")
    if len(raw_local.encode()) > LOCAL_PART_OCTETS:
        raise AddressError(f"the local part is longer than {LOCAL_PART_OCTETS} octets")
    if len(text.encode()) > PATH_OCTETS:
        raise AddressError(f"the address is longer than {PATH_OCTETS} octets")
    return Mailbox(local, domain)


def parse_domain(text: str) -> str:
    """Check a domain name or address literal and return it as written. Raises AddressError."""
    if text.startswith("["):
        return parse_address_literal(text)
    if not text:
        raise AddressError("the domain is empty")
    name = text
    if not text.isascii():
        try:
            name = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError(f"the domain is no internationalised name: {error}") from None
    if len(name) > DOMAIN_OCTETS:
        raise AddressError(f"the domain is longer than {DOMAIN_OCTETS} octets")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise AddressError("the domain has an empty, too long or malformed label")
    return text


def parse_address_literal(text: str) -> str:
    """Check `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3) and return it as written. Raises AddressError."""
    try:
        if text.endswith("]"):
            inner = text[1:-1]
            if inner[:5].lower() == "ipv6:":
                ipaddress.IPv6Address(inner[5:])
            else:
                ipaddress.IPv4Address(inner)
            return text
    except ValueError:
        pass
    raise AddressError("the address literal is malformed")
