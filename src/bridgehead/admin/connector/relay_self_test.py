# SPDX-License-Identifier: MIT
"""The open-relay self-test: every trick of `relay_tricks` said to our own connectors over loopback, up to RCPT.

Nothing is ever sent: no DATA follows. A trick that is accepted where the configuration grants no relaying is a
failure. What cannot be tried on the wire is put through the parser and the rules that sessions use.
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Final

import msgspec

from bridgehead.admin.connector.audit_report import TrickResult
from bridgehead.admin.connector.receive_rights import foreign_recipient
from bridgehead.admin.connector.relay_tricks import TRICKS, Trick
from bridgehead.admin.probe.conversation import Conversation, NotConnected
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import Verdict
from bridgehead.admin.probe.vantage import Vantage, expects_proxy, vantages
from bridgehead.mail.address import domain_key
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import PROBE_TEXT
from bridgehead.mail.reply import Reply
from bridgehead.mail.units import UNLIMITED
from bridgehead.net.ip_range import parse_binding
from bridgehead.net.own_connections import Announce
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient, TlsFailed
from bridgehead.net.tls import ClientContexts, ClientTls
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.devices.devices import Devices
from bridgehead.receive.permissions.addresses import check_recipient, check_sender, with_domain
from bridgehead.receive.permissions.rights import rights_of, session_principal
from bridgehead.receive.settings import MessageRateSource, ReceiveConnector, Right
from bridgehead.routing.settings import DomainType
from bridgehead.smtp.client_events import HelloDone
from bridgehead.smtp.commands import parse_mail, parse_rcpt
from bridgehead.smtp.errors import LocalProtocolError
from bridgehead.smtp.extensions import Features

_NOT_OURS: Final = "relay-test-sender@relay-test.invalid"
_AT_ONCE: Final = 8
"""Conversations at the same time: some tricks earn a tarpit."""
_SOURCES: Final = "127.81.76."
"""Each trick comes from an address of its own in this net, where the connector takes it: no rate limit is used up."""


class _Said(msgspec.Struct, frozen=True):
    """A trick with its places filled."""

    trick: Trick
    helo: str
    before: tuple[str, ...]
    mail: str
    rcpt: str
    domain_type: DomainType | None


async def try_relaying(site: Site, connector: ReceiveConnector) -> list[TrickResult]:
    """Every trick on every binding of an enabled connector. Never raises for what a server does."""
    bindings = connector.bindings if connector.enabled else []
    found = [await _WireTest(site, connector, binding).try_all() for binding in bindings]
    return [result for results in found for result in results]


async def ask_as(
    site: Site, connector: ReceiveConnector, binding: str, client: str, mail: str, rcpt: str
) -> Reply | None:  # fmt: skip
    """What a connector answers a client ("" for any of ours) to MAIL and RCPT on the wire; None where that client is
    not to be had on this machine, or the answer is only for now."""
    vantage = next(vantages(site.receive_connectors, connector, parse_binding(binding), client), None)
    if vantage is None:
        return None
    said = _Said(TRICKS[0], site.fqdn, (), mail, rcpt, None)
    return await _WireTest(site, connector, binding).ask(vantage, said)


class _WireTest:
    """One binding's conversations."""

    def __init__(self, site: Site, connector: ReceiveConnector, binding: str) -> None:
        self._site, self._connector, self._binding = site, connector, binding
        self._context: ssl.SSLContext = ClientContexts().get(ClientTls())
        self._connectors = ReceiveConnectors(site.receive_connectors)
        self._devices = Devices(site.devices)
        limited = connector.message_rate_source is not MessageRateSource.NONE
        self._left = int(connector.message_rate_limit) // 2 if limited else UNLIMITED

    async def try_all(self) -> list[TrickResult]:
        """Every trick, a few at a time; by evaluation what cannot be said on the wire."""
        binding = parse_binding(self._binding)
        ways = vantages(self._site.receive_connectors, self._connector, binding, devices=self._site.devices)
        vantage = next(ways, None)
        tricks = _fill(self._site, self._connector, str(binding.address) if vantage is None else vantage.address)
        places = asyncio.Semaphore(_AT_ONCE)
        return await asyncio.gather(
            *(self._try(said, None if vantage is None else self.source(vantage, number), places)
              for number, said in enumerate(tricks))
        )  # fmt: skip

    async def _try(self, said: _Said, vantage: Vantage | None, places: asyncio.Semaphore) -> TrickResult:
        async with places:
            reply = None if vantage is None else await self.ask(vantage, said)
        return _judge(self._site, self._connector, self._binding, said, reply)

    def source(self, vantage: Vantage, number: int) -> Vantage | None:
        """From where to say trick `number`; None where it would use up the clients' rate limit."""
        own = f"{_SOURCES}{number % 254 + 1}"
        match = self._connectors.match(vantage.address, vantage.port, own).connector
        from_loopback = vantage.source.startswith("127.") and not vantage.preamble
        device = self._devices.match(self._connector.name, own)
        if from_loopback and match is self._connector and device is None and not self._expects_proxy(vantage.port, own):
            return Vantage(address=vantage.address, port=vantage.port, source=own, client=own)
        self._left -= 1
        return vantage if self._left >= 0 else None

    def _expects_proxy(self, port: int, source: str) -> bool:
        return expects_proxy(self._site.receive_connectors, port, source)

    async def ask(self, vantage: Vantage, said: _Said) -> Reply | None:
        """The reply that decided about a trick; None where the conversation did not come so far.

        The server it is said to, where it is this one, neither logs nor counts it.
        """
        with self._site.own_connections.announced() as announce:
            return await self._ask(vantage, said, announce)

    async def _ask(self, vantage: Vantage, said: _Said, announce: Announce) -> Reply | None:
        mapped = "::ffff:" if said.trick.mapped and ":" not in vantage.address else ""
        try:
            conversation = await Conversation.open(
                mapped + vantage.address, vantage.port, fqdn=said.helo, host="", sources=[mapped + vantage.source],
                seconds=self._site.seconds, time=self._site.clock.monotonic, preamble=vantage.preamble,
                announce=announce,
                secure=self._begin_tls if self._connector.implicit_tls else None,
            )  # fmt: skip
        except (NotConnected, TlsFailed, ConnectionLost):
            return None
        try:
            return await self._talk(conversation, said)
        except (ConnectionLost, TlsFailed, LocalProtocolError):
            return None
        finally:
            await conversation.close()

    async def _begin_tls(self, client: SmtpClient) -> None:
        await client.begin_tls(self._context, "", seconds=self._site.seconds)

    async def _talk(self, conversation: Conversation, said: _Said) -> Reply | None:
        """As `ask`. A refusal for now (4yz), or of the connection as a whole, proves nothing about the trick."""
        hello = await conversation.hello()
        if isinstance(hello, HelloDone) and hello.extensions.starttls and self._connector.require_tls:
            hello = await conversation.client.start_tls(self._context, "", seconds=self._site.seconds)
        if not isinstance(hello, HelloDone):
            return None
        for command in said.before:
            await conversation.ask(command)
        reply = await conversation.ask(f"MAIL FROM:{said.mail}") if said.mail else None
        if reply is None or reply.is_positive:
            reply = await conversation.ask(f"RCPT TO:{said.rcpt}")
        return None if 400 <= reply.code < 500 else reply


