# SPDX-License-Identifier: MIT
"""What the audit says of connectors, by their settings."""

import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.connector.audit import audit, exposures_of
from bridgehead.admin.connector.audit_identities import device_audit, identity_exposures, shared_names
from bridgehead.admin.connector.receive_rights import class_sentence, client_classes
from bridgehead.admin.probe.certificate import read_file
from bridgehead.admin.probe.steps import Verdict
from bridgehead.directory.user_record import User
from bridgehead.net.certificates.pairs import ensure_self_signed
from bridgehead.receive.settings import (
    AuthMechanism,
    Device,
    DeviceTls,
    ExtendedProtectionPolicy,
    ExtendedRight,
    Grantee,
    NonCompliantSenderPolicy,
    PermissionGroup,
    ReceiveConnector,
    Right,
    SenderException,
)
from bridgehead.routing.settings import TlsVersion
from support.certificates import Authority
from support.ports import free_port
from support.probe_site import site

RELAY = ExtendedRight(principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_ANY_RECIPIENT])
TLS = [AuthMechanism.TLS]
ANONYMOUS = [PermissionGroup.ANONYMOUS_USERS]
LOGIN = {
    "auth_mechanism": [AuthMechanism.TLS, AuthMechanism.BASIC_AUTH, AuthMechanism.BASIC_AUTH_REQUIRE_TLS],
    "permission_groups": [PermissionGroup.EXCHANGE_USERS],
}
TICKETS = {
    "auth_mechanism": [AuthMechanism.TLS, AuthMechanism.INTEGRATED],
    "permission_groups": [PermissionGroup.EXCHANGE_USERS],
}
EXTERNAL = {
    "auth_mechanism": [AuthMechanism.TLS, AuthMechanism.EXTERNAL_AUTHORITATIVE],
    "permission_groups": [PermissionGroup.EXCHANGE_SERVERS],
}


def connector(**settings: Any) -> ReceiveConnector:
    given: dict[str, Any] = {"name": "One", "bindings": ["0.0.0.0:25"], "auth_mechanism": TLS, **settings}
    return ReceiveConnector(**given)


def exposed(tmp_path: Path, **settings: Any) -> dict[str, Verdict]:
    """Setting → verdict of what is open."""
    pair = Authority(tmp_path / "authority").issue("mx.contoso.test", days=90)
    found = exposures_of(connector(**settings), read_file(pair.certificate.read_bytes()), time.time())
    return {one.setting: one.verdict for one in found}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"permission_groups": ANONYMOUS, "extended_rights": [RELAY]}, {"extended_rights": Verdict.FAILURE}),
        (EXTERNAL, {'auth_mechanism "ExternalAuthoritative"': Verdict.FAILURE}),
        (
            {"permission_groups": ANONYMOUS, "anti_spoofing_enabled": False},
            {"anti_spoofing_enabled": Verdict.WARNING},
        ),
        (
            {"permission_groups": ANONYMOUS, "reject_unknown_recipients": False},
            {"reject_unknown_recipients": Verdict.WARNING},
        ),
        (LOGIN, {"message_rate_limit": Verdict.WARNING}),
        ({**LOGIN, "max_logon_failures": 0}, {"max_logon_failures": Verdict.WARNING}),
        ({"permission_groups": ANONYMOUS, "auth_mechanism": []}, {"auth_mechanism": Verdict.WARNING}),
        ({"tls_minimum_version": TlsVersion.TLS_1_0}, {"tls_minimum_version": Verdict.WARNING}),
        ({"tls_ciphers": "AES128-SHA"}, {"tls_ciphers": Verdict.NOTE}),
        ({"proxy_protocol_sources": ["0.0.0.0/0"]}, {"proxy_protocol_sources": Verdict.FAILURE}),
    ],
)
def test_what_is_open_to_everybody(settings: dict[str, Any], expected: dict[str, Verdict], tmp_path: Path) -> None:
    assert expected.items() <= exposed(tmp_path, **settings).items()


def test_a_connector_that_keeps_strangers_out_of_our_name_is_clean(tmp_path: Path) -> None:
    assert exposed(tmp_path, permission_groups=ANONYMOUS) == {}
    deny = ExtendedRight(principal=Grantee.ANONYMOUS, deny=[Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER])
    settings: dict[str, Any] = {"permission_groups": ANONYMOUS, "anti_spoofing_enabled": False}
    assert exposed(tmp_path, **settings, extended_rights=[deny]) == {}


def test_relaying_granted_to_few_is_a_fact_and_no_fault(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"permission_groups": ANONYMOUS, "extended_rights": [RELAY]}
    for ranges in (["10.2.0.0/24"], ["192.0.2.7"]):
        assert exposed(tmp_path, **settings, remote_ip_ranges=ranges) == {"extended_rights": Verdict.NOTE}


def test_a_connector_on_loopback_is_open_to_this_machine_only(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"permission_groups": ANONYMOUS, "extended_rights": [RELAY]}
    assert exposed(tmp_path, **settings, bindings=["127.0.0.1:25", "[::1]:25"]) == {"extended_rights": Verdict.NOTE}


