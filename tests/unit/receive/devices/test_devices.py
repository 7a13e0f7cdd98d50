# SPDX-License-Identifier: MIT
"""Which device an address is, what it may do, and which sets of devices are sound."""

import pytest

from bridgehead.mail.address import parse_mailbox
from bridgehead.receive.devices.book import CAPACITY, BookState, DeviceBook
from bridgehead.receive.devices.check import check
from bridgehead.receive.devices.devices import Devices, settings_for
from bridgehead.receive.permissions.addresses import check_sender
from bridgehead.receive.permissions.rights import explain, is_from_inside, rights_of
from bridgehead.receive.settings import (
    AuthMechanism,
    Device,
    DeviceTls,
    PermissionGroup,
    ReceiveConnector,
    Right,
)
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain, TlsVersion
from bridgehead.smtp import replies

CONNECTOR = ReceiveConnector(
    name="Default", bindings=["0.0.0.0:25"],
    auth_mechanism=[AuthMechanism.TLS, AuthMechanism.BASIC_AUTH, AuthMechanism.SCRAM_SHA_256],
    permission_groups=[PermissionGroup.ANONYMOUS_USERS, PermissionGroup.EXCHANGE_USERS], require_tls=True,
    tls_ciphers="ECDHE", domain_secure_enabled=True, tls_domain_capabilities=["x.test:AcceptCloudServicesMail"],
)  # fmt: skip
ACCEPTED = AcceptedDomains([AcceptedDomain(domain_name="contoso.test")])


def device(name: str = "printer-3", *ranges: str, **settings: object) -> Device:
    given = {"rewrite_sender": "scanner@contoso.test", **settings}
    return Device(name=name, remote_ip_ranges=list(ranges or ("10.2.0.17",)), **given)  # type: ignore[arg-type]


def found(devices: Devices, client: str, connector: str = "Default") -> str:
    match = devices.match(connector, client)
    return match[0].settings.name if match else ""


def test_the_most_specific_range_wins() -> None:
    devices = Devices([
        device("floor", "10.2.0.0/24"), device("printer", "10.2.0.17"), device("off", "10.2.0.17", enabled=False),
        device("six", "2001:db8::/64"), device("elsewhere", "10.9.0.1", receive_connectors=["Client"]),
    ])  # fmt: skip
    assert found(devices, "10.2.0.17") == "printer"
    assert found(devices, "10.2.0.18") == "floor"
    assert found(devices, "::ffff:10.2.0.17") == "printer"
    assert found(devices, "2001:db8::5") == "six"
    assert found(devices, "10.3.0.1") == ""
    assert found(devices, "10.9.0.1") == ""
    assert found(devices, "10.9.0.1", "client") == "elsewhere"
    assert devices.any_on("Client")
    assert not Devices([device(receive_connectors=["Client"])]).any_on("Default")


def test_rights_are_those_of_the_settings_whatever_the_connector_grants() -> None:
    (least,) = Devices([device()]).identities
    rights = rights_of(CONNECTOR, least.principal)
    assert rights == {Right.SUBMIT, Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER, Right.ACCEPT_HEADERS_ROUTING}
    assert not is_from_inside(rights, least.principal)
    (most,) = Devices([device(allowed_recipients=["*"], counts_as_inside=True)]).identities
    rights = rights_of(CONNECTOR, most.principal)
    assert Right.ACCEPT_ANY_RECIPIENT in rights
    assert is_from_inside(rights, most.principal)
    states = {state.right: state for state in explain(CONNECTOR, least.principal)}
    assert 'device "printer-3"' in states[Right.SUBMIT].reason
    assert not states[Right.ACCEPT_ANY_RECIPIENT].held


def test_d14_a_device_sends_as_itself_only_and_a_second_tenant_in_its_range_is_refused() -> None:
    (one,) = Devices(
        [device("tenant", "10.2.0.0/24", allowed_senders=["*@contoso.test"], rewrite_sender="")]
    ).identities
    rights = rights_of(CONNECTOR, one.principal)

    def mail(sender: str) -> object:
        return check_sender(parse_mailbox(sender), rights, one.principal, ACCEPTED)

    assert mail("anybody@contoso.test") is None
    assert mail("anybody@fabrikam.test") is replies.SEND_AS_DENIED
    assert mail("anybody@contoso.test.fabrikam.test") is replies.SEND_AS_DENIED


@pytest.mark.parametrize(
    ("listed", "recipient", "may"),
    [
        ([], "x@anywhere.test", True),
        (["x@fabrikam.test"], "X@Fabrikam.test", True),
        (["x@fabrikam.test"], "y@fabrikam.test", False),
        (["*@fabrikam.test"], "y@fabrikam.test", True),
        (["*@fabrikam.test"], "y@mail.fabrikam.test", False),
        (["*"], "y@anywhere.test", True),
    ],
)
def test_recipients(listed: list[str], recipient: str, may: bool) -> None:
    (one,) = Devices([device(allowed_recipients=listed)]).identities
    assert one.may_send_to(parse_mailbox(recipient)) is may


