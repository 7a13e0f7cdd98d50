# SPDX-License-Identifier: MIT
"""The test of a receive connector: every binding on the wire from this machine, other clients by evaluation.

What the wire shows is compared with what the configuration says: EHLO keywords, the certificate, AUTH in clear and
over TLS, relaying. Each step says which of the two it is.
"""

import ssl

from bridgehead.admin.connector.receive_rights import class_sentence, client_classes, foreign_recipient
from bridgehead.admin.probe.certificate import Certificate, expires_soon, read_chain, read_file, why_untrusted
from bridgehead.admin.probe.conversation import Conversation, NotConnected
from bridgehead.admin.probe.observed import Observed
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.admin.probe.vantage import Vantage, entry_points, vantages
from bridgehead.mail.reply import Reply
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.certificates.store import ServerTls
from bridgehead.net.dialer import shown
from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient, TlsFailed
from bridgehead.net.tls import ClientContexts, ClientTls
from bridgehead.receive.connectors.served import ServedConnector
from bridgehead.receive.permissions.addresses import check_recipient, check_sender
from bridgehead.receive.permissions.rights import rights_of, session_principal
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector
from bridgehead.routing.tls_policy import name_matches
from bridgehead.smtp.client_events import HelloDone, Refused, TlsRefused
from bridgehead.smtp.extensions import ehlo_lines


async def probe_receive_connector(site: Site, tree: StepBuilder, connector: ReceiveConnector) -> list[Observed]:
    """Add the steps to `tree`; what each binding showed."""
    with tree.step("Reading the configuration") as step:
        step.add(
            f"listens on {', '.join(connector.bindings)}", f"for clients in {', '.join(connector.remote_ip_ranges)}"
        )
        if not connector.enabled:
            step.warned(f'"{connector.name}" is disabled: it takes no connection', "set enabled = true")
            return []
        step.passed(f'"{connector.name}" takes clients from {", ".join(connector.remote_ip_ranges)}')
    probe = _ReceiveProbe(site, connector)
    found = [await probe.run(tree, parse_binding(text)) for text in connector.bindings]
    with tree.step("What each class of client may do (by evaluation)") as step:
        for one in client_classes(connector):
            with step.step("") as line:
                line.noted(class_sentence(connector, one))
    return found


class _NoCertificates:
    """Stands where only features are asked for."""

    def context_for(self, tls: ServerTls) -> ssl.SSLContext:
        raise NotImplementedError


