# SPDX-License-Identifier: MIT
"""Selecting a connector: Exchange's order step by step, and the reasons against all others."""

import pytest

from bridgehead.mail.units import ByteSize
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection, Outcome
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import AcceptedDomain, DomainType, ForeignConnector, SendConnector

MB = 1024**2


def send(name: str, *spaces: str, size: int = 35 * MB, **settings: object) -> SendConnector:
    return SendConnector(name=name, address_spaces=list(spaces), max_message_size=ByteSize(size), **settings)


def drop(name: str, *spaces: str) -> ForeignConnector:
    return ForeignConnector(name=name, address_spaces=list(spaces), drop_directory="drop")


def selection(
    *connectors: SendConnector | ForeignConnector, domains: AcceptedDomains | None = None
) -> ConnectorSelection:
    return ConnectorSelection(
        [each for each in connectors if isinstance(each, SendConnector)],
        [each for each in connectors if isinstance(each, ForeignConnector)],
        domains or AcceptedDomains([]),
    )


@pytest.mark.parametrize(
    ("connectors", "domain", "size", "expected"),
    [
        # step 3: the most specific space, whatever it costs
        ([send("a", "*;1"), send("b", "*.contoso.com;50"), send("c", "m.contoso.com;100")], "m.contoso.com", 1, "c"),
        ([send("a", "*;1"), send("b", "*.contoso.com;50"), send("c", "m.contoso.com;100")], "x.contoso.com", 1, "b"),
        ([send("a", "*;1"), send("b", "*.contoso.com;50"), send("c", "m.contoso.com;100")], "other.example", 1, "a"),
        ([send("a", "*.contoso.com;1"), send("b", "contoso.com;9")], "contoso.com", 1, "b"),
        # step 4: then the lowest cost
        ([send("a", "*;5"), send("b", "*;4")], "x.example", 1, "b"),
        ([send("a", "x.example;9", "x.example;2"), send("b", "x.example;3")], "x.example", 1, "a"),
        # step 6: then the lowest name
        ([send("b", "*"), send("A", "*")], "x.example", 1, "A"),
        ([drop("fax", "x.example"), send("gate", "x.example")], "x.example", 1, "fax"),
        # step 1: too small connectors drop out before all that
        ([send("a", "x.example", size=10), send("b", "*", size=20)], "x.example", 10, "a"),
        ([send("a", "x.example", size=10), send("b", "*", size=20)], "x.example", 11, "b"),
        # step 2: disabled ones never match
        ([send("a", "x.example", enabled=False), send("b", "*")], "x.example", 1, "b"),
    ],
)
def test_the_order_of_selection(
    connectors: list[SendConnector | ForeignConnector], domain: str, size: int, expected: str
) -> None:
    for order in (connectors, connectors[::-1]):
        chosen = selection(*order).select(domain, size)
        assert chosen.outcome is Outcome.CHOSEN
        assert chosen.connector is not None
        assert chosen.connector.name == expected


@pytest.mark.parametrize(
    ("connectors", "size", "expected"),
    [
        ([], 1, Outcome.NO_ROUTE),
        ([send("a", "other.example")], 1, Outcome.NO_ROUTE),
        ([send("a", "*", enabled=False)], 1, Outcome.NO_ROUTE),
        ([send("a", "FAX:*")], 1, Outcome.NO_ROUTE),
        ([send("a", "*", size=10), send("b", "x.example", size=5)], 11, Outcome.TOO_LARGE),
        ([send("a", "*", size=10), send("b", "*", enabled=False)], 11, Outcome.TOO_LARGE),
    ],
)
def test_no_route_differs_from_too_large(connectors: list[SendConnector], size: int, expected: Outcome) -> None:
    chosen = selection(*connectors).select("x.example", size)
    assert (chosen.outcome, chosen.next_hop) == (expected, None)


@pytest.mark.parametrize(
    ("connector", "domain", "expected"),
    [
        (send("out", "*"), "x.example", NextHop(DeliveryType.DNS_CONNECTOR, "x.example", "out")),
        (send("out", "*"), "[192.0.2.1]", NextHop(DeliveryType.DNS_CONNECTOR, "[192.0.2.1]", "out")),
        (
            send("out", "*", smart_hosts=["mx.example", "192.0.2.1:2525"]),
            "x.example",
            NextHop(DeliveryType.SMART_HOST, "mx.example,192.0.2.1:2525", "out"),
        ),
        (drop("fax", "*"), "x.example", NextHop(DeliveryType.NON_SMTP_GATEWAY, "fax", "fax")),
    ],
)
def test_the_next_hop_follows_from_the_connector(
    connector: SendConnector | ForeignConnector, domain: str, expected: NextHop
) -> None:
    assert selection(connector).select(domain, 1).next_hop == expected


def test_two_dashes_stand_for_our_domains() -> None:
    domains = AcceptedDomains(
        [
            AcceptedDomain(domain_name="contoso.com", match_sub_domains=True),
            AcceptedDomain(domain_name="partner.example", domain_type=DomainType.INTERNAL_RELAY),
            AcceptedDomain(domain_name="away.example", domain_type=DomainType.EXTERNAL_RELAY),
        ]
    )
    chooser = selection(send("inward", "--;3"), domains=domains)
    outcomes = {
        key: chooser.select(key, 1).outcome
        for key in ("contoso.com", "a.contoso.com", "partner.example", "away.example")
    }
    assert outcomes == {
        "contoso.com": Outcome.CHOSEN,
        "a.contoso.com": Outcome.CHOSEN,
        "partner.example": Outcome.CHOSEN,
        "away.example": Outcome.NO_ROUTE,
    }


def test_each_other_connector_has_its_reason() -> None:
    chooser = selection(
        send("disabled", "x.example", enabled=False),
        send("elsewhere", "y.example"),
        send("small", "x.example", size=10),
        send("wide", "*"),
        send("dear", "*.x.example;9"),
        send("zwilling", "*.x.example;2"),
        send("winner", "*.x.example;2"),
    )
    explanation = chooser.explain("x.example", 100)
    assert explanation.selection.connector is not None
    assert explanation.selection.connector.name == "winner"
    reasons = {rejected.connector: rejected.reason for rejected in explanation.rejected}
    assert reasons == {
        "disabled": "it is disabled",
        "elsewhere": "none of its address spaces matches x.example",
        "small": "its max_message_size of 10 B is below the message's 100 B",
        "wide": "its address space SMTP:*;1 is less specific than SMTP:*.x.example;2 of winner",
        "dear": "its cost 9 is higher than the 2 of winner",
        "zwilling": "its name comes after winner, which is equal in all else",
    }


def test_reasons_when_nothing_is_chosen() -> None:
    explanation = selection(send("small", "*", size=10), send("elsewhere", "y.example")).explain("x.example", 100)
    assert explanation.selection.outcome is Outcome.TOO_LARGE
    assert len(explanation.rejected) == 2


def test_many_domains_do_not_fill_memory() -> None:
    chooser = selection(send("out", "*"))
    for number in range(20_010):
        assert chooser.select(f"d{number}.example", 1).outcome is Outcome.CHOSEN
    assert len(chooser._cache) <= 20_000
