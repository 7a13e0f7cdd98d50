# SPDX-License-Identifier: MIT
"""Tests of connectors, domains and hosts as operators ask for them; the steps are in `probe/`.

The same code runs within the server and, where none runs, within the command.
"""

import asyncio

import msgspec

from bridgehead.admin.connector.expectation_judgement import judge_receive, judge_send
from bridgehead.admin.connector.expectations import RECEIVE, SEND, domain_wanted, parse_all, recipients_wanted
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.probe.domain import probe_domain
from bridgehead.admin.probe.ports import ProbeRequest
from bridgehead.admin.probe.probe_mail import Mailer, follow_probe
from bridgehead.admin.probe.receive_connector import probe_receive_connector
from bridgehead.admin.probe.send_connector import envelope_for, mailbox, probe_send_connector
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import ProbeResult, StepBuilder, result_of
from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.mail.address import Mailbox
from bridgehead.mail.limits import PROBE_SECONDS
from bridgehead.net.dialer import is_local_address
from bridgehead.routing.connector_selection import ConnectorSelection
from bridgehead.routing.settings import DomainType, SendConnector, TlsAuthLevel

_IMPLICIT_TLS_PORT = 465
_SECONDS = (0.1, 300.0)


async def run_test(
    site: Site, request: ProbeRequest, mailer: Mailer | None = None, trigger: str = "operator"
) -> ProbeResult:  # fmt: skip
    """Run one test. Raises AdminFault for what cannot be tested at all."""
    site = _timed(site, request.seconds)
    tree = StepBuilder(f"Testing {request.kind.replace('-', ' ')} {request.name}", site.clock.monotonic)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await _steps(site, tree, request, mailer)
    except TimeoutError:
        with tree.step("") as step:
            step.failed(f"The test was ended after {PROBE_SECONDS:g} s", "give steps less time with --timeout")
    _sum_up(tree, request)
    return result_of(request.kind, request.name, tree, now=site.clock.now(), by=site.by, trigger=trigger)


async def _steps(site: Site, tree: StepBuilder, request: ProbeRequest, mailer: Mailer | None) -> None:
    """The steps of one kind of test, and the probe message where one is wanted."""
    match request.kind:
        case "send-connector":
            await _send(site, tree, request)
        case "receive-connector":
            await _receive(site, tree, request)
        case "domain":
            recipients = request.recipients or ([request.probe] if request.probe else [])
            await probe_domain(site, tree, request.name, sender=request.sender, recipients=recipients)
        case "smtp":
            await _host(site, tree, request)
        case _:
            raise AdminFault(INVALID, f'"{request.kind}" is no kind of test')
    if request.probe and not tree.has_failed:
        await follow_probe(tree, mailer, mailbox(request.probe), site.seconds)


def _timed(site: Site, seconds: float) -> Site:
    if not seconds:
        return site
    low, high = _SECONDS
    if not low <= seconds <= high:
        raise AdminFault(INVALID, f"a time of {seconds:g} s is out of range", f"take {low:g} to {high:g}")
    return msgspec.structs.replace(site, seconds=seconds)


def _sum_up(tree: StepBuilder, request: ProbeRequest) -> None:
    tree.say(f"{_KINDS[request.kind]} {request.name}: {_IN_WORDS[tree.verdict.value]}")


_KINDS = {
    "send-connector": "Send connector", "receive-connector": "Receive connector", "domain": "Mail for", "smtp": "Host",
}  # fmt: skip
_IN_WORDS = {
    "pass": "all is well", "note": "all is well", "warning": "mail goes, and somebody should look",
    "failure": "mail does not go as it should",
}  # fmt: skip


async def _send(site: Site, tree: StepBuilder, request: ProbeRequest) -> None:
    connector = site.send_connector(request.name)
    if request.probe:
        _probe_comes_here(site, tree, connector, mailbox(request.probe))
    expectations = parse_all(connector.expect, SEND)
    recipients = request.recipients or ([request.probe] if request.probe else recipients_wanted(expectations))
    domain = request.domain or ("" if request.recipients or request.probe else domain_wanted(expectations))
    envelope = envelope_for(site, connector, domain=domain, sender=request.sender, recipients=recipients)
    seen = await probe_send_connector(site, tree, connector, envelope)
    await judge_send(site, tree, connector, expectations, seen)


def _probe_comes_here(site: Site, tree: StepBuilder, connector: SendConnector, recipient: Mailbox) -> None:
    """A probe shows nothing about a connector that mail for its recipient does not take."""
    with tree.step("Asking which connector takes the probe") as step:
        owner = site.accepted.find(recipient.domain_key)
        if owner is not None and owner.domain_type is DomainType.AUTHORITATIVE:
            step.failed(f"{recipient} is in {owner.domain_name}, which is ours: no send connector takes it")
            return
        selection = ConnectorSelection(site.send_connectors, site.foreign_connectors, site.accepted)
        chosen = selection.select(recipient.domain_key, 0).connector
        if chosen is not None and chosen.name == connector.name:
            step.passed(f'Mail for {recipient} takes "{connector.name}"')
        else:
            name = f'"{chosen.name}"' if chosen else "no connector"
            step.failed(f"Mail for {recipient} takes {name}", "name a recipient in an address space of this connector")


async def _receive(site: Site, tree: StepBuilder, request: ProbeRequest) -> None:
    connector = site.receive_connector(request.name)
    expectations = parse_all(connector.expect, RECEIVE)
    seen = await probe_receive_connector(site, tree, connector)
    await judge_receive(site, tree, connector, expectations, seen)


async def _host(site: Site, tree: StepBuilder, request: ProbeRequest) -> None:
    """A host that no connector names: as a connector would reach it that has these settings."""
    try:
        _, port = split_smart_host(request.name, 25)
    except ValueError as error:
        raise AdminFault(INVALID, str(error), "give one such as mail.contoso.com or 192.0.2.1:587") from None
    if request.probe:
        raise AdminFault(INVALID, "a probe message takes the way of all mail", "test a domain or send connector")
    connector = _ad_hoc(request)
    envelope = envelope_for(
        site, connector, domain=request.domain, sender=request.sender, recipients=request.recipients
    )  # fmt: skip
    implicit = request.implicit_tls or port == _IMPLICIT_TLS_PORT
    await probe_send_connector(site, tree, connector, envelope, implicit_tls=implicit)


def _ad_hoc(request: ProbeRequest) -> SendConnector:
    levels = {"required": TlsAuthLevel.ENCRYPTION_ONLY, "certificate": TlsAuthLevel.CERTIFICATE_VALIDATION,
              "name": TlsAuthLevel.DOMAIN_VALIDATION}  # fmt: skip
    if request.tls not in ("", "never", *levels):
        raise AdminFault(INVALID, f'"{request.tls}" is no way to use TLS', f"one of never, {', '.join(levels)}")
    if request.source:
        _check_source(request.source)
    level = levels.get("name" if request.tls_name else request.tls, TlsAuthLevel.NONE)
    return SendConnector(
        name=request.name,
        address_spaces=["*"],
        smart_hosts=[request.name],
        require_tls=level is not TlsAuthLevel.NONE,
        ignore_starttls=request.tls == "never",
        tls_auth_level=level,
        tls_domain=request.tls_name,
        source_ip_addresses=[request.source] if request.source else [],
    )


def _check_source(source: str) -> None:
    try:
        is_ours = is_local_address(source)
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        raise AdminFault(INVALID, f'"{source}" is no address of this machine', "give one of its own")