class _ReceiveProbe:
    """Tests one connector."""

    def __init__(self, site: Site, connector: ReceiveConnector) -> None:
        self._site, self._connector = site, connector
        self._served = ServedConnector(connector, site.fqdn, _NoCertificates())
        self._context = ClientContexts().get(ClientTls())

    async def run(self, above: StepBuilder, binding: Binding) -> Observed:
        """The steps for one binding."""
        seen = Observed(address=str(binding))
        with above.step(f"Testing binding {binding}") as step:
            ways = vantages(self._site.receive_connectors, self._connector, binding, devices=self._site.devices)
            vantage = next(ways, None)
            if vantage is None:
                await self._only_open(step, binding)
                return seen
            seen.source = vantage.client
            conversation = await self._connect(step, vantage)
            if conversation is None:
                return seen
            try:
                await self._session(step, conversation, vantage, seen)
            except ConnectionLost as error:
                step.failed(f"{binding} ended the conversation: {error}", "bridgehead status, and the server's log")
            finally:
                await conversation.close()
            if step.has_failed:
                step.add(*conversation.said())
            else:
                step.say(f"Binding {binding} answers as configured (on the wire, as a client at {vantage.client})")
        return seen

    async def _only_open(self, above: StepBuilder, binding: Binding) -> None:
        """None of our addresses is a client of this connector; the port can be seen to be open all the same."""
        address = entry_points(binding)[0]
        with above.step(f"Connecting to {shown(address, binding.port)}") as step:
            try:
                conversation = await self._open(Vantage(address=address, port=binding.port, source="", client=""))
            except (NotConnected, TlsFailed, ConnectionLost) as error:
                step.failed(f"Nothing answers on {binding}: {error}", _listen_remedy(self._site))
                return
            await conversation.close()
            step.passed(f"{binding} is open")
        with above.step("") as step:
            step.noted(
                "No address of this machine is a client of this connector: nothing beyond was tested on the wire"
            )

    async def _connect(self, above: StepBuilder, vantage: Vantage) -> Conversation | None:
        where = shown(vantage.address, vantage.port)
        with above.step(f"Connecting to {where} from {vantage.source}") as step:
            try:
                conversation = await self._open(vantage)
            except NotConnected as error:
                step.failed(str(error), _listen_remedy(self._site))
                return None
            except (TlsFailed, ConnectionLost) as error:
                step.failed(f"{where} does not begin TLS with the first octet: {error}", "see the server's log")
                return None
            played = f", introduced as {vantage.client} by the PROXY protocol" if vantage.preamble else ""
            step.passed(f"{where} accepts connections, from {vantage.source}{played}")
        return conversation

    async def _open(self, vantage: Vantage) -> Conversation:
        return await Conversation.open(
            vantage.address, vantage.port, fqdn=self._site.fqdn, host="", preamble=vantage.preamble,
            sources=[vantage.source] if vantage.source else [], seconds=self._site.seconds,
            time=self._site.clock.monotonic, secure=self._begin_tls if self._connector.implicit_tls else None,
        )  # fmt: skip

    async def _begin_tls(self, client: SmtpClient) -> None:
        """TLS with the first octet. Raises TlsFailed, ConnectionLost."""
        await client.begin_tls(self._context, "", seconds=self._site.seconds)

    async def _session(
        self, above: StepBuilder, conversation: Conversation, vantage: Vantage, seen: Observed
    ) -> None:  # fmt: skip
        hello = await self._greeting(above, conversation, vantage)
        if hello is None:
            return
        seen.reachable, seen.before = True, hello.extensions
        tls = self._connector.implicit_tls
        _compare(above, hello, ehlo_lines(self._served.features(tls, False)), "over TLS" if tls else "in clear")
        if tls:
            seen.after = hello.extensions
            self._certificate(above, conversation, seen)
        else:
            self._passwords_in_clear(above, hello)
            if self._connector.require_tls and AuthMechanism.TLS in self._connector.auth_mechanism:
                await self._clear_refused(above, conversation, seen)
            if not await self._start_tls(above, conversation, hello, seen):
                return
        await self._relay(above, conversation, seen)

    async def _greeting(self, above: StepBuilder, conversation: Conversation, vantage: Vantage) -> HelloDone | None:
        with above.step("Waiting for the banner") as step:
            banner = await conversation.banner()
            wanted = self._connector.banner.removeprefix("220").lstrip(" -") or self._served.fqdn
            if wanted in banner:
                step.passed(f"The banner is {banner}")
            else:
                step.failed(
                    f"The banner is not that of this connector: {banner}",
                    f"see who listens on {shown(vantage.address, vantage.port)}; bridgehead reload after a change",
                )
                return None
        with above.step("Saying EHLO") as step:
            event = await conversation.hello()
            if isinstance(event, HelloDone):
                step.add(*event.reply.text.split("\n"))
                step.passed("EHLO is answered")
                return event
            reply = event.reply if isinstance(event, Refused) else "nothing of use"
            step.failed(f"EHLO is refused: {reply}", "see the limits on connections of this connector")
        return None

    # --- TLS and AUTH -----------------------------------------------------------------------------------------------

    def _passwords_in_clear(self, above: StepBuilder, hello: HelloDone) -> None:
        exposed = [name for name in hello.extensions.auth if name in ("PLAIN", "LOGIN")]
        with above.step("Looking for AUTH in clear") as step:
            if exposed:
                step.failed(f"AUTH {' '.join(exposed)} is offered without TLS", 'add "BasicAuthRequireTLS" and "Tls"')
            else:
                step.passed("No password is asked for in clear")

    async def _clear_refused(self, above: StepBuilder, conversation: Conversation, seen: Observed) -> None:
        with above.step("Saying MAIL without TLS") as step:
            reply = await conversation.ask(f"MAIL FROM:<{self._site.postmaster}>")
            seen.replies["clear"] = reply
            await conversation.ask("RSET")
            if reply.is_positive:
                step.failed(f"MAIL is accepted without TLS although require_tls is set: {reply}", "bridgehead reload")
            else:
                step.passed(f"Without TLS MAIL is refused: {reply}")

    async def _start_tls(
        self, above: StepBuilder, conversation: Conversation, hello: HelloDone, seen: Observed
    ) -> bool:  # fmt: skip
        """STARTTLS and what follows from it; whether the session may go on."""
        if not hello.extensions.starttls:
            with above.step("") as step:
                if AuthMechanism.TLS in self._connector.auth_mechanism:
                    step.failed("STARTTLS is not offered although auth_mechanism names Tls", "bridgehead reload")
                    return False
                step.warned(
                    "STARTTLS is not offered: mail comes in clear, for everybody on the way to read",
                    'add "Tls" to auth_mechanism',
                )
            return True
        with above.step("Starting TLS") as step:
            try:
                event = await conversation.client.start_tls(self._context, "", seconds=self._site.seconds)
            except TlsFailed as error:
                step.failed(f"TLS cannot be started: {error}", "see the certificate and key of this connector")
                return False
            if not isinstance(event, HelloDone):
                reply = event.reply if isinstance(event, TlsRefused | Refused) else "nothing of use"
                step.failed(f"STARTTLS is refused: {reply}", "see the server's log")
                return False
            step.passed(f"TLS works ({conversation.client.tls})")
        seen.after = event.extensions
        self._certificate(above, conversation, seen)
        _compare(above, event, ehlo_lines(self._served.features(True, False)), "over TLS")
        return True

    def _certificate(self, above: StepBuilder, conversation: Conversation, seen: Observed) -> None:
        """What is shown against what the file holds, its names and dates."""
        seen.tls_version = conversation.client.tls.version if conversation.client.tls else ""
        seen.chain = read_chain(conversation.client.sent_chain)
        with above.step("Looking at the certificate") as step:
            step.add(*(f"certificate {number} as sent: {one}" for number, one in enumerate(seen.chain, 1)))
            if not seen.chain:
                step.failed("No certificate was sent")
                return
            try:
                path = self._site.certificate_file(self._connector)
                wanted = read_file(path.read_bytes())
            except (CertificateError, OSError, ValueError) as error:
                step.warned(f"What is shown cannot be compared with the certificate's file: {error}")
                return
            if wanted and wanted[0].fingerprint != seen.chain[0].fingerprint:
                step.failed(
                    f"The certificate that is shown is not the one in {path}",
                    "it is read again within ten seconds; if it stays so, its key does not fit: see the server's log",
                )
            else:
                _judge_certificate(step, seen.chain, self._served.fqdn, self._site.clock.now())

    # --- relaying ---------------------------------------------------------------------------------------------------

    async def _relay(self, above: StepBuilder, conversation: Conversation, seen: Observed) -> None:
        """MAIL, and RCPT outside of our domains: what the wire says against what the rights say."""
        connector, accepted = self._connector, self._site.accepted
        principal = session_principal(connector)
        rights = rights_of(connector, principal)
        with above.step("Saying MAIL") as step:
            reply = await conversation.ask(f"MAIL FROM:<{self._site.postmaster}>")
            expected = check_sender(self._site.postmaster, rights, principal, accepted)
            seen.replies[""] = reply
            who = f"Clients without login ({principal})"
            if _differs(step, "MAIL", reply, expected):
                return
            if not reply.is_positive:
                step.passed(f"{who} may not send here, as configured: {reply}")
                return
            step.passed(f"{who} may send: {reply}")
        with above.step("Trying to relay") as step:
            recipient = foreign_recipient(connector, self._site.accepted_domains)
            reply = await conversation.ask(f"RCPT TO:<{recipient}>")
            seen.replies[str(recipient)] = reply
            directory = self._site.directory
            if directory is None:
                step.warned(f"RCPT is answered {reply}; the directory cannot be read to compare", "bridgehead check")
                return
            if _differs(step, "RCPT", reply, check_recipient(recipient, rights, connector, accepted, directory)):
                return
            if reply.is_positive:
                step.passed(f"{who} may relay to anywhere, as configured: {reply}")
            else:
                step.passed(f"{who} may not relay, as configured: {reply}")
        await conversation.ask("RSET")


