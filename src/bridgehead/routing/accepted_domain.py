# SPDX-License-Identifier: MIT
"""Accepted domains: which domains are ours, and how far (Set-AcceptedDomain).

Compiled once for each configuration; a look-up is one dictionary access for a domain that is listed and at most one
for each label otherwise. What follows from a domain's type is decided by receive and the categorizer.
"""

from collections.abc import Iterator, Sequence

from bridgehead.mail.address import AddressError, domain_key, parse_domain
from bridgehead.routing.setting_error import SettingError
from bridgehead.routing.settings import AcceptedDomain, DomainType

NAME_CHARACTERS = 64
"""Longest name of an accepted domain in Exchange."""


class AcceptedDomains:
    """The accepted domains of a configuration, ready for look-ups.

    Attributes:
        default: the domain with `make_default`, else the first that is a plain name, else None.
    """

    __slots__ = ("_domains", "_exact", "_subtrees", "default")

    def __init__(self, domains: Sequence[AcceptedDomain]) -> None:
        self._domains = tuple(domains)
        self._exact: dict[str, AcceptedDomain] = {}
        self._subtrees: dict[str, AcceptedDomain] = {}
        for domain in domains:
            key, subtree_only = _split(domain.domain_name)
            if not subtree_only:
                self._exact.setdefault(key, domain)
            if subtree_only or domain.match_sub_domains:
                self._subtrees.setdefault(key, domain)
        plain = [domain for domain in domains if not domain.domain_name.startswith("*")]
        chosen = [domain for domain in plain if domain.make_default] or plain
        self.default: AcceptedDomain | None = chosen[0] if chosen else None

    def find(self, key: str) -> AcceptedDomain | None:
        """The accepted domain that covers a domain given as `domain_key`; the most specific one, None for foreign."""
        domain = self._exact.get(key)
        if domain is not None or not self._subtrees:
            return domain
        subtrees = self._subtrees
        position = key.find(".")
        while position >= 0:
            domain = subtrees.get(key[position + 1 :])
            if domain is not None:
                return domain
            position = key.find(".", position + 1)
        return None

    def is_authoritative(self, key: str) -> bool:
        """True where we know every recipient of this domain."""
        domain = self.find(key)
        return domain is not None and domain.domain_type is DomainType.AUTHORITATIVE

    @property
    def default_name(self) -> str:
        """The default domain's name, "" without one."""
        return self.default.domain_name if self.default else ""

    def __iter__(self) -> Iterator[AcceptedDomain]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)


def check_accepted_domains(domains: Sequence[AcceptedDomain]) -> list[SettingError]:
    """Everything that is wrong with a list of accepted domains; empty when it can be used."""
    errors: list[SettingError] = []
    seen: dict[tuple[str, bool], int] = {}
    names: dict[str, int] = {}
    default = -1
    for index, domain in enumerate(domains):
        errors += (SettingError(index, "domain_name", text) for text in _malformed(domain.domain_name))
        first = seen.setdefault(_split(domain.domain_name), index)
        if first != index:
            message = f'"{domain.domain_name}" is listed already, as number {first + 1}; keep one of them'
            errors.append(SettingError(index, "domain_name", message))
        name = (domain.name or domain.domain_name).casefold()
        if names.setdefault(name, index) != index and first == index:
            errors.append(SettingError(index, "name", f'"{domain.name}" is the name of another accepted domain'))
        if len(domain.name) > NAME_CHARACTERS:
            errors.append(SettingError(index, "name", f"at most {NAME_CHARACTERS} characters were expected"))
        if domain.make_default:
            errors += _default_errors(index, domain, default, domains)
            default = index if default < 0 else default
    return errors


def _default_errors(
    index: int, domain: AcceptedDomain, earlier: int, domains: Sequence[AcceptedDomain],
) -> list[SettingError]:  # fmt: skip
    if domain.domain_name.startswith("*"):
        message = f'"{domain.domain_name}" stands for many domains and cannot be the default; name one domain'
        return [SettingError(index, "make_default", message)]
    if earlier >= 0:
        message = f'exactly one default was expected, but "{domains[earlier].domain_name}" is the default already'
        return [SettingError(index, "make_default", message)]
    return []


def _malformed(name: str) -> list[str]:
    text = name[2:] if name.startswith("*.") else name
    if text.startswith("*"):
        remedy = "*." + text.lstrip("*.")
        return [f'"{name}": a star stands for whole labels only; "{remedy}" was expected']
    if text.startswith("["):
        return [f'"{name}": a domain name was expected, not an address literal']
    try:
        parse_domain(text)
    except AddressError as error:
        return [f'"{name}": {error}; a name such as "contoso.com" or "*.contoso.com" was expected']
    return []


def _split(name: str) -> tuple[str, bool]:
    """Key of a domain or of the domain above it, and whether only what lies below it is meant."""
    return (domain_key(name[2:]), True) if name.startswith("*.") else (domain_key(name), False)
