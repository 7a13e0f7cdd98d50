# SPDX-License-Identifier: MIT
"""What the flight recorder keeps of one next hop's sessions: facts made from what a failed session left behind.

Nothing is made while all goes well. Transcripts of a session's beginning are as they were on the wire, without
secrets; those of a message are made from its envelope and the replies that came last.
"""

import errno
from typing import Final, cast

from bridgehead.delivery.smtp_send.destination import Target, Unresolvable
from bridgehead.delivery.smtp_send.log_on import TokenRefused
from bridgehead.delivery.smtp_send.prepare import Outgoing
from bridgehead.delivery.smtp_send.security import HostUnusable
from bridgehead.diagnosis.facts import AttemptFacts, How, Phase
from bridgehead.diagnosis.opening import lines_of, opening_lines, said_in
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, LOGGED_TEXT
from bridgehead.mail.reply import Reply, reply_from_wire
from bridgehead.net.clock import Clock
from bridgehead.net.dialer import DialError, source_for
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient
from bridgehead.net.tls import certificate_facts
from bridgehead.routing.domain_tls import DomainTlsPolicy, PolicySource
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.routing.tls_policy import TlsPolicy
from bridgehead.smtp.client_events import Transaction

_ENDS: Final = {
    errno.ECONNREFUSED: How.REFUSED, errno.ETIMEDOUT: How.TIMED_OUT, errno.EHOSTUNREACH: How.UNREACHABLE,
    errno.ENETUNREACH: How.UNREACHABLE, errno.EADDRNOTAVAIL: How.UNREACHABLE, errno.EACCES: How.UNREACHABLE,
    errno.EPERM: How.UNREACHABLE,
}  # fmt: skip
_NAME_MISMATCH: Final = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""
_SHOWN_RECIPIENTS: Final = 5
_CHAIN: Final = 4
_CUT_OCTETS: Final = 64
"""So much less than the whole is a cut; what TLS and the commands add makes the count uncertain by less."""


class FlightFacts:
    """Makes the records of one next hop."""

    def __init__(self, next_hop: NextHop, connector: SendConnector, clock: Clock) -> None:
        self._queue = str(next_hop)
        self._connector = connector
        self._clock = clock

    @property
    def queue(self) -> str:
        return self._queue

    def unresolved(self, found: Unresolvable) -> AttemptFacts:
        """DNS gave no address."""
        how = How.NAME if found.permanent or found.status == "4.4.4" else How.SILENT
        facts = self._facts(Phase.DNS, how, found.error, status=found.status)
        facts.bogus = found.bogus
        return facts

    def opening(
        self, error: Exception, session_id: str, target: Target, client: SmtpClient | None, policy: TlsPolicy
    ) -> AttemptFacts:  # fmt: skip
        """No session could be had with one address."""
        phase, how = _stage(error, client)
        facts = self._facts(phase, how, str(error) or type(error).__name__, target=target, client=client)
        facts.session = session_id
        facts.status = getattr(error, "status", "")
        if isinstance(error, HostUnusable):
            _add_unusable(facts, error, client)
        elif isinstance(error, ConnectionLost):
            facts.alert = error.alert
            if how is How.REPLY:
                _add_reply(facts, _reply_in(str(error)))
        if phase in (Phase.AUTH, Phase.TOKEN):
            facts.user = self._connector.authentication_username
        facts.expected_name = facts.expected_name or policy.match_name
        if isinstance(policy, DomainTlsPolicy) and policy.source is not PolicySource.CONNECTOR:
            facts.policy, facts.bogus = str(policy), policy.bogus
            facts.evidence = tuple(clean_text(one, DIAGNOSTIC_TEXT) for one in policy.evidence)
        if phase is Phase.POLICY and client is None:
            facts.transcript = (*(f"* {one}" for one in facts.evidence), f"* {facts.error}")
        elif client is None:
            source = source_for(target.address, self._connector.source_ip_addresses)
            facts.local = source
            facts.transcript = (f"* connecting to {target.address}:{target.port}", f"* {facts.error}")
        else:
            facts.seconds = client.seconds_open
            facts.transcript = (*_opening(client), f"* {facts.error}")
        return facts

    def transaction(
        self, session_id: str, client: SmtpClient, host: str, transaction: Transaction, ended: ConnectionLost | None
    ) -> AttemptFacts | None:  # fmt: skip
        """A message that was refused or whose session broke; None where all of it was taken."""
        status = next((one for one in transaction.statuses if one is not None and _bad(one)), None)
        if status is None or (ended is not None and ended.how is How.POLICY):
            return None
        how = How.REPLY if ended is None or status.diagnostic[:3].isdigit() else ended.how
        arrived = _content_arrived(client, transaction)
        phase = _phase_of(transaction, status, ended, arrived)
        facts = self._facts(phase, how, status.diagnostic, client=client)
        facts.session, facts.host = session_id, host
        if how is How.REPLY:
            _add_reply(facts, _reply_in(status.diagnostic))
        facts.status = facts.status or status.status
        outgoing = cast(Outgoing, transaction.tag)
        facts.message, facts.size = outgoing.entry.id, outgoing.size or outgoing.entry.item.size
        facts.octets = arrived if phase is Phase.DATA and how is not How.REPLY else 0
        facts.sender = str(transaction.reverse_path)
        facts.recipients = tuple(str(one.forward_path) for one in transaction.recipients[:_SHOWN_RECIPIENTS])
        facts.seconds = client.seconds_open
        facts.transcript = (*_opening(client), *_message_lines(facts, client, transaction))
        return facts

    def _facts(
        self, phase: Phase, how: How, error: str, *, status: str = "", target: Target | None = None,
        client: SmtpClient | None = None,
    ) -> AttemptFacts:  # fmt: skip
        facts = AttemptFacts(
            queue=self._queue, phase=phase, how=how, time=self._clock.now(), connector=self._connector.name,
            error=clean_text(error, DIAGNOSTIC_TEXT), status=status,
        )  # fmt: skip
        if target is not None:
            facts.host, facts.address, facts.port = target.host, target.address, target.port
        if client is not None:
            facts.local = client.local
            facts.secure = client.tls is not None
            facts.banner, facts.keywords, facts.in_clear = said_in(client.heard_at_opening)
            if not facts.address and client.remote:
                address, _, port = client.remote.rpartition(":")
                facts.address, facts.port = address.strip("[]"), int(port)
        return facts