def _differs(step: StepBuilder, verb: str, reply: Reply, expected: Reply | None) -> bool:
    """Whether the wire says otherwise than the rules; says so."""
    if reply.is_positive == (expected is None):
        return False
    step.failed(
        f"{verb} is answered {reply}, and the configuration says {expected or '250'}",
        "the running server has another configuration than this one: bridgehead reload",
    )
    return True


def _compare(above: StepBuilder, hello: HelloDone, wanted: list[str], where: str) -> None:
    """The keywords offered against those that follow from the configuration."""
    offered = set(hello.reply.text.split("\n")[1:])
    with above.step(f"Comparing the extensions {where}") as step:
        missing, surplus = [one for one in wanted if one not in offered], sorted(offered - set(wanted))
        if missing or surplus:
            words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"adds {', '.join(surplus)}"] * bool(surplus)
            step.failed(
                f"What is offered {where} {' and '.join(words)}",
                "the running server has another configuration than this one: bridgehead reload",
            )
        else:
            step.passed(f"The {len(wanted)} extensions offered {where} are those of the configuration")


def _judge_certificate(step: StepBuilder, chain: list[Certificate], fqdn: str, now: float) -> None:
    leaf = chain[0]
    reason = why_untrusted(chain, now)
    if "expired" in reason or "only from" in reason:
        step.failed(f"Clients that look will refuse it: {reason}", "renew it")
    elif not name_matches(leaf.names, fqdn):
        names = ", ".join(leaf.names[:5]) or "no name"
        step.warned(f"The certificate is for {names}, not for {fqdn}", "have one issued for this name, or set fqdn")
    elif soon := expires_soon(chain, now):
        step.warned(soon, "renew it")
    elif leaf.self_signed:
        step.warned(
            "The certificate is signed by itself: it serves to encrypt, and clients that check it refuse it",
            "set tls_certificate_file and tls_key_file",
        )
    elif len(chain) == 1:
        step.warned(
            f"Only the certificate itself is sent, without that of its issuer {leaf.issuer}: many clients refuse it",
            "append the issuer's certificate to tls_certificate_file",
        )
    else:
        step.passed(f"The certificate is for {', '.join(leaf.names[:5])}, valid to {leaf.not_after:%Y-%m-%d}")


def _listen_remedy(site: Site) -> str:
    if site.by == "the server":
        return "bridgehead status shows what is listened on; after a change of bindings: bridgehead reload"
    return "start the server with `bridgehead run`"
