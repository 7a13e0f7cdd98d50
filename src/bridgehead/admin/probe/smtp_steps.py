# SPDX-License-Identifier: MIT
"""The SMTP part of a test: one address from TCP to RCPT, never DATA, as delivery would do it (RFC 5321, RFC 3207).

TLS, its policy, the certificate's names and the log-on are delivery's own functions. What was seen is kept for
expectations in `observed`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from bridgehead.admin.probe.certificate import Certificate, expires_soon, read_chain, why_untrusted
from bridgehead.admin.probe.conversation import Conversation, NotConnected
from bridgehead.admin.probe.observed import Observed
from bridgehead.admin.probe.smtp_judgements import (
    certificate_remedy,
    judge_banner,
    judge_clear,
    judge_hello,
    judge_reply,
    refusal_remedy,
)
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.delivery.smtp_send.log_on import TokenRefused, TokenSource, log_on, logs_on
from bridgehead.delivery.smtp_send.security import (
    HostUnusable,
    TlsBroken,
    TlsMaker,
    begin_secure,
    secure_session,
)
from bridgehead.diagnosis.replies import advice
from bridgehead.mail.address import NULL, Mailbox
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.dialer import shown, source_for
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient
from bridgehead.net.tls import ClientContexts
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse, tls_policy
from bridgehead.smtp.client_commands import mail_command, rcpt_command
from bridgehead.smtp.client_events import HelloDone, Refused, Transaction

_LOG_ON_REMEDIES: Final = {
    "4.7.8": "correct authentication_username and the password, or allow SMTP AUTH for this account there",
    "4.7.4": "the server must offer STARTTLS and a mechanism that we know; ask its administrator",
    "4.3.5": "correct authentication_password",
}


class SmtpProbe:
    """Tests addresses for one connector.

    Args:
        connector: whose TLS, login and source addresses are used.
        fqdn: our name in EHLO.
        seconds: for the connection and each reply.
        sender: reverse-path of the transaction that is never finished.
        recipients: tried with RCPT; empty: MAIL and RCPT are left out.
        guessed: the recipients are our guess, so that a refusal only warns.
        implicit_tls: TLS before the greeting, also where the connector does not say so.
        pair: the certificate that a connector shows. Raises CertificateError.
        secure_domains: TLSSendDomainSecureList, lower case.
        tokens: for connectors that log on with access tokens.
    """

    def __init__(
        self, connector: SendConnector, *, fqdn: str, seconds: float, time: Callable[[], float],
        now: Callable[[], float], sender: Mailbox = NULL, recipients: Sequence[Mailbox] = (), guessed: bool = False,
        implicit_tls: bool = False, lmtp: bool = False,
        pair: Callable[[SendConnector], CertificatePair | None] = lambda _: None, secure_domains: Collection[str] = (),
        tokens: TokenSource | None = None,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._connector = connector
        self._fqdn = connector.fqdn or fqdn
        self._seconds = seconds
        self._time, self._now = time, now
        self._sender, self._recipients, self._guessed = sender, recipients, guessed
        self._implicit_tls, self._lmtp = implicit_tls or connector.implicit_tls, lmtp
        self._pair, self._secure_domains = pair, secure_domains
        self._maker = TlsMaker(connector, ClientContexts(), lambda: pair(connector))
        """Made anew for each test: a trust anchor that was repaired counts at once."""

    async def run(self, above: StepBuilder, target: Target) -> Observed:
        """The steps for one address, up to the first that fails."""
        where = shown(target.address, target.port)
        seen = Observed(address=where, source=source_for(target.address, self._connector.source_ip_addresses))
        with above.step(f"Testing {target.host} at {where}") as step:
            policy = self._policy(target)
            try:
                conversation = await self._connect(step, target, policy, seen)
            except NotConnected:
                step.say(f"{target.host} at {where} cannot be reached")
                return seen
            if conversation is None:
                step.say(f"{target.host} at {where} cannot be used")
                return seen
            try:
                await self._session(step, conversation, target, policy, seen)
            except ConnectionLost as error:
                step.failed(f"{where} ended the conversation: {error}", "ask the administrator of the server")
                step.add(*conversation.said())
            finally:
                await conversation.close()
            if step.has_failed:
                step.add(*conversation.said())
            else:
                step.say(f"{target.host} at {where} would take our mail")
        return seen

    def _policy(self, target: Target) -> TlsPolicy:
        domain = target.tls_name if self._connector.routes_by_dns else ""
        policy = tls_policy(self._connector, target.tls_name, self._secure_domains, domain)
        if self._implicit_tls and policy.use is TlsUse.OPPORTUNISTIC:  # TLS comes first or not at all
            return msgspec.structs.replace(policy, use=TlsUse.REQUIRED)
        return policy

    # --- connecting -----------------------------------------------------------------------------------------------

    async def _connect(
        self, above: StepBuilder, target: Target, policy: TlsPolicy, seen: Observed
    ) -> Conversation | None:  # fmt: skip
        """The TCP connection, with TLS where that comes first. Raises NotConnected."""
        where = shown(target.address, target.port)
        source = source_for(target.address, self._connector.source_ip_addresses)
        with above.step(f"Connecting to {where}") as step:
            try:
                conversation = await self._open(target, policy)
            except NotConnected as error:
                step.failed(str(error), error.remedy)
                raise
            except HostUnusable as error:
                seen.chain, seen.tls_version = await self._fetch_chain(target, policy)
                self._tell_tls_failure(step, error, policy, seen)
                if not seen.chain:
                    step.failed(
                        f"{where} does not begin TLS with the first octet: {error}",
                        f"see whether port {target.port} is for implicit TLS",
                    )
                return None
            except ConnectionLost as error:
                step.failed(f"{where} ended the connection before TLS began: {error}", "ask its administrator why")
                return None
            local = conversation.client.local
            step.passed(f"{where} accepts connections, from {local}{'' if source else ' (the system chose)'}")
        return conversation

    async def _open(self, target: Target, policy: TlsPolicy) -> Conversation:
        """Raises NotConnected, ConnectionLost; HostUnusable from TLS that comes first."""

        async def secure(client: SmtpClient) -> None:
            await begin_secure(client, policy, self._maker, target.host, self._seconds)

        return await Conversation.open(
            target.address, target.port, fqdn=self._fqdn, host=target.host,
            secure=secure if self._implicit_tls and policy.use is not TlsUse.NEVER else None,
            sources=self._connector.source_ip_addresses, seconds=self._seconds, time=self._time,
            force_helo=self._connector.force_helo, lmtp=self._lmtp,
        )  # fmt: skip

    async def _session(
        self, above: StepBuilder, conversation: Conversation, target: Target, policy: TlsPolicy, seen: Observed
    ) -> None:  # fmt: skip
        hello = await self._greeting(above, conversation, target)
        if hello is None:
            return
        seen.reachable = True
        if self._implicit_tls:
            seen.before, seen.after = hello.extensions, hello.extensions
            self._tls_facts(above, conversation, policy, seen)
        else:
            seen.before = hello.extensions
            secured = await self._tls(above, conversation, hello, target, policy, seen)
            if secured is None:
                return
            hello = secured
        if await self._log_on(above, conversation, hello, target, seen):
            await self._envelope(above, conversation, hello, seen)

    async def _greeting(self, above: StepBuilder, conversation: Conversation, target: Target) -> HelloDone | None:
        """Banner and EHLO; None where they end the test."""
        with above.step("Waiting for the banner") as step:
            try:
                banner = await conversation.banner()
            except ConnectionLost as error:
                step.failed(
                    f"{target.host} accepts the connection and sends no banner: {error}",
                    "what listens there is no mail server or hangs; a firewall that answers in its place looks alike",
                )
                return None
            judge_banner(step, banner, conversation)
        with above.step("Saying EHLO") as step:
            try:
                event = await conversation.hello()
            except ConnectionLost as error:
                step.failed(f"{target.host} ended the conversation at EHLO: {error}", "ask its administrator why")
                return None
            if isinstance(event, HelloDone):
                judge_hello(step, event, conversation)
                return event
            reply = event.reply if isinstance(event, Refused) else "nothing of use"
            step.failed(f"{target.host} refuses us: {reply}", refusal_remedy(str(reply)))
        return None

    # --- TLS --------------------------------------------------------------------------------------------------------

    async def _tls(
        self, above: StepBuilder, conversation: Conversation, hello: HelloDone, target: Target, policy: TlsPolicy,
        seen: Observed,
    ) -> HelloDone | None:  # fmt: skip
        """STARTTLS as delivery does it; the hello that counts, None where the policy is not satisfied."""
        with above.step("Starting TLS") as step:
            try:
                secured = await secure_session(
                    conversation.client, hello, policy, self._maker, target.host, self._seconds
                )
            except HostUnusable as error:
                await self._tls_failed(step, error, target, policy, seen, hello)
                if policy.use is TlsUse.OPPORTUNISTIC and isinstance(error, TlsBroken):
                    return await self._in_clear(conversation, target)
                return None
            if conversation.client.tls is None:
                judge_clear(step, policy, hello, target.host)
                return secured
            seen.after = secured.extensions
            self._describe_tls(step, conversation, policy, seen)
        return secured

    def _tls_facts(self, above: StepBuilder, conversation: Conversation, policy: TlsPolicy, seen: Observed) -> None:
        with above.step("Looking at TLS") as step:
            self._describe_tls(step, conversation, policy, seen)

    def _describe_tls(self, step: StepBuilder, conversation: Conversation, policy: TlsPolicy, seen: Observed) -> None:
        tls = conversation.client.tls
        assert tls is not None
        seen.tls_version = tls.version
        seen.chain = read_chain(conversation.client.sent_chain)
        step.add(*(f"certificate {number} as sent: {one}" for number, one in enumerate(seen.chain, 1)))
        step.add(f"our certificate: {self._own_certificate()}")
        if policy.verify_chain:
            seen.trusted = True
            name = f" and carries the name {policy.match_name}" if policy.match_name else ""
            if soon := expires_soon(seen.chain, self._now()):
                step.warned(f"{soon}; then mail will wait", "have its owner renew it")
            else:
                step.passed(f"TLS works ({tls}); the certificate is valid{name}")
            return
        step.passed(f"TLS works ({tls}); this connector does not ask whose certificate it is")

    def _own_certificate(self) -> str:
        """What we show where the server asks for a certificate."""
        try:
            pair = self._pair(self._connector)
        except CertificateError as error:
            return str(error)
        return "none is configured for this connector" if pair is None else f"{pair.certificate}, where it is asked for"

    async def _tls_failed(
        self, step: StepBuilder, error: HostUnusable, target: Target, policy: TlsPolicy, seen: Observed,
        hello: HelloDone,
    ) -> None:  # fmt: skip
        """Why TLS did not come about, with the chain that a second connection gets without checking it."""
        if hello.extensions.starttls and policy.use is not TlsUse.NEVER:
            seen.chain, seen.tls_version = await self._fetch_chain(target, policy)
        self._tell_tls_failure(step, error, policy, seen)
        if not hello.extensions.starttls:
            step.failed(
                str(error), "have STARTTLS offered there; where it was before, look for a firewall that removes it"
            )

    def _tell_tls_failure(self, step: StepBuilder, error: HostUnusable, policy: TlsPolicy, seen: Observed) -> None:
        sentence, remedy = str(error), ""
        seen.trusted = False if seen.chain else None
        step.add(*(f"certificate {number} as sent: {one}" for number, one in enumerate(seen.chain, 1)))
        if "is for" in sentence:
            remedy = "set tls_domain to a name that the certificate carries, or have one for this name installed"
        elif seen.chain and policy.verify_chain:
            reason = why_untrusted(seen.chain, self._now())
            sentence, remedy = f"{reason} ({sentence})", certificate_remedy(reason)
        elif isinstance(error, TlsBroken):
            remedy = "the server must offer TLS 1.2 or later; its administrator sees more in its log"
        if policy.use is TlsUse.OPPORTUNISTIC and isinstance(error, TlsBroken):
            step.warned(f"{sentence}; mail goes in clear", remedy)
        else:
            step.failed(sentence, remedy)

    async def _fetch_chain(self, target: Target, policy: TlsPolicy) -> tuple[list[Certificate], str]:
        """The chain as sent, whoever it belongs to."""
        unchecked = TlsPolicy(TlsUse.REQUIRED)
        try:
            conversation = await self._open(target, unchecked)
        except (NotConnected, ConnectionLost, HostUnusable):
            return [], ""
        try:
            hello = await conversation.hello()
            if isinstance(hello, HelloDone) and not self._implicit_tls:
                await secure_session(conversation.client, hello, unchecked, self._maker, target.host, self._seconds)
            version = conversation.client.tls.version if conversation.client.tls else ""
            return read_chain(conversation.client.sent_chain), version
        except (ConnectionLost, HostUnusable):
            return [], ""
        finally:
            await conversation.close()

    async def _in_clear(self, conversation: Conversation, target: Target) -> HelloDone | None:
        """Delivery comes back in clear after opportunistic TLS broke; so does the test."""
        again = await self._open(target, TlsPolicy(TlsUse.NEVER))
        conversation.client, conversation.lines = again.client, [*conversation.lines, *again.lines]
        event = await again.hello()
        return event if isinstance(event, HelloDone) else None

    # --- log-on and envelope ----------------------------------------------------------------------------------------

    async def _log_on(
        self, above: StepBuilder, conversation: Conversation, hello: HelloDone, target: Target, seen: Observed
    ) -> bool:  # fmt: skip
        """AUTH with the connector's credentials; whether the test goes on."""
        offered = " ".join(hello.extensions.auth)
        if not logs_on(self._connector):
            with above.step("") as step:
                step.noted(f"No login is configured; the server offers {f'AUTH {offered}' if offered else 'none'}")
            return True
        with above.step(f"Logging on as {self._connector.authentication_username}") as step:
            before = len(conversation.lines)
            try:
                await log_on(conversation.client, hello, self._connector, target.host, self._tokens)
            except HostUnusable as error:
                seen.logged_on = False
                step.failed(str(error), self._log_on_remedy(error, target))
                step.add(*conversation.said(before))
                return False
            seen.logged_on = True
            step.passed(f"{target.host} takes the log-on of {self._connector.authentication_username}")
        return True

    def _log_on_remedy(self, error: HostUnusable, target: Target) -> str:
        if isinstance(error, TokenRefused):
            return error.remedy
        oauth = self._connector.smart_host_auth_mechanism is SmartHostAuthMechanism.OAUTH
        if oauth and error.reply is not None:
            line = f"{error.reply.code} {error.reply.status} {error.reply.text}"
            remedy = advice(line, connector=self._connector.name, who=target.host, oauth=True)[1]
            return remedy or _LOG_ON_REMEDIES["4.7.8"]
        return _LOG_ON_REMEDIES.get(error.status, "")

    async def _envelope(
        self, above: StepBuilder, conversation: Conversation, hello: HelloDone, seen: Observed
    ) -> None:  # fmt: skip
        """MAIL and each RCPT, then RSET; DATA never."""
        if not self._recipients:
            with above.step("") as step:
                step.noted("MAIL and RCPT were not tried: there is no recipient to try; give one with --recipient")
            return
        transaction = Transaction(
            reverse_path=self._sender, recipients=[EnvelopeRecipient(one) for one in self._recipients],
            smtputf8=hello.extensions.smtputf8 and not all(one.is_ascii for one in (self._sender, *self._recipients)),
        )  # fmt: skip
        with above.step(f"Saying MAIL FROM:<{self._sender}>") as step:
            reply = await conversation.ask(mail_command(transaction, hello.extensions))
            seen.replies[""] = reply
            if not judge_reply(step, reply, f"the sender <{self._sender}>", guessed=False):
                return
        for recipient in transaction.recipients:
            path = recipient.forward_path
            with above.step(f"Saying RCPT TO:<{path}>") as step:
                reply = await conversation.ask(rcpt_command(recipient, transaction, hello.extensions))
                seen.replies[str(path)] = reply
                judge_reply(step, reply, f"the recipient <{path}>", guessed=self._guessed)
        await conversation.ask("RSET")