def test_d6_a_proxy_on_this_machine_brings_the_internet_to_loopback(tmp_path: Path) -> None:
    """An open relay behind a local proxy passed for one of this machine alone."""
    settings: dict[str, Any] = {
        "permission_groups": ANONYMOUS, "bindings": ["127.0.0.1:2525"], "proxy_protocol_sources": ["127.0.0.1"],
    }  # fmt: skip
    assert exposed(tmp_path, **settings, extended_rights=[RELAY]) == {"extended_rights": Verdict.FAILURE}
    assert exposed(tmp_path, **settings, anti_spoofing_enabled=False) == {"anti_spoofing_enabled": Verdict.WARNING}
    assert exposed(tmp_path, **settings) == {}


def test_old_tls_is_told_of_every_connector(tmp_path: Path) -> None:
    found = exposed(tmp_path, bindings=["127.0.0.1:25"], tls_minimum_version=TlsVersion.TLS_1_1)
    assert found == {"tls_minimum_version": Verdict.WARNING}


def test_what_strangers_may_write_in_our_name() -> None:
    for protected, words in ((True, "only what SPF, DKIM or an exception vouches for"), (False, "included")):
        one = connector(permission_groups=ANONYMOUS, anti_spoofing_enabled=protected)
        assert words in class_sentence(one, client_classes(one)[0])


def test_partners_are_named_with_what_their_certificate_gives_them() -> None:
    one = connector(tls_domain_capabilities=["mail.cloud.test:AcceptCloudServicesMail"], domain_secure_enabled=True)
    partners = [each for each in client_classes(one) if each.principal.kind == "partner"]
    assert [str(each.principal) for each in partners] == ["partner", "partner:mail.cloud.test"]
    assert class_sentence(one, partners[1]).startswith("Partners known by their certificate mail.cloud.test from")
    assert partners[1].may_submit
    assert not partners[1].may_relay
    [nobody] = [each for each in client_classes(connector()) if each.principal.kind == "partner"]
    assert nobody.absent == "no client is asked for a certificate"


def test_certificates(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "mx.contoso.test")
    own = read_file(pair.certificate.read_bytes())
    [found] = exposures_of(connector(remote_ip_ranges=["10.0.0.0/8"]), own, time.time())
    assert "signed by itself" in found.sentence
    [found] = exposures_of(connector(remote_ip_ranges=["10.0.0.0/8"]), own, time.time() + 11 * 365 * 86400)
    assert "expired" in found.sentence


async def test_the_whole_report(tmp_path: Path) -> None:
    ensure_self_signed(tmp_path, "mx.contoso.test")
    one = connector(bindings=[f"127.0.0.1:{free_port()}"], permission_groups=ANONYMOUS)
    two = connector(name="Two", bindings=[f"127.0.0.1:{free_port()}"], enabled=False)
    report = await audit(site(tmp_path, receive_connectors=[one, two]))
    assert report.verdict is Verdict.PASS
    assert report.exposures == []
    first, second = report.connectors
    assert first.reach == "this machine"
    assert [each.clients for each in first.classes] == ["anonymous", "user", "partner", "externally-secured"]
    assert first.classes[0].may == [
        "may send to accepted domains only", "send as anybody, our own domains included", "count as outside",
    ]  # fmt: skip
    assert first.classes[1].absent == "no login is offered"
    assert first.tricks_tried > 50
    assert first.tricks_on_the_wire == 0
    assert second.tricks_tried == 0
    assert "none is relayed" in report.self_test


NAMED: list[tuple[dict[str, Any], str, Verdict]] = [
    ({"permission_groups": ANONYMOUS, "anti_spoofing_enabled": False}, "our-domains-from-outside", Verdict.WARNING),
    (
        {"permission_groups": ANONYMOUS, "anti_spoofing_enabled": False, "remote_ip_ranges": ["203.0.113.0/24"]},
        "our-domains-from-outside", Verdict.WARNING,
    ),
    (
        {"permission_groups": ANONYMOUS, "non_compliant_sender_policy": NonCompliantSenderPolicy.ACCEPT},
        "misleading-authors", Verdict.WARNING,
    ),
    (
        {"permission_groups": ANONYMOUS, "non_compliant_sender_policy": NonCompliantSenderPolicy.TAG},
        "misleading-authors", Verdict.NOTE,
    ),
    ({"tls_minimum_version": TlsVersion.TLS_1_0}, "old-tls", Verdict.WARNING),
    (TICKETS, "logins-without-tls", Verdict.WARNING),
    ({**TICKETS, "extended_protection_policy": ExtendedProtectionPolicy.NONE}, "kerberos-unbound", Verdict.WARNING),
    ({**TICKETS, "ntlm_enabled": True}, "ntlm", Verdict.WARNING),
    ({**LOGIN, "tls_minimum_version": TlsVersion.TLS_1_1}, "passwords-over-old-tls", Verdict.WARNING),
    (
        {"tls_domain_capabilities": ["mail.protection.outlook.com:AcceptCloudServicesMail"]},
        "shared-certificate-name", Verdict.WARNING,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "name", "verdict"), NAMED)