def _fill(site: Site, connector: ReceiveConnector, address: str) -> Iterator[_Said]:
    """Every trick; those with a domain of ours once for each type of accepted domain there is."""
    foreign = foreign_recipient(connector, site.accepted_domains)
    literal = f"IPv6:{address}" if ":" in address else address
    first: dict[DomainType, str] = {}
    for domain in site.accepted_domains:
        first.setdefault(domain.domain_type, domain.domain_name.removeprefix("*."))
    granted = Right.ACCEPT_ANY_RECIPIENT in rights_of(connector, session_principal(connector))
    # Where relaying is granted no trick is needed; one attempt shows that it is so.
    for trick in TRICKS[:1] if granted else TRICKS:
        uses_ours = "{ours}" in f"{trick.rcpt}{trick.mail}{trick.helo}{trick.before}"
        for kind, ours in first.items() if uses_ours else [(None, site.fqdn)]:
            places = {
                "user": foreign.local_part, "foreign": foreign.domain, "FOREIGN": foreign.domain.upper(), "ours": ours,
                "sender": _NOT_OURS, "fqdn": site.fqdn, "ip": literal,
            }  # fmt: skip
            yield _Said(
                trick,
                trick.helo.format_map(places),
                tuple(one.format_map(places) for one in trick.before),
                trick.mail.format_map(places),
                trick.rcpt.format_map(places),
                kind,
            )


