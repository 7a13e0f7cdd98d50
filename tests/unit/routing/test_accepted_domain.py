# SPDX-License-Identifier: MIT
"""Accepted domains: what covers a domain, the default, and what `check` says of mistakes."""

import pytest

from bridgehead.routing.accepted_domain import AcceptedDomains, check_accepted_domains
from bridgehead.routing.settings import AcceptedDomain, DomainType


def domain(name: str, /, **settings: object) -> AcceptedDomain:
    return AcceptedDomain(domain_name=name, **settings)


DOMAINS = AcceptedDomains(
    [
        domain("Contoso.com", match_sub_domains=True),
        domain("sales.contoso.com", domain_type=DomainType.INTERNAL_RELAY),
        domain("*.fabrikam.com", domain_type=DomainType.EXTERNAL_RELAY),
        domain("*.deep.fabrikam.com"),
        domain("tailspin.example"),
        domain("bücher.example"),
    ]
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("contoso.com", "Contoso.com"),
        ("sales.contoso.com", "sales.contoso.com"),
        ("eu.sales.contoso.com", "Contoso.com"),
        ("a.b.contoso.com", "Contoso.com"),
        ("notcontoso.com", None),
        ("com", None),
        ("fabrikam.com", None),
        ("x.fabrikam.com", "*.fabrikam.com"),
        ("x.y.fabrikam.com", "*.fabrikam.com"),
        ("deep.fabrikam.com", "*.fabrikam.com"),
        ("x.deep.fabrikam.com", "*.deep.fabrikam.com"),
        ("tailspin.example", "tailspin.example"),
        ("sub.tailspin.example", None),
        ("xn--bcher-kva.example", "bücher.example"),
        ("[192.0.2.1]", None),
        ("", None),
    ],
)
def test_the_most_specific_domain_is_found(key: str, expected: str | None) -> None:
    found = DOMAINS.find(key)
    assert (found.domain_name if found else None) == expected


def test_only_authoritative_domains_are_authoritative() -> None:
    assert DOMAINS.is_authoritative("contoso.com")
    assert not DOMAINS.is_authoritative("sales.contoso.com")
    assert not DOMAINS.is_authoritative("elsewhere.example")


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        ([], ""),
        ([domain("*.a.example"), domain("b.example"), domain("c.example")], "b.example"),
        ([domain("b.example"), domain("c.example", make_default=True)], "c.example"),
        ([domain("*.a.example")], ""),
    ],
)
def test_the_default_domain(domains: list[AcceptedDomain], expected: str) -> None:
    assert AcceptedDomains(domains).default_name == expected


@pytest.mark.parametrize(
    ("domains", "index", "field", "words"),
    [
        ([domain("a.example"), domain("A.Example")], 1, "domain_name", "listed already, as number 1"),
        (
            [domain("a.example", make_default=True), domain("b.example", make_default=True)],
            1,
            "make_default",
            "a.example",
        ),
        ([domain("*.a.example", make_default=True)], 0, "make_default", "cannot be the default"),
        ([domain("*a.example")], 0, "domain_name", '"*.a.example" was expected'),
        ([domain("*")], 0, "domain_name", "whole labels"),
        ([domain("[192.0.2.1]")], 0, "domain_name", "not an address literal"),
        ([domain("a..example")], 0, "domain_name", "malformed label"),
        ([domain("")], 0, "domain_name", "empty"),
        ([domain("a.example", name="x"), domain("b.example", name="X")], 1, "name", "another accepted domain"),
        ([domain("a.example", name="n" * 65)], 0, "name", "64 characters"),
    ],
)
def test_every_mistake_is_named(domains: list[AcceptedDomain], index: int, field: str, words: str) -> None:
    (error,) = check_accepted_domains(domains)
    assert (error.index, error.field) == (index, field)
    assert words in error.message


def test_a_domain_and_its_sub_domains_are_two_things() -> None:
    assert check_accepted_domains([domain("a.example"), domain("*.a.example")]) == []
