# SPDX-License-Identifier: MIT
"""Routing and bifurcation: one part for each next hop and reverse-path."""

from collections.abc import Sequence

import pytest

from bridgehead.categorizer.bifurcate import Part, bifurcate
from bridgehead.categorizer.resolution import Copy
from bridgehead.categorizer.slices import whole
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.item import TlsRequirement
from bridgehead.mail.units import ByteSize
from bridgehead.routing.settings import ForeignConnector, SendConnector
from support.categorizing import SENDER, a, mail_flow, to

CONNECTORS = [
    SendConnector(name="smart", address_spaces=["*.smart.example"], smart_hosts=["hub.example", "[192.0.2.9]"]),
    SendConnector(name="dns", address_spaces=["dns.example", "other.example"]),
    SendConnector(name="small", address_spaces=["small.example"], max_message_size=ByteSize(100)),
]
FOREIGN = [ForeignConnector(name="fax", address_spaces=["fax.example"], drop_directory="fax")]


def local(name: str) -> EnvelopeRecipient:
    return EnvelopeRecipient(a(f"{name}@contoso.com"), mailbox=name)


def split(recipients: Sequence[EnvelopeRecipient], **limits: object) -> tuple[list[Part], Copy]:
    copy = Copy(a(SENDER), list(recipients), [])
    return whole(bifurcate([copy], 1000, mail_flow(connectors=CONNECTORS, foreign=FOREIGN, **limits))), copy


def shown(parts: list[Part]) -> list[tuple[str, list[str]]]:
    return [
        (
            f"{part.next_hop.delivery_type} {part.next_hop}" if part.next_hop else "unreachable",
            [str(each.forward_path) for each in part.recipients],
        )
        for part in parts
    ]


def test_recipients_are_parted_by_next_hop() -> None:
    parts, copy = split(
        [
            to("a@dns.example"),
            local("anna"),
            to("b@x.smart.example"),
            to("c@Dns.example"),
            to("d@other.example"),
            to("e@y.smart.example"),
            to("f@fax.example"),
            to("g@nowhere.example"),
            local("bob"),
            to("h@elsewhere.example"),
        ]
    )
    assert shown(parts) == [
        ("DnsConnectorDelivery dns/dns.example", ["a@dns.example", "c@Dns.example"]),
        ("SmtpDeliveryToMailbox Mailboxes/Mailboxes", ["anna@contoso.com", "bob@contoso.com"]),
        ("SmartHostConnectorDelivery smart/hub.example,[192.0.2.9]", ["b@x.smart.example", "e@y.smart.example"]),
        ("DnsConnectorDelivery dns/other.example", ["d@other.example"]),
        ("NonSmtpGatewayDelivery fax/fax", ["f@fax.example"]),
        ("unreachable", ["g@nowhere.example", "h@elsewhere.example"]),
    ]
    assert copy.results == []


def test_too_large_for_every_way_is_refused_not_unreachable() -> None:
    parts, copy = split([to("a@small.example"), to("b@dns.example")])
    assert shown(parts) == [("DnsConnectorDelivery dns/dns.example", ["b@dns.example"])]
    ((recipient, status),) = copy.results
    assert (str(recipient.forward_path), status.status) == ("a@small.example", "5.3.4")


def test_an_international_domain_has_one_queue_however_it_is_written() -> None:
    connectors = [SendConnector(name="out", address_spaces=["*"])]
    copy = Copy(a(SENDER), [to("a@bücher.example"), to("b@xn--bcher-kva.example")], [])
    parts = whole(bifurcate([copy], 1, mail_flow(connectors=connectors)))
    assert [part.next_hop.domain for part in parts if part.next_hop] == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (1000, [5]), (0, [1] * 5)]
)
def test_copies_are_chipped(limit: int, sizes: list[int]) -> None:
    parts, _ = split([to(f"u{number}@dns.example") for number in range(5)], expansion_size_limit=limit)
    assert [len(part.recipients) for part in parts] == sizes
    names = [each.forward_path.local_part for part in parts for each in part.recipients]
    assert names == [f"u{number}" for number in range(5)]


def test_each_reverse_path_has_its_own_copy() -> None:
    copies = [Copy(a(SENDER), [to("a@dns.example")], []), Copy(a("boss@contoso.com"), [to("b@dns.example")], [])]
    parts = whole(bifurcate(copies, 1, mail_flow(connectors=CONNECTORS)))
    assert [(str(part.reverse_path), len(part.recipients)) for part in parts] == [(SENDER, 1), ("boss@contoso.com", 1)]


def test_what_a_message_asks_of_tls_has_queues_of_its_own() -> None:
    """REQUIRETLS mail never meets a connection that was opened for other mail; a gateway cannot promise it."""
    copy = Copy(a(SENDER), [to("a@dns.example"), to("b@x.smart.example"), local("anna"), to("f@fax.example")], [])
    flow = mail_flow(connectors=CONNECTORS, foreign=FOREIGN)
    parts = whole(bifurcate([copy], 1000, flow, TlsRequirement.REQUIRED))
    assert [name for name, _ in shown(parts)] == [
        "DnsConnectorDelivery dns/dns.example (RequireTLS)",
        "SmartHostConnectorDelivery smart/hub.example,[192.0.2.9] (RequireTLS)",
        "SmtpDeliveryToMailbox Mailboxes/Mailboxes",
    ]
    assert [(str(who.forward_path), status.status) for who, status in copy.results] == [("f@fax.example", "5.7.30")]
    copy = Copy(a(SENDER), [to("f@fax.example")], [])
    assert len(whole(bifurcate([copy], 1000, flow, TlsRequirement.OPTIONAL))) == 1
