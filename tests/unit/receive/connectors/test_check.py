# SPDX-License-Identifier: MIT
from datetime import timedelta
from typing import Any

import pytest

from bridgehead.mail.units import Duration
from bridgehead.receive.connectors.selection import check
from bridgehead.receive.settings import AuthMechanism, PermissionGroup, ReceiveConnector


def connector(name: str = "One", **settings: Any) -> ReceiveConnector:
    return ReceiveConnector(name=name, bindings=settings.pop("bindings", ["0.0.0.0:25"]), **settings)


def found(*connectors: ReceiveConnector) -> list[tuple[int, str]]:
    return [(finding.position, finding.field) for finding in check(connectors)]


def test_containment_is_the_only_allowed_overlap() -> None:
    outer = connector(remote_ip_ranges=["10.0.0.0/8"])
    assert found(outer, connector("Two", remote_ip_ranges=["10.2.0.0/16", "192.0.2.1"])) == []
    partly = connector("Two", remote_ip_ranges=["10.255.0.0-11.0.0.9"])
    [finding] = check([outer, partly])
    assert (finding.position, finding.field) == (1, "remote_ip_ranges")
    assert 'overlaps 10.0.0.0/8 of connector "One" in part' in finding.message
    assert found(outer, connector("Two", remote_ip_ranges=["10.255.0.0-11.0.0.9"], bindings=["0.0.0.0:26"])) == []
    assert found(outer, connector("Two", remote_ip_ranges=["10.255.0.0-11.0.0.9"], enabled=False)) == []


def test_the_same_range_cannot_belong_to_two() -> None:
    one = connector(remote_ip_ranges=["10.0.0.0/8"])
    same = connector("Two", remote_ip_ranges=["10.0.0.0-10.255.255.255"])
    assert found(one, same) == [(1, "remote_ip_ranges")]
    assert found(one, connector("Two", remote_ip_ranges=["10.0.0.0/8"], bindings=["10.0.0.1:25"])) == []


def test_every_error_is_found_at_once() -> None:
    broken = connector(bindings=["x"], remote_ip_ranges=["10.0.0.1/8", "y"], proxy_protocol_sources=["z"])
    assert found(broken) == [
        (0, "bindings"),
        (0, "remote_ip_ranges"),
        (0, "remote_ip_ranges"),
        (0, "proxy_protocol_sources"),
    ]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_hop_count": 501}, "max_hop_count"),
        ({"max_local_hop_count": 51}, "max_local_hop_count"),
        ({"max_logon_failures": 11}, "max_logon_failures"),
        ({"max_inbound_connection_percentage_per_source": 0}, "max_inbound_connection_percentage_per_source"),
        ({"max_recipients_per_message": 0}, "max_recipients_per_message"),
        ({"fqdn": "bad name"}, "fqdn"),
        ({"default_domain": "-.com"}, "default_domain"),
        ({"banner": "hello"}, "banner"),
        ({"banner": "220 a\r\n250 b"}, "banner"),
        ({"bindings": []}, "bindings"),
        ({"remote_ip_ranges": []}, "remote_ip_ranges"),
        ({"connection_inactivity_timeout": Duration(timedelta(minutes=10).seconds)}, "connection_inactivity_timeout"),
        ({"auth_mechanism": [AuthMechanism.NONE, AuthMechanism.TLS]}, "auth_mechanism"),
        ({"auth_mechanism": [AuthMechanism.BASIC_AUTH_REQUIRE_TLS]}, "auth_mechanism"),
        ({"auth_mechanism": [AuthMechanism.NONE], "require_tls": True}, "require_tls"),
        ({"auth_mechanism": [AuthMechanism.EXTERNAL_AUTHORITATIVE]}, "permission_groups"),
        (
            {
                "auth_mechanism": [AuthMechanism.EXTERNAL_AUTHORITATIVE, AuthMechanism.BASIC_AUTH],
                "permission_groups": [PermissionGroup.EXCHANGE_SERVERS],
            },
            "auth_mechanism",
        ),
        ({"permission_groups": [PermissionGroup.NONE, PermissionGroup.PARTNERS]}, "permission_groups"),
    ],
)
def test_a_property_out_of_bounds(settings: dict[str, Any], field: str) -> None:
    assert found(connector(**settings)) == [(0, field)]


def test_names_are_unique_without_regard_to_case() -> None:
    assert found(connector("Relay"), connector("RELAY", bindings=["0.0.0.0:26"])) == [(1, "name")]
    assert found(connector("")) == [(0, "name")]
    assert found(connector("x" * 65)) == [(0, "name")]


def test_the_default_settings_are_sound() -> None:
    assert found(connector()) == []


def test_implicit_tls_must_agree_on_a_binding() -> None:
    one = ReceiveConnector(name="a", bindings=["0.0.0.0:465"], implicit_tls=True)
    other = ReceiveConnector(name="b", bindings=["0.0.0.0:465"], remote_ip_ranges=["10.0.0.0/8"])
    assert [finding.field for finding in check([one, other])] == ["implicit_tls"]


def test_implicit_tls_excludes_the_proxy_protocol() -> None:
    connector = ReceiveConnector(
        name="a", bindings=["0.0.0.0:465"], implicit_tls=True, proxy_protocol_sources=["10.0.0.1"]
    )
    assert [finding.field for finding in check([connector])] == ["implicit_tls"]