def test_exposures_have_names_and_plain_words(
    settings: dict[str, Any], name: str, verdict: Verdict, tmp_path: Path
) -> None:
    pair = Authority(tmp_path / "authority").issue("mx.contoso.test", days=90)
    found = list(exposures_of(connector(**settings), read_file(pair.certificate.read_bytes()), time.time()))
    [one] = [one for one in found if one.name == name]
    assert one.verdict is verdict
    assert one.setting
    assert one.remedy
    assert len({each.name for each in found}) == len(found)


def test_d14_only_names_of_ones_own_are_worth_trust() -> None:
    assert [one.name for one in shared_names(connector(tls_domain_capabilities=["*.google.com:AcceptOorgProtocol"]))]
    for own in ("relay.contoso.test:AcceptCloudServicesMail", "notgoogle.com:AcceptCloudServicesMail", "NO-TLS:"):
        assert list(shared_names(connector(tls_domain_capabilities=[own]))) == []


def identities(*, device: dict[str, Any] | None = None, **exception: Any) -> dict[str, Verdict]:
    """Name → verdict of what a device, or an exception, exposes."""
    devices = [Device(**{"name": "p", "remote_ip_ranges": ["10.2.0.17"], **device})] if device is not None else []
    given = {"name": "e", "owner": "anna", "senders": ["s@contoso.test"], "remote_ip_ranges": ["10.2.0.17"]}
    exceptions = [SenderException(**{**given, **exception})] if exception else []
    return {one.name: one.verdict for one in identity_exposures(devices, exceptions, [], NOW)}


NOW = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
BOUND: dict[str, Any] = {"rewrite_sender": "s@contoso.test"}


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (BOUND, {}),
        ({**BOUND, "enabled": False, "remote_ip_ranges": ["0.0.0.0/0"]}, {}),
        ({**BOUND, "remote_ip_ranges": ["0.0.0.0/0"]}, {"device-range-wide": Verdict.WARNING}),
        ({**BOUND, "remote_ip_ranges": ["10.0.0.0/8"]}, {"device-range-wide": Verdict.NOTE}),
        (
            {**BOUND, "remote_ip_ranges": ["0.0.0.0/0"], "allowed_recipients": ["*"], "message_rate_limit": 5},
            {"device-open-relay": Verdict.FAILURE},
        ),
        ({"allowed_senders": ["*"]}, {"device-sends-as-anybody": Verdict.WARNING}),
        (
            {**BOUND, "allowed_recipients": ["*"]},
            {"device-relays-anywhere": Verdict.WARNING, "device-without-rate-limit": Verdict.NOTE},
        ),
        ({**BOUND, "allowed_recipients": ["a@b.test"]}, {"device-without-rate-limit": Verdict.NOTE}),
        ({**BOUND, "tls_minimum_version": TlsVersion.TLS_1_0}, {"old-tls": Verdict.WARNING}),
        ({**BOUND, "tls": DeviceTls.OFF}, {"mail-in-clear": Verdict.NOTE}),
    ],
)
def test_devices(device: dict[str, Any], expected: dict[str, Verdict]) -> None:
    assert identities(device=device) == expected


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        ({"expires": date(2027, 3, 31)}, {}),
        ({"expires": date(2026, 11, 22)}, {"exception-ended": Verdict.WARNING}),
        ({"expires": date(2026, 11, 23)}, {"exception-ends": Verdict.WARNING}),
        ({"expires": date(2026, 12, 7)}, {"exception-ends": Verdict.WARNING}),
        ({"expires": date(2026, 12, 8)}, {}),
        ({"expires": date(2027, 3, 31), "remote_ip_ranges": ["0.0.0.0/0"]}, {"exception-wide": Verdict.WARNING}),
        ({"expires": date(2027, 3, 31), "senders": ["*@contoso.test"]}, {"exception-wide": Verdict.NOTE}),
    ],
)
def test_sender_exceptions(exception: dict[str, Any], expected: dict[str, Verdict]) -> None:
    assert identities(**exception) == expected


def test_devices_stand_among_the_clients_of_a_connector() -> None:
    device = Device(name="p", remote_ip_ranges=["10.2.0.17"], **BOUND, allowed_recipients=["*@fabrikam.test"])
    found = device_audit(device)
    assert found.clients == "device:p"
    assert "may send to *@fabrikam.test only" in found.may
    assert "any other sender becomes s@contoso.test" in found.may
    assert "ms-Exch-SMTP-Accept-Any-Recipient" in found.rights


def test_logins_that_send_as_anybody() -> None:
    users = [
        User(name="erp", addresses=("erp@contoso.test",), send_as=("*",)),
        User(name="ann", addresses=("ann@contoso.test",), send_on_behalf=("*",)),
        User(name="off", enabled=False, send_as=("*",)),
        User(name="bob", send_as=("*@contoso.test",)),
    ]
    found = list(identity_exposures([], [], users, NOW))
    assert [(one.connector, one.setting) for one in found] == [
        ("login erp", "send_as"),
        ("login ann", "send_on_behalf"),
    ]
    assert "bridgehead user set erp --send-as" in found[0].remedy
