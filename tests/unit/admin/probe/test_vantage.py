# SPDX-License-Identifier: MIT
"""From where a connector can be met on this machine."""

from typing import Any

import pytest

from bridgehead.admin.probe.vantage import Vantage, vantages
from bridgehead.net.ip_range import parse_binding
from bridgehead.receive.connectors.selection import is_loopback_only
from bridgehead.receive.settings import Device, ReceiveConnector


def connector(name: str = "One", **settings: Any) -> ReceiveConnector:
    return ReceiveConnector(**{"name": name, "bindings": ["127.0.0.1:25"], **settings})


def first(one: ReceiveConnector, *others: ReceiveConnector, client: str = "") -> Vantage | None:
    return next(vantages([one, *others], one, parse_binding(one.bindings[0]), client), None)


@pytest.mark.parametrize(
    ("settings", "address", "source"),
    [
        ({}, "127.0.0.1", "127.0.0.1"),
        ({"bindings": ["0.0.0.0:25"]}, "127.0.0.1", "127.0.0.1"),
        ({"bindings": ["[::]:25"]}, "::1", "::1"),
        ({"remote_ip_ranges": ["127.5.0.0/16"]}, "127.0.0.1", "127.5.0.0"),
        ({"remote_ip_ranges": ["127.0.0.7-127.0.0.9"]}, "127.0.0.1", "127.0.0.7"),
    ],
)
def test_a_source_within_the_ranges(settings: dict[str, Any], address: str, source: str) -> None:
    found = first(connector(**settings))
    assert found is not None
    assert (found.address, found.source, found.client, found.preamble) == (address, source, source, b"")


def test_nobody_here_is_a_client_of_a_connector_for_others() -> None:
    assert first(connector(remote_ip_ranges=["192.0.2.0/24"])) is None


def test_a_more_specific_connector_takes_our_address_away() -> None:
    narrow = connector("Narrow", remote_ip_ranges=["127.0.0.0/8"])
    assert first(connector(), narrow) is None
    assert first(narrow, connector()) is not None


def test_a_client_of_ours_and_one_that_is_not() -> None:
    found = first(connector(), client="127.0.0.77")
    assert found is not None
    assert found.source == "127.0.0.77"
    assert first(connector(), client="198.51.100.1") is None


def test_behind_a_proxy_any_client_can_be_played() -> None:
    proxied = connector(remote_ip_ranges=["198.51.100.0/24"], proxy_protocol_sources=["127.0.0.1"])
    found = first(proxied, client="198.51.100.9")
    assert found is not None
    assert found.source == "127.0.0.1"
    assert found.preamble == b"PROXY TCP4 198.51.100.9 127.0.0.1 50000 25\r\n"
    anybody = first(proxied)
    assert anybody is not None
    assert anybody.client == "198.51.100.1"


def test_what_listens_for_this_machine_only() -> None:
    assert is_loopback_only(connector(bindings=["127.0.0.1:25", "[::1]:25", "127.9.9.9:2525"]))
    assert not is_loopback_only(connector(bindings=["127.0.0.1:25", "0.0.0.0:26"]))
    assert not is_loopback_only(connector(bindings=["127.0.0.1:25"], proxy_protocol_sources=["127.0.0.1"]))


def test_addresses_of_devices_are_nobodys_vantage() -> None:
    one = connector(bindings=["127.0.0.1:25"], remote_ip_ranges=["127.0.0.0/8"])
    device = Device(name="p", remote_ip_ranges=["127.0.0.1"], rewrite_sender="s@contoso.test")
    binding = parse_binding("127.0.0.1:25")
    assert "127.0.0.1" in [each.client for each in vantages([one], one, binding)]
    assert "127.0.0.1" not in [each.client for each in vantages([one], one, binding, devices=[device])]
    assert [each.client for each in vantages([one], one, binding, "127.0.0.1", [device])] == ["127.0.0.1"]
