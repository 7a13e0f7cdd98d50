# SPDX-License-Identifier: MIT
import pytest

from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.settings import ReceiveConnector

DEFAULT = ReceiveConnector(name="Default", bindings=["0.0.0.0:25", "[::]:25"])
SITE = ReceiveConnector(name="Site", bindings=["0.0.0.0:25"], remote_ip_ranges=["10.0.0.0/8"])
PRINTERS = ReceiveConnector(name="Printers", bindings=["0.0.0.0:25"], remote_ip_ranges=["10.2.0.1-10.2.0.99"])
ONE = ReceiveConnector(name="One", bindings=["0.0.0.0:25"], remote_ip_ranges=["10.2.0.17", "2001:db8::1"])
INNER = ReceiveConnector(name="Inner", bindings=["10.0.0.1:25"], remote_ip_ranges=["10.0.0.0/8"])
CLIENT = ReceiveConnector(name="Client", bindings=["0.0.0.0:587"])
OFF = ReceiveConnector(name="Off", bindings=["0.0.0.0:25"], remote_ip_ranges=["10.2.0.17"], enabled=False)
ALL = ReceiveConnectors([DEFAULT, SITE, PRINTERS, ONE, INNER, CLIENT, OFF])


@pytest.mark.parametrize(
    ("local_ip", "port", "client", "wanted"),
    [
        ("192.0.2.1", 25, "198.51.100.1", "Default"),
        ("192.0.2.1", 25, "10.9.9.9", "Site"),
        ("192.0.2.1", 25, "10.2.0.50", "Printers"),
        ("192.0.2.1", 25, "10.2.0.17", "One"),
        ("10.0.0.1", 25, "10.2.0.17", "Inner"),
        ("10.0.0.1", 25, "198.51.100.1", "Default"),
        ("192.0.2.1", 587, "10.2.0.17", "Client"),
        ("2001:db8::ff", 25, "2001:db8::1", "Default"),
        ("192.0.2.1", 26, "10.2.0.17", None),
        ("::1", 587, "::1", None),
    ],
)
def test_binding_then_most_specific_range(local_ip: str, port: int, client: str, wanted: str | None) -> None:
    connector = ALL.match(local_ip, port, client).connector
    assert (connector.name if connector else None) == wanted


def test_ipv4_mapped_client_meets_the_rules_for_its_ipv4_address() -> None:
    match = ALL.match("::ffff:192.0.2.1", 25, "::ffff:10.2.0.17")
    assert match.connector is ONE
    assert match.remote_range is not None
    assert match.remote_range.text == "10.2.0.17"


def test_order_of_the_configuration_decides_nothing() -> None:
    backwards = ReceiveConnectors([OFF, CLIENT, INNER, ONE, PRINTERS, SITE, DEFAULT])
    for client in ("198.51.100.1", "10.9.9.9", "10.2.0.50", "10.2.0.17"):
        assert backwards.match("192.0.2.1", 25, client).connector is ALL.match("192.0.2.1", 25, client).connector


def test_every_other_connector_has_its_reason() -> None:
    reasons = {one.connector.name: one.reason for one in ALL.match("10.0.0.1", 25, "10.2.0.17").explain()}
    assert reasons == {
        "Default": "its binding 0.0.0.0:25 is less specific than 10.0.0.1:25",
        "Site": "its binding 0.0.0.0:25 is less specific than 10.0.0.1:25",
        "Printers": "its binding 0.0.0.0:25 is less specific than 10.0.0.1:25",
        "One": "its binding 0.0.0.0:25 is less specific than 10.0.0.1:25",
        "Client": "it does not listen on 10.0.0.1:25, only on 0.0.0.0:587",
        "Off": "it is disabled",
    }
    reasons = {one.connector.name: one.reason for one in ALL.match("192.0.2.1", 25, "10.2.0.18").explain()}
    assert reasons["Site"] == "its remote range 10.0.0.0/8 is less specific than 10.2.0.1-10.2.0.99"
    assert reasons["One"] == "no remote range of it contains 10.2.0.18"
    assert "Printers" not in reasons


def test_a_client_that_nobody_takes_hears_why_from_all() -> None:
    match = ReceiveConnectors([SITE, OFF]).match("192.0.2.1", 25, "198.51.100.1")
    assert match.connector is None
    assert [one.reason for one in match.explain()] == ["no remote range of it contains 198.51.100.1", "it is disabled"]


def test_sockets_to_open_leave_out_what_a_wider_binding_includes() -> None:
    assert sorted(map(str, ALL.listening())) == ["0.0.0.0:25", "0.0.0.0:587", "[::]:25"]
    assert [str(one) for one in ReceiveConnectors([INNER]).listening()] == ["10.0.0.1:25"]
    assert ReceiveConnectors([OFF]).listening() == []