def test_a_connector_as_it_is_for_a_device() -> None:
    own = settings_for(CONNECTOR, device(max_message_size=70_000, max_recipients_per_message=3, message_rate_limit=5))
    assert (own.max_message_size, own.max_recipients_per_message, own.message_rate_limit) == (70_000, 3, 5)
    assert own.auth_mechanism == [AuthMechanism.TLS]
    assert own.require_tls
    assert own.tls_ciphers == "ECDHE"
    assert not own.domain_secure_enabled
    assert own.tls_domain_capabilities == []
    old = settings_for(CONNECTOR, device(tls_minimum_version=TlsVersion.TLS_1_0, tls=DeviceTls.OFFERED))
    assert (old.tls_minimum_version, old.tls_ciphers, old.require_tls) == (TlsVersion.TLS_1_0, "", False)
    off = settings_for(CONNECTOR, device(tls=DeviceTls.OFF, bare_linefeed_repair=True, default_domain="contoso.test"))
    assert off.auth_mechanism == [AuthMechanism.NONE]
    assert (off.require_tls, off.bare_linefeed_repair, off.default_domain) == (False, True, "contoso.test")
    assert settings_for(CONNECTOR, device(tls=DeviceTls.REQUIRED)).require_tls


def test_the_rate_is_of_all_addresses_together_and_outlives_a_reload() -> None:
    limited = device("p", "10.2.0.0/24", message_rate_limit=2)
    before = Devices([limited])
    (one,) = before.identities
    assert one.rate.admit("10.2.0.1", "p", 0.0)
    assert one.rate.admit("10.2.0.2", "p", 0.0)
    (again,) = Devices([limited], None, before).identities
    assert not again.rate.admit("10.2.0.3", "p", 1.0)


@pytest.mark.parametrize(
    ("devices", "field", "text"),
    [
        ([device(), device("b")], "remote_ip_ranges", 'is the device "printer-3" already'),
        ([device("a", "10.0.0.1-10.0.0.9"), device("b", "10.0.0.5-10.0.0.20")], "remote_ip_ranges", "neither contains"),
        ([device("a", "10.0.0.0/24"), device("A", "10.0.1.0/24")], "name", "is taken"),
        ([device("a;b")], "name", "printable"),
        ([device("a", "10.0.0.300")], "remote_ip_ranges", "was expected"),
        ([Device(name="a", remote_ip_ranges=[], rewrite_sender="a@b.test")], "remote_ip_ranges", "empty"),
        ([device(rewrite_sender="")], "allowed_senders", "as nobody"),
        ([device(rewrite_sender="scanner")], "rewrite_sender", "scanner"),
        ([device(rewrite_sender="bü@contoso.test")], "rewrite_sender", "ASCII"),
        ([device(allowed_senders=["*@"])], "allowed_senders", "*@"),
        ([device(allowed_recipients=["nobody"])], "allowed_recipients", "nobody"),
        ([device(default_domain="a b")], "default_domain", "a b"),
        ([device(tls=DeviceTls.OFF, tls_ciphers="X")], "tls", "has an effect"),
    ],
)
def test_what_is_wrong_is_found(devices: list[Device], field: str, text: str) -> None:
    findings = check(devices)
    assert [one.field for one in findings] == [field]
    assert text in findings[0].message


def test_sound_sets_have_no_findings() -> None:
    assert check([
        device("floor", "10.2.0.0/24"), device("printer", "10.2.0.17"),
        device("a", "10.2.0.18", receive_connectors=["A"]), device("b", "10.2.0.18", receive_connectors=["B"]),
        device("off", "10.2.0.17", enabled=False),
    ]) == []  # fmt: skip


def test_counts_outlive_a_restart_and_time_without_a_server_is_nobodys_silence() -> None:
    book = DeviceBook(None, 1000.0)
    use = book.use("printer-3")
    use.accepted(2000.0, 500, rewritten=True)
    use.refused(2100.0, "550 5.7.60 no\r\nforged")
    assert use.silent_for(2500.0) == 500.0
    again = DeviceBook(book.state(2500.0), 9500.0)
    kept = again.use("printer-3")
    assert (kept.messages, kept.octets, kept.rewritten, kept.errors) == (1, 500, 1, 1)
    assert "\n" not in kept.last_error
    assert kept.silent_for(9600.0) == 600.0
    kept.accepted(9700.0, 1, rewritten=False)
    assert kept.silent_for(9710.0) == 10.0


def test_counts_are_bounded() -> None:
    book = DeviceBook(BookState(), 0.0)
    for number in range(CAPACITY + 5):
        book.use(f"d{number}").came(float(number), "10.0.0.1", "Default")
    book.keep_only({"d0"})
    assert len(book.state(0.0).devices) == CAPACITY
    assert book.known("d0") is not None
    assert book.known("d1") is None
