# SPDX-License-Identifier: MIT
"""The audit: who may do what on receive connectors, what that and the rest exposes and which setting closes it, and the
self-test.

Rights come from the code that decides for sessions; the self-test (`relay_self_test.py`) says the tricks of
`relay_tricks.py` to the running server itself.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from bridgehead.admin.connector.audit_identities import (
    device_audit,
    identity_exposures,
    is_wide_text,
    misleading_authors,
    shared_names,
)
from bridgehead.admin.connector.audit_ldap import ldap_exposures
from bridgehead.admin.connector.audit_report import AuditReport, ClassAudit, ConnectorAudit, Exposure, TrickResult
from bridgehead.admin.connector.audit_sending import sending_exposures
from bridgehead.admin.connector.receive_rights import ClientClass, client_classes, powers
from bridgehead.admin.connector.relay_self_test import try_relaying
from bridgehead.admin.probe.certificate import Certificate, expires_soon, read_file, why_untrusted
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import Verdict, worst
from bridgehead.mail.units import UNLIMITED
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.receive.connectors.selection import is_internet_facing, is_loopback_only, is_protected
from bridgehead.receive.devices.devices import is_known_on
from bridgehead.receive.permissions.rights import PrincipalKind
from bridgehead.receive.settings import (
    AuthMechanism,
    Device,
    ExtendedProtectionPolicy,
    MessageRateSource,
    PermissionGroup,
    ReceiveConnector,
    Right,
)
from bridgehead.routing.settings import TlsVersion

_TLS: Final = AuthMechanism.TLS
_BY_ADDRESS: Final = (PrincipalKind.ANONYMOUS, PrincipalKind.EXTERNALLY_SECURED)
_OLD_TLS: Final = (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)


async def audit(site: Site) -> AuditReport:
    """Look at every receive connector and try to relay through each over loopback."""
    certificates = await asyncio.to_thread(_certificates, site)
    enabled = [one for one in site.receive_connectors if one.enabled]
    results = await asyncio.gather(*(try_relaying(site, one) for one in enabled))
    tried = {one.name: tricks for one, tricks in zip(enabled, results, strict=True)}
    tricks = [trick for found in tried.values() for trick in found]
    exposures = [
        exposure
        for connector in site.receive_connectors
        if connector.enabled
        for exposure in exposures_of(connector, certificates[connector.name], site.clock.now())
    ]
    exposures += sending_exposures(site.send_connectors)
    exposures += ldap_exposures(site.ldap_logins)
    exposures += identity_exposures(site.devices, site.sender_exceptions, site.users, site.clock.now())
    return AuditReport(
        at=datetime.fromtimestamp(site.clock.now(), UTC),
        verdict=worst([*(one.verdict for one in exposures), *(trick.verdict for trick in tricks)]),
        connectors=[_connector_audit(one, site.devices, tried.get(one.name, [])) for one in site.receive_connectors],
        exposures=sorted(exposures, key=lambda one: -list(Verdict).index(one.verdict)),
        accepted_tricks=[trick for trick in tricks if trick.verdict is not Verdict.PASS],
        self_test=_self_test_sentence(tricks),
    )


def _self_test_sentence(tricks: Sequence[TrickResult]) -> str:
    wire = sum(trick.on_the_wire for trick in tricks)
    opened = sum(trick.verdict is Verdict.FAILURE for trick in tricks)
    tried = "1 attempt" if len(tricks) == 1 else f"{len(tricks)} attempts"
    how = f"{tried} to relay, {wire} on the wire and {len(tricks) - wire} by evaluation"
    return f"{how}: {opened} would be relayed" if opened else f"{how}: none is relayed beyond what is granted"


def _connector_audit(
    connector: ReceiveConnector, devices: Sequence[Device], tricks: Sequence[TrickResult]
) -> ConnectorAudit:  # fmt: skip
    return ConnectorAudit(
        name=connector.name,
        enabled=connector.enabled,
        bindings=connector.bindings,
        remote_ip_ranges=connector.remote_ip_ranges,
        reach=_reach(connector),
        classes=[
            ClassAudit(
                clients=str(one.principal),
                may=[] if one.absent else powers(one),
                rights=[] if one.absent else sorted(right.value for right in one.rights),
                absent=one.absent,
            )
            for one in client_classes(connector)
        ]
        + [device_audit(one) for one in devices if one.enabled and is_known_on(one, connector.name.lower())],
        tricks_tried=len(tricks),
        tricks_on_the_wire=sum(trick.on_the_wire for trick in tricks),
    )


def _reach(connector: ReceiveConnector) -> str:
    if connector.proxy_protocol_sources:
        return f"the network through the proxy {', '.join(connector.proxy_protocol_sources)}"
    return "this machine" if is_loopback_only(connector) else "the network"


def _certificates(site: Site) -> dict[str, list[Certificate]]:
    """The certificate that each connector shows; empty where it cannot be read."""
    found = {}
    for connector in site.receive_connectors:
        try:
            path = site.certificate_file(connector)
            found[connector.name] = read_file(path.read_bytes())
        except (CertificateError, OSError, ValueError):
            found[connector.name] = []
    return found


# --- what is open -----------------------------------------------------------------------------------------------------


def exposures_of(connector: ReceiveConnector, certificates: Sequence[Certificate], now: float) -> Iterator[Exposure]:
    """What one enabled connector exposes, by its settings. `now`: Unix time."""
    wide = [] if is_loopback_only(connector) else [text for text in connector.remote_ip_ranges if is_wide_text(text)]
    present = [one for one in client_classes(connector) if not one.absent]
    for one in present:
        yield from _relaying(connector, one, wide)
    if wide or is_internet_facing(connector):
        for one in present:
            yield from _openness(connector, one, ", ".join(wide or connector.remote_ip_ranges))
    if wide:
        yield from _limits(connector, present, ", ".join(wide))
    yield from _proxies(connector)
    yield from misleading_authors(connector, present)
    yield from shared_names(connector)
    if not is_loopback_only(connector):
        yield from _encryption(connector, present, certificates, now)
    elif _TLS in connector.auth_mechanism or connector.implicit_tls:
        yield from _weak_tls(connector)


def _relaying(connector: ReceiveConnector, one: ClientClass, wide: Sequence[str]) -> Iterator[Exposure]:
    """Relaying without a login: granted to few it is a fact, to many an open relay."""
    if not one.may_relay or one.principal.kind is PrincipalKind.USER:
        return
    if one.principal.kind is PrincipalKind.PARTNER:
        who = one.principal.name or "partners of tls_receive_domain_secure_list"
        sentence = f"{who}, known by certificate, may relay to anywhere: granted by the configuration"
        yield _exposure(
            connector, "partner-may-relay", Verdict.NOTE, sentence, "extended_rights",
            "remove it where it is no longer needed",
        )  # fmt: skip
        return
    trusted = one.principal.kind is PrincipalKind.EXTERNALLY_SECURED
    setting = 'auth_mechanism "ExternalAuthoritative"' if trusted else "extended_rights"
    ranges = ", ".join(wide or connector.remote_ip_ranges)
    if wide:
        sentence = f"anybody in {ranges} may relay to anywhere without a login: an open relay"
        remedy = "narrow remote_ip_ranges to the machines that are meant"
        yield _exposure(connector, "open-relay", Verdict.FAILURE, sentence, setting, remedy)
    else:
        reach = " on this machine" if is_loopback_only(connector) else ""
        sentence = f"clients in {ranges}{reach} may relay to anywhere without a login: granted by the configuration"
        yield _exposure(
            connector, "relay-by-address", Verdict.NOTE, sentence, setting,
            "remove it where no device needs it any longer",
        )  # fmt: skip


def _openness(connector: ReceiveConnector, one: ClientClass, ranges: str) -> Iterator[Exposure]:
    """What many clients may do besides relaying."""
    anonymous = one.principal.kind is PrincipalKind.ANONYMOUS
    any_of_ours = one.may_submit and Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER in one.rights
    if anonymous and any_of_ours and not is_protected(connector):
        yield _exposure(
            connector, "our-domains-from-outside", Verdict.WARNING,
            f"anybody in {ranges} may send as an address of our own domains",
            "anti_spoofing_enabled", "set it to true, or deny ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        )  # fmt: skip
    if anonymous and one.may_submit and not connector.reject_unknown_recipients:
        yield _exposure(
            connector, "unknown-recipients-taken", Verdict.WARNING,
            f"anybody in {ranges} may send to recipients that do not exist, whose reports go to forged senders",
            "reject_unknown_recipients", "set it to true",
        )  # fmt: skip
    organization = {Right.ACCEPT_HEADERS_ORGANIZATION, Right.ACCEPT_HEADERS_FOREST}
    if one.principal.kind in _BY_ADDRESS and one.rights & organization:
        yield _exposure(
            connector, "internal-headers-taken", Verdict.FAILURE,
            f"anybody in {ranges} may set the organization's own header fields",
            "extended_rights", "remove ms-Exch-Accept-Headers-Organization and -Forest, or narrow remote_ip_ranges",
        )  # fmt: skip


def _limits(connector: ReceiveConnector, present: Sequence[ClientClass], ranges: str) -> Iterator[Exposure]:
    users = any(one.principal.kind is PrincipalKind.USER and one.may_submit for one in present)
    unlimited = (
        connector.message_rate_limit >= UNLIMITED or connector.message_rate_source is MessageRateSource.NONE
    )  # fmt: skip
    if users and unlimited:
        yield _exposure(
            connector, "logins-without-rate-limit", Verdict.WARNING,
            f"a login from {ranges} may send without limit, also one that was stolen",
            "message_rate_limit", 'set message_rate_limit, for example 5, and message_rate_source = "User"',
        )  # fmt: skip
    if users and connector.max_logon_failures == 0:
        yield _exposure(
            connector, "endless-password-guesses", Verdict.WARNING,
            f"anybody in {ranges} may guess passwords without end in one session",
            "max_logon_failures", "set it to 3",
        )  # fmt: skip
    if connector.max_inbound_connection_per_source >= UNLIMITED and (
        connector.max_inbound_connection_percentage_per_source == 100
    ):
        yield _exposure(
            connector, "one-client-takes-all", Verdict.WARNING, f"one client in {ranges} may take all connections",
            "max_inbound_connection_per_source", "set it to 20 and max_inbound_connection_percentage_per_source to 2",
        )  # fmt: skip


def _proxies(connector: ReceiveConnector) -> Iterator[Exposure]:
    wide = [text for text in connector.proxy_protocol_sources if is_wide_text(text)]
    if wide:
        yield _exposure(
            connector, "proxies-wide", Verdict.FAILURE,
            f"anybody in {', '.join(wide)} may take any client's address upon itself",
            "proxy_protocol_sources", "name the addresses of your proxies",
        )  # fmt: skip


def _encryption(
    connector: ReceiveConnector, present: Sequence[ClientClass], certificates: Sequence[Certificate], now: float
) -> Iterator[Exposure]:  # fmt: skip
    if _TLS in connector.auth_mechanism or connector.implicit_tls:
        yield from _weak_tls(connector)
        if any(one.principal.kind is PrincipalKind.USER and one.may_submit for one in present):
            yield from _logins_overheard(connector)
        yield from _certificate(connector, certificates, now)
    elif any(one.may_submit for one in present):
        yield _exposure(
            connector, "mail-in-clear", Verdict.WARNING, "mail comes in clear, for everybody on the way to read",
            "auth_mechanism", 'add "Tls"',
        )  # fmt: skip


def _weak_tls(connector: ReceiveConnector) -> Iterator[Exposure]:
    if connector.tls_minimum_version in _OLD_TLS:
        yield _exposure(
            connector, "old-tls", Verdict.WARNING,
            f"TLS {connector.tls_minimum_version.value} is taken, which can be broken",
            "tls_minimum_version", 'set it to "1.2", or narrow remote_ip_ranges to the devices that need it',
        )  # fmt: skip
    if connector.tls_ciphers:
        yield _exposure(
            connector, "hand-picked-ciphers", Verdict.NOTE,
            f"ciphers are chosen by hand: {connector.tls_ciphers}", "tls_ciphers",
            "remove it to have forward secrecy and authenticated encryption only",
        )  # fmt: skip


def _logins_overheard(connector: ReceiveConnector) -> Iterator[Exposure]:
    """What somebody in between learns of logins, or may do with them."""
    mechanisms = connector.auth_mechanism
    if AuthMechanism.BASIC_AUTH in mechanisms and connector.tls_minimum_version in _OLD_TLS:
        version = connector.tls_minimum_version.value
        yield _exposure(
            connector, "passwords-over-old-tls", Verdict.WARNING,
            f"passwords of logins may come over TLS {version}, which can be broken, and be read", "tls_minimum_version",
            'set it to "1.2"; give old devices a [[devices]] table with a tls_minimum_version of its own',
        )  # fmt: skip
    demands_tls = connector.require_tls or connector.implicit_tls
    ways = {AuthMechanism.SCRAM_SHA_256: "SCRAM", AuthMechanism.INTEGRATED: "Kerberos"}
    found = [name for mechanism, name in ways.items() if mechanism in mechanisms]
    if found and not demands_tls and PermissionGroup.ANONYMOUS_USERS not in connector.permission_groups:
        yield _exposure(
            connector, "logins-without-tls", Verdict.WARNING,
            f"users may log in by {' or '.join(found)} and send without TLS: their mail can be read",
            "require_tls", "set it to true",
        )  # fmt: skip
    unbound = connector.extended_protection_policy is ExtendedProtectionPolicy.NONE
    if unbound and AuthMechanism.INTEGRATED in mechanisms:
        yield _exposure(
            connector, "kerberos-unbound", Verdict.WARNING,
            "somebody in between may pass on a logon by Kerberos to this server, unnoticed",
            "extended_protection_policy", 'set it to "Allow", or to "Require" where all clients bind',
        )  # fmt: skip
    if connector.ntlm_enabled:
        yield _exposure(
            connector, "ntlm", Verdict.WARNING,
            "clients may log in by NTLM: who overhears a logon can guess its password at leisure, and what "
            "NTLM knows passwords by is as good as they are",
            "ntlm_enabled", "set it to false, and let clients have Kerberos tickets or logins",
        )  # fmt: skip


def _certificate(connector: ReceiveConnector, certificates: Sequence[Certificate], now: float) -> Iterator[Exposure]:
    reason = why_untrusted(certificates, now) if certificates else "the certificate cannot be read"
    if "expired" in reason or "only from" in reason or not certificates:
        yield _exposure(
            connector, "certificate-refused", Verdict.WARNING, f"clients that look refuse TLS: {reason}",
            "tls_certificate_file", "renew it",
        )  # fmt: skip
    elif certificates[0].self_signed:
        yield _exposure(
            connector, "self-signed-certificate", Verdict.WARNING,
            "the certificate is signed by itself: nobody can tell this server from another",
            "tls_certificate_file", "set tls_certificate_file and tls_key_file",
        )  # fmt: skip
    elif soon := expires_soon(certificates, now):
        yield _exposure(connector, "certificate-expires", Verdict.WARNING, soon, "tls_certificate_file", "renew it")


def _exposure(
    connector: ReceiveConnector, name: str, verdict: Verdict, sentence: str, setting: str, remedy: str
) -> Exposure:  # fmt: skip
    return Exposure(
        connector=connector.name, name=name, verdict=verdict, sentence=sentence, setting=setting, remedy=remedy
    )
