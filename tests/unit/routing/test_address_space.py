# SPDX-License-Identifier: MIT
"""Address spaces: every form that Set-SendConnector takes, every one it refuses, and how narrow each is."""

import pytest

from bridgehead.routing.address_space import AddressSpaceError, parse_address_space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", "SMTP:*;1"),
        ("SMTP:*;1", "SMTP:*;1"),
        ("smtp:*;100", "SMTP:*;100"),
        ("Contoso.com", "SMTP:contoso.com;1"),
        ("contoso.com;5", "SMTP:contoso.com;5"),
        (" SMTP : *.contoso.com ; 7 ", "SMTP:*.contoso.com;7"),
        ("bücher.example", "SMTP:xn--bcher-kva.example;1"),
        ("--", "SMTP:--;1"),
        ("smtp:--;3", "SMTP:--;3"),
        ("FAX:*;10", "FAX:*;10"),
        ("fax:+49 30 1234", "FAX:+49 30 1234;1"),
        ("X400:c=us;a=x;p=contoso;2", "X400:c=us;a=x;p=contoso;2"),
        ("NOTES:*", "NOTES:*;1"),
    ],
)
def test_legal_forms(text: str, expected: str) -> None:
    assert str(parse_address_space(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*contoso.com", '"*.contoso.com" was expected'),
        ("SMTP:*contoso.com;3", '"*.contoso.com" was expected'),
        ("mail.*.contoso.com", "whole labels"),
        ("**", '"*" was expected'),
        ("", "empty"),
        ("SMTP:", "empty"),
        ("contoso..com", "label"),
        ("[192.0.2.1]", "not an address literal"),
        ("contoso.com;0", "cost from 1 to 100"),
        ("contoso.com;101", "cost from 1 to 100"),
        ("contoso.com;cheap", "cost from 1 to 100"),
        ("contoso.com;", "cost from 1 to 100"),
        ("X400:c=us;a=x", "a cost was expected"),
        ("FAX:", "an address"),
        (":contoso.com", "a type"),
        ("S MTP:contoso.com", "a type"),
    ],
)
def test_illegal_forms_are_refused_with_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(AddressSpaceError) as caught:
        parse_address_space(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("*", "anything.example", True),
        ("*", "[192.0.2.1]", True),
        ("contoso.com", "contoso.com", True),
        ("contoso.com", "a.contoso.com", False),
        ("*.contoso.com", "contoso.com", True),
        ("*.contoso.com", "a.b.contoso.com", True),
        ("*.contoso.com", "notcontoso.com", False),
        ("FAX:*", "contoso.com", False),
    ],
)
def test_what_a_space_matches(text: str, key: str, expected: bool) -> None:
    assert parse_address_space(text).matches(key) is expected


def test_narrower_spaces_are_more_specific() -> None:
    order = ["*", "*.com", "*.contoso.com", "contoso.com", "*.marketing.contoso.com", "marketing.contoso.com"]
    ranks = [parse_address_space(text).specificity for text in order]
    assert ranks == sorted(set(ranks))
