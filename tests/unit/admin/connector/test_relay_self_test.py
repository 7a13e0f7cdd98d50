# SPDX-License-Identifier: MIT
"""The open-relay self-test finds relays that are planted for it, on the wire and in the rules."""

from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.connector.relay_self_test import evaluate, try_relaying
from bridgehead.admin.connector.relay_tricks import TRICKS
from bridgehead.admin.probe.steps import Verdict
from bridgehead.receive.settings import (
    AuthMechanism,
    ExtendedRight,
    Grantee,
    PermissionGroup,
    ReceiveConnector,
    Right,
)
from bridgehead.routing.settings import AcceptedDomain, DomainType
from support.ports import free_port
from support.probe_site import site
from support.sink import Sink

DOMAINS = [
    AcceptedDomain(domain_name="contoso.test"),
    AcceptedDomain(domain_name="passed-on.test", domain_type=DomainType.INTERNAL_RELAY),
]


def receiving(port: int, **settings: Any) -> ReceiveConnector:
    given: dict[str, Any] = {
        "name": "Default", "bindings": [f"127.0.0.1:{port}"], "permission_groups": [PermissionGroup.ANONYMOUS_USERS],
        **settings,
    }  # fmt: skip
    return ReceiveConnector(**given)


async def test_a_server_that_relays_for_everybody_fails_every_trick_that_leaves_our_domains(tmp_path: Path) -> None:
    with Sink() as sink:  # takes everything, as an open relay would
        connector = receiving(sink.port)
        given = site(tmp_path, receive_connectors=[connector], accepted_domains=DOMAINS)
        found = await try_relaying(given, connector)
        verbs = {line.split()[0].upper() for _, line in sink.commands}
    assert all(one.on_the_wire for one in found)
    assert {one.trick.removesuffix(" (InternalRelay)") for one in found} == {trick.name for trick in TRICKS}
    harmless = {one.trick for one in found if one.verdict is not Verdict.FAILURE}
    # only what an honest server takes for a mailbox of ours alone
    assert harmless == {
        "percent at our domain", "percent, quoted, at our domain", "quoted @ at our domain", "escaped @ at our domain",
        "two @, ours last", "source route and percent", "bang path at our domain",
    }  # fmt: skip
    assert "DATA" not in verbs
    assert "BDAT" not in verbs


async def test_one_door_left_ajar_is_found(tmp_path: Path) -> None:
    """A server that only falls for percent signs in a domain that it passes on."""

    def on_rcpt(argument: str) -> str | None:
        return None if "%" in argument and "passed-on.test" in argument else "550 5.7.1 Unable to relay"

    with Sink(on_rcpt=on_rcpt) as sink:
        connector = receiving(sink.port)
        found = await try_relaying(
            site(tmp_path, receive_connectors=[connector], accepted_domains=DOMAINS), connector
        )  # fmt: skip
    opened = {one.trick for one in found if one.verdict is Verdict.FAILURE}
    assert opened == {
        "percent at our domain (InternalRelay)", "percent, quoted, at our domain (InternalRelay)",
        "source route and percent (InternalRelay)", "bang path and percent (InternalRelay)",
    }  # fmt: skip


async def test_without_a_listener_the_rules_are_asked(tmp_path: Path) -> None:
    connector = receiving(free_port())
    found = await try_relaying(site(tmp_path, receive_connectors=[connector], accepted_domains=DOMAINS), connector)
    assert not any(one.on_the_wire for one in found)
    assert {one.verdict for one in found} <= {Verdict.PASS, Verdict.NOTE}


async def test_clients_that_are_not_ours_are_asked_by_the_rules(tmp_path: Path) -> None:
    with Sink() as sink:
        connector = receiving(sink.port, remote_ip_ranges=["192.0.2.0/24"])
        found = await try_relaying(site(tmp_path, receive_connectors=[connector]), connector)
        assert sink.sessions == 0
    assert not any(one.on_the_wire for one in found)


async def test_a_rate_limit_is_not_used_up(tmp_path: Path) -> None:
    """Where each trick can come from an address of its own none is; where it cannot, half of the limit is left."""
    with Sink() as sink:
        wide = receiving(sink.port, message_rate_limit=5)
        found = await try_relaying(site(tmp_path, receive_connectors=[wide]), wide)
        assert all(one.on_the_wire for one in found)
        narrow = receiving(sink.port, message_rate_limit=10, remote_ip_ranges=["127.0.0.1"])
        found = await try_relaying(site(tmp_path, receive_connectors=[narrow]), narrow)
    assert sum(one.on_the_wire for one in found) == 5


@pytest.mark.parametrize("recipe", ["extended right", "externally secured"])
async def test_relaying_that_is_granted_is_told_as_such(recipe: str, tmp_path: Path) -> None:
    if recipe == "extended right":
        grant = ExtendedRight(principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_ANY_RECIPIENT])
        settings: dict[str, Any] = {"extended_rights": [grant]}
    else:
        settings = {
            "auth_mechanism": [AuthMechanism.EXTERNAL_AUTHORITATIVE],
            "permission_groups": [PermissionGroup.EXCHANGE_SERVERS],
        }
    with Sink() as sink:
        connector = receiving(sink.port, **settings)
        [one] = await try_relaying(site(tmp_path, receive_connectors=[connector]), connector)
    assert one.verdict is Verdict.NOTE
    assert "granted" in one.reason
    assert one.on_the_wire


def test_the_rules_by_themselves(tmp_path: Path) -> None:
    given = site(tmp_path)
    assert evaluate(given, receiving(25), "<>", "<a@fabrikam.test>").code == 550
    assert evaluate(given, receiving(25), "<>", "a@fabrikam.test").code == 501
    assert evaluate(given, receiving(25, permission_groups=[PermissionGroup.NONE]), "<>", "<a@b.test>").code == 530
    assert evaluate(given, receiving(25, reject_unknown_recipients=False), "<>", "<a@contoso.test>").code == 250
