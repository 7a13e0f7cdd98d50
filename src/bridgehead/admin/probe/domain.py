# SPDX-License-Identifier: MIT
"""What would be done with mail for a domain: whose it is, which connector takes it and why, and each of its hosts.

Decided by the code that decides for messages (`routing`), then tested like a send connector.
"""

import asyncio
import os
from collections.abc import Sequence

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.probe.conversation import Conversation, NotConnected
from bridgehead.admin.probe.send_connector import envelope_for, mailbox, probe_send_connector
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.delivery.lmtp import LMTP_PORT
from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.mail.address import AddressError, Mailbox, domain_key, parse_domain
from bridgehead.net.dns.resolver import Resolver
from bridgehead.net.smtp_client import ConnectionLost
from bridgehead.routing.connector_selection import ConnectorSelection, Outcome
from bridgehead.routing.settings import AcceptedDomain, DomainType, ForeignConnector, SendConnector, StoreProtocol
from bridgehead.smtp.client_events import HelloDone


async def probe_domain(
    site: Site, tree: StepBuilder, name: str, *, sender: str = "", recipients: Sequence[str] = ()
) -> None:  # fmt: skip
    """Add the steps to `tree`. Raises AdminFault on what is no domain."""
    try:
        key = domain_key(name if name.startswith("[") else parse_domain(name))
    except AddressError as error:
        raise AdminFault(INVALID, f'"{name}" is no domain: {error}', "give one such as fabrikam.com") from None
    owner = site.accepted.find(key)
    ends_here = await _ownership(site, tree, key, owner, [mailbox(one) for one in recipients])
    if ends_here:
        return
    connector = _route(site, tree, key)
    if isinstance(connector, ForeignConnector):
        _drop_directory(site, tree, connector)
    elif connector is not None:
        envelope = envelope_for(site, connector, domain=key, sender=sender, recipients=recipients)
        await probe_send_connector(site, tree, connector, envelope)


async def _ownership(
    site: Site, above: StepBuilder, key: str, owner: AcceptedDomain | None, recipients: Sequence[Mailbox]
) -> bool:  # fmt: skip
    """Whose domain it is; whether its mail stays here."""
    with above.step("Asking whose domain it is") as step:
        if owner is None:
            step.passed(f"{key} is no accepted domain: only those who may relay can send there through this server")
            return False
        kind = owner.domain_type.value
        if owner.domain_type is not DomainType.AUTHORITATIVE:
            step.passed(f"{key} is ours ({owner.domain_name}, {kind}): recipients that we do not know are passed on")
            return False
        step.passed(f"{key} is ours ({owner.domain_name}, {kind}): its recipients are in the directory, and only there")
    with above.step("Asking the directory") as step:
        _ask_directory(site, step, recipients or [Mailbox("postmaster", key)], guessed=not recipients)
    await _mailbox_store(site, above)
    return True


def _ask_directory(site: Site, step: StepBuilder, recipients: Sequence[Mailbox], *, guessed: bool) -> None:
    if site.directory is None:
        step.failed("The directory cannot be read", "bridgehead check")
        return
    for recipient in recipients:
        with step.step(f"Looking for {recipient}") as one:
            try:
                found = site.directory.find(recipient)
            except DirectoryUnavailable as error:
                one.failed(f"The directory does not answer: {error}", "mail waits until it does; see recipients_file")
                continue
            if found is not None:
                one.passed(f"{recipient} is {found.name} ({found.type.value})")
            elif guessed:
                one.warned(f"There is no {recipient}, which RFC 5321 §4.5.1 asks for", "bridgehead recipient --help")
            else:
                one.failed(f"There is no recipient {recipient}", "bridgehead recipient list")
    step.say("The directory answers")


def _route(site: Site, above: StepBuilder, key: str) -> SendConnector | ForeignConnector | None:
    """The connector that takes mail for a domain, and why not the others."""
    with above.step("Choosing the connector") as step:
        explanation = ConnectorSelection(site.send_connectors, site.foreign_connectors, site.accepted).explain(key, 0)
        step.add(*(f"not {other.connector}: {other.reason}" for other in explanation.rejected))
        chosen = explanation.selection
        if chosen.outcome is not Outcome.CHOSEN or chosen.connector is None:
            step.failed(
                f"No connector's address space matches {key}: mail waits in the Unreachable queue",
                f'add "{key}" or "*" to the address_spaces of a send connector',
            )
            return None
        step.passed(f'"{chosen.connector.name}" takes it: its address space {chosen.address_space} is the best match')
        return chosen.connector


def _drop_directory(site: Site, above: StepBuilder, connector: ForeignConnector) -> None:
    folder = site.data_directory / connector.drop_directory
    with above.step(f"Looking at {folder}") as step:
        if os.access(folder, os.W_OK | os.X_OK):
            step.passed(f"The drop directory {folder} can be written")
        elif folder.exists():
            step.failed(f"The drop directory {folder} cannot be written", f"give it to the account of {site.by}")
        else:
            step.noted(f"The drop directory {folder} is made when the first message comes")


async def _mailbox_store(site: Site, above: StepBuilder) -> None:
    """Where the mailboxes are: a folder, or an LMTP server that answers LHLO."""
    store = site.mailbox_store
    with above.step(f'Looking at the mailbox store "{store.name}"') as step:
        if store.protocol is StoreProtocol.MAILDIR:
            folder = site.data_directory / store.path
            if os.access(folder, os.W_OK | os.X_OK):
                step.passed(f"Mailboxes are in {folder}, which can be written")
            elif folder.exists():
                step.failed(f"{folder} cannot be written", f"give it to the account of {site.by}")
            else:
                step.noted(f"{folder} is made when the first message comes")
            return
        await _lmtp(site, step, store.address)


async def _lmtp(site: Site, step: StepBuilder, address: str) -> None:
    remedy = "see that the mail store runs and listens there (mailbox_store.address)"
    try:
        conversation = await _open_lmtp(site, address)
    except (NotConnected, ValueError) as error:
        step.failed(f"The mailbox store does not answer: {error}", remedy)
        return
    try:
        hello = await conversation.hello()
        step.add(*conversation.said())
        if isinstance(hello, HelloDone):
            step.passed(f"The mailbox store at {address} answers LHLO")
        else:
            step.failed(f"The mailbox store at {address} refuses us", remedy)
    except ConnectionLost as error:
        step.failed(f"The mailbox store at {address} ended the conversation: {error}", remedy)
    finally:
        await conversation.close()


async def _open_lmtp(site: Site, address: str) -> Conversation:
    """Raises NotConnected, ValueError."""
    host, port = (address, 0) if address.startswith("unix:") else split_smart_host(address, LMTP_PORT)
    resolver = Resolver(site.dns_servers, clock=site.clock, timeout=site.dns_seconds)
    try:
        async with asyncio.timeout(2 * site.seconds):
            is_name = port and not (":" in host or host.replace(".", "").isdigit())
            values = (await resolver.addresses(host)).values if is_name else (host,)
    except TimeoutError:
        values = ()
    finally:
        await resolver.close()
    if not values:
        raise NotConnected(f"{host} has no address", "correct mailbox_store.address")
    return await Conversation.open(
        values[0], port, fqdn=site.fqdn, host=host, sources=(), seconds=site.seconds, time=site.clock.monotonic,
        lmtp=True,
    )  # fmt: skip