def _stage(error: Exception, client: SmtpClient | None) -> tuple[Phase, How]:
    """How far a session came that could not be opened, and what ended it."""
    if isinstance(error, HostUnusable) and error.phase is Phase.POLICY:
        return Phase.POLICY, error.how
    if isinstance(error, DialError) or client is None:
        return Phase.CONNECT, _ENDS.get(getattr(error, "number", 0), How.DROPPED)
    if isinstance(error, HostUnusable):
        heard_only_banner = error.phase is Phase.BANNER and any(ours for ours, _ in client.opening)
        return (Phase.EHLO if heard_only_banner else error.phase), error.how
    how = error.how if isinstance(error, ConnectionLost) else How.PROTOCOL
    said = [data for ours, data in client.opening if ours]
    last = said[-1][:8].upper() if said else b""
    if not last:
        return Phase.BANNER, how
    if last.startswith(b"STARTTLS"):
        return Phase.STARTTLS, how
    if last.startswith((b"EHLO", b"HELO", b"LHLO")):
        return (Phase.HANDSHAKE if how is How.TLS else Phase.EHLO), how
    return Phase.AUTH, how


def _add_unusable(facts: AttemptFacts, error: HostUnusable, client: SmtpClient | None) -> None:
    if error.reply is not None:
        _add_reply(facts, error.reply)
    if isinstance(error, TokenRefused):
        facts.text = error.answer
    chain: tuple[bytes, ...] = ()
    if error.tls is not None:
        facts.alert, facts.verify_code, chain = error.tls.alert, error.tls.verify_code, error.tls.chain
        facts.expected_name = error.expected_name
    elif error.expected_name:
        facts.expected_name, facts.verify_code = error.expected_name, _NAME_MISMATCH
        chain = client.sent_chain if client is not None else ()
    facts.chain = tuple(certificate_facts(der) for der in chain[:_CHAIN])


def _add_reply(facts: AttemptFacts, reply: Reply) -> None:
    facts.code, facts.text = reply.code, clean_text(reply.text.replace("\n", " "), LOGGED_TEXT)
    facts.status = reply.status or ""


def _reply_in(line: str) -> Reply:
    """The reply that a diagnostic holds."""
    return reply_from_wire(int(line[:3]), [line[4:]]) if line[:3].isdigit() else Reply(0, "", line)


def _bad(status: DeliveryStatus) -> bool:
    return status.action is Action.FAILED or status.action is Action.DELAYED


def _content_arrived(client: SmtpClient, transaction: Transaction) -> int:
    """Octets of the content under way that the far side's machine confirmed; all of it where that is not known."""
    outgoing = cast(Outgoing, transaction.tag)
    content = outgoing.streamed or (len(outgoing.data) if outgoing.data is not None and transaction.committed else 0)
    if client.acknowledged < 0:
        return content
    return max(0, min(content, client.acknowledged - (client.written - content)))


def _phase_of(transaction: Transaction, status: DeliveryStatus, ended: ConnectionLost | None, arrived: int) -> Phase:
    """The command that was answered last, or not at all. Content that did not arrive whole was cut in its midst."""
    outgoing = cast(Outgoing, transaction.tag)
    if transaction.committed:
        cut = ended is not None and arrived + _CUT_OCTETS < (outgoing.size or outgoing.entry.item.size)
        return Phase.DATA if cut else Phase.AFTER_DOT
    if transaction.content_asked:
        return Phase.DATA
    if not transaction.mail_accepted and not transaction.answered:
        return Phase.MAIL
    if transaction.refusal is None or not transaction.accepted:
        return Phase.RCPT if transaction.mail_accepted else Phase.MAIL
    return Phase.DATA


# --- transcripts ---


def _opening(client: SmtpClient) -> list[str]:
    return opening_lines(client.opening, str(client.tls) if client.tls is not None else "")


def _message_lines(facts: AttemptFacts, client: SmtpClient, transaction: Transaction) -> list[str]:
    lines = [f"> MAIL FROM:<{facts.sender}>", *(f"> RCPT TO:<{one}>" for one in facts.recipients)]
    if (more := len(transaction.recipients) - len(facts.recipients)) > 0:
        lines.append(f"* … and {more} recipients more")
    if facts.phase in (Phase.DATA, Phase.AFTER_DOT):
        lines.append("> BDAT" if transaction.chunked else "> DATA")
    if facts.octets:
        lines.append(f"* {facts.octets} octets of content had left")
    elif transaction.committed:
        lines.append(f"* the whole content was sent, {facts.size} octets")
    lines += [f"< {text}" for text in lines_of(client.heard)]
    if facts.how is not How.REPLY:
        lines.append(f"* {facts.error}")
    return lines