def _judge(site: Site, connector: ReceiveConnector, binding: str, said: _Said, reply: Reply | None) -> TrickResult:
    on_the_wire = reply is not None
    if reply is None:
        reply = evaluate(site, connector, said.mail or f"<{_NOT_OURS}>", said.rcpt)
    verdict, reason = Verdict.PASS, ""
    if reply.is_positive:
        verdict, reason = _acceptance(site, connector, said)
    name = said.trick.name
    if said.domain_type not in (None, DomainType.AUTHORITATIVE):
        name = f"{name} ({said.domain_type})"
    return TrickResult(
        connector=connector.name, binding=binding, trick=name, command=f"RCPT TO:{said.rcpt}",
        reply=clean_text(str(reply), PROBE_TEXT), verdict=verdict, reason=reason, on_the_wire=on_the_wire,
    )  # fmt: skip


def _acceptance(site: Site, connector: ReceiveConnector, said: _Said) -> tuple[Verdict, str]:
    """What it means that a trick was accepted. The domain is read here without the server's parser: what stands behind
    the last @, outside of brackets, decides where an honest server would send it."""
    rights = rights_of(connector, session_principal(connector))
    if Right.ACCEPT_ANY_RECIPIENT in rights:
        return Verdict.NOTE, "relaying is granted to these clients by the configuration"
    domain = said.rcpt.partition(">")[0].rpartition("@")[2].lower() if "@" in _unquoted(said.rcpt) else ""
    domain = domain or connector.default_domain  # which completes an address without one
    owner = site.accepted.find(domain_key(domain)) if domain else None
    if owner is not None and owner.domain_type is DomainType.AUTHORITATIVE:
        return (
            Verdict.NOTE,
            f"it is taken for a mailbox in {owner.domain_name}, which is ours alone: nothing is relayed",
        )
    return Verdict.FAILURE, "mail would be relayed for anybody, and no setting grants that"


def _unquoted(path: str) -> str:
    """The path without what stands in quotes."""
    return "".join(part for index, part in enumerate(path.split('"')) if index % 2 == 0)


def evaluate(site: Site, connector: ReceiveConnector, mail: str, rcpt: str) -> Reply:
    """The reply that these arguments of MAIL and RCPT get, by the parser and the rules that sessions use."""
    principal = session_principal(connector)
    rights = rights_of(connector, principal)
    features = Features()
    sender = parse_mail(f"FROM:{mail}".encode(), features)
    if isinstance(sender, Reply):
        return sender
    accepted = site.accepted
    reverse_path = with_domain(sender.reverse_path, connector.default_domain)
    refusal = check_sender(reverse_path, rights, principal, accepted)
    if refusal is not None:
        return refusal
    recipient = parse_rcpt(f"TO:{rcpt}".encode(), features, smtputf8=False)
    if isinstance(recipient, Reply):
        return recipient
    forward_path = with_domain(recipient.forward_path, connector.default_domain)
    if site.directory is None:
        return Reply(451, "4.3.0", "The directory cannot be read")
    refusal = check_recipient(forward_path, rights, connector, accepted, site.directory)
    return refusal if refusal is not None else Reply(250, "2.1.5", "Recipient OK")
