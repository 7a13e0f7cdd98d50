# SPDX-License-Identifier: MIT
"""Address spaces: the part of the world that a connector serves (AddressSpaces of Set-SendConnector).

Written "[type:]space[;cost]": "SMTP:contoso.com;5", "contoso.com", "*.contoso.com", "*", "--", "FAX:*;10".
Choosing among connectors is `connector_selection.py`.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from bridgehead.mail.address import AddressError, domain_key, parse_domain

SMTP: Final = "SMTP"
OUR_DOMAINS: Final = "--"
"""Space that stands for all authoritative and internal relay domains."""
DEFAULT_COST: Final = 1
COST_MAX: Final = 100

EVERY_DOMAIN: Final = 0
"""Specificity of "*"."""


class AddressSpaceError(ValueError):
    """The text is no address space; the message says why and what was expected."""


class AddressSpace(msgspec.Struct, frozen=True):
    """One address space.

    Attributes:
        type: "SMTP", or another type in upper case.
        space: SMTP: a domain key, "" for every domain, or "--"; other types: the text as written.
        sub_domains: SMTP: the domain and everything below it.
        cost: 1 to 100; lower wins among equally specific ones.
    """

    type: str
    space: str
    sub_domains: bool
    cost: int

    @property
    def specificity(self) -> int:
        """How narrow an SMTP space is: a full name beats the same name with sub-domains, more labels beat fewer."""
        if not self.space:
            return EVERY_DOMAIN
        return 2 * (self.space.count(".") + 1) + (not self.sub_domains)

    def matches(self, key: str) -> bool:
        """True where an SMTP domain, given as `domain_key`, lies in this space."""
        if self.type != SMTP:
            return False
        if not self.space or key == self.space:
            return True
        return self.sub_domains and key.endswith("." + self.space)

    def __str__(self) -> str:
        space = f"*.{self.space}" if self.sub_domains else self.space or "*"
        return f"{self.type}:{space};{self.cost}"


def parse_address_space(text: str) -> AddressSpace:
    """Read an address space. Raises AddressSpaceError."""
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        kind, rest = SMTP, kind
    kind, rest = kind.strip().upper(), rest.strip()
    if not kind.isalnum():
        raise AddressSpaceError(f'"{text}": a type such as SMTP, X400 or FAX was expected before the colon')
    if kind != SMTP:
        return _other_space(kind, rest, text)
    space, semicolon, cost = rest.partition(";")
    return _smtp_space(space.strip(), _cost(cost, text) if semicolon else DEFAULT_COST, text)


def _smtp_space(space: str, cost: int, text: str) -> AddressSpace:
    if space == OUR_DOMAINS:
        return AddressSpace(SMTP, OUR_DOMAINS, False, cost)
    if space == "*":
        return AddressSpace(SMTP, "", False, cost)
    sub_domains = space.startswith("*.")
    name = space[2:] if sub_domains else space
    if "*" in name:
        remedy = "*." + name.strip("*.") if name.strip("*.") else "*"
        raise AddressSpaceError(f'"{text}": a star stands for whole labels at the start only; "{remedy}" was expected')
    if name.startswith("["):
        raise AddressSpaceError(f'"{text}": a domain was expected, not an address literal; "*" covers those')
    try:
        parse_domain(name)
    except AddressError as error:
        raise AddressSpaceError(f'"{text}": {error}; "contoso.com", "*.contoso.com" or "*" was expected') from None
    return AddressSpace(SMTP, domain_key(name), sub_domains, cost)


def _other_space(kind: str, rest: str, text: str) -> AddressSpace:
    """A space of another type, whose own text may hold semicolons (X.400); then the cost must be written."""
    space, semicolon, cost = rest.rpartition(";")
    if not semicolon:
        space, cost_number = rest, DEFAULT_COST
    elif cost.strip().isdigit():
        cost_number = _cost(cost, text)
    else:
        raise AddressSpaceError(f'"{text}": the space holds a semicolon, so a cost was expected at its end, as in ";1"')
    if not space.strip():
        raise AddressSpaceError(f'"{text}": an address or "*" was expected after the colon')
    return AddressSpace(kind, space.strip(), False, cost_number)


def _cost(text: str, whole: str) -> int:
    number = text.strip()
    if not (number.isascii() and number.isdigit() and len(number) <= 3 and 1 <= int(number) <= COST_MAX):
        raise AddressSpaceError(f'"{whole}": a cost from 1 to {COST_MAX} was expected after the semicolon')
    return int(number)


def first_domain(texts: Iterable[str]) -> str:
    """The first SMTP domain that address spaces name, with or without those below it; "" where they name none."""
    for text in texts:
        try:
            space = parse_address_space(text)
        except AddressSpaceError:
            continue
        if space.type == SMTP and space.space not in ("", OUR_DOMAINS):
            return space.space
    return ""
