# SPDX-License-Identifier: MIT
"""Delivers to local mailboxes behind LMTP, such as Dovecot's, over TCP or a Unix socket (RFC 2033).

One result for each recipient, action `delivered`. The store is told the forward-path, the mailbox's address after
recipient resolution; it maps that to a mailbox itself.
"""

from collections.abc import Callable

from bridgehead.delivery.ports import WorkSource
from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.delivery.smtp_send.opening import NoHost, Transcript, remembered
from bridgehead.delivery.smtp_send.pool import SessionPoolCourier
from bridgehead.delivery.smtp_send.session import SendSession, SessionPolicy
from bridgehead.delivery.smtp_send.shared import ConnectionLimiter
from bridgehead.net.clock import Clock
from bridgehead.net.dialer import DialError, dial, dial_unix
from bridgehead.net.dns.resolver import DnsLookup, Outcome
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient
from bridgehead.routing.settings import MailboxStore, ProtocolLoggingLevel
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import HelloDone, Refused
from bridgehead.tracking.ports import ConnectivityLog, ProtocolLog

CONNECT_SECONDS = 30.0
MESSAGES_PER_SESSION = 1000
LMTP_PORT = 24


class LmtpCourier(SessionPoolCourier):
    """Delivers the messages of one mailbox store. Implements `delivery.ports.Courier`.

    Args:
        store: `address` is "host:port", "[::1]:port" or "unix:/path".
        fqdn: our name for LHLO.
        random: gives floats from 0 up to 1.
    """

    def __init__(
        self, store: MailboxStore, source: WorkSource, fqdn: str, resolver: DnsLookup, clock: Clock,
        random: Callable[[], float], protocol_log: ProtocolLog, connectivity_log: ConnectivityLog,
    ) -> None:  # fmt: skip
        limit = int(store.max_concurrent_mailbox_deliveries)
        super().__init__(source, limit, ConnectionLimiter(limit), clock)
        self.limit_setting = ("mailbox_store", "max_concurrent_mailbox_deliveries")
        self._store = store
        self._fqdn = fqdn
        self._resolver = resolver
        self._random = random
        self._protocol_log = protocol_log
        self._log = connectivity_log
        self._transcripts: dict[str, Transcript] = {}
        self._policy = SessionPolicy(connector=store.name, max_messages=MESSAGES_PER_SESSION)

    async def _connect(self) -> SendSession:
        session_id = f"{int(self._random() * 2**53) << 11:016X}"
        self._record(session_id, "+", self._store.address)
        client: SmtpClient | None = None
        transcript = self._transcript(session_id)
        try:
            client = await self._dial(transcript)
            if transcript is not None:
                transcript("+", "")
            event = await client.hello()
            if not isinstance(event, HelloDone):
                reply = event.reply if isinstance(event, Refused) else "nothing of use"
                raise NoHost(f"{self._store.address} answered {reply}", "4.4.2")
        except (DialError, ConnectionLost, NoHost) as error:
            if client is not None:
                client.abort(str(error))
                if transcript is not None:
                    transcript("-", "", str(error))
            self._record(session_id, "-", str(error))
            raise NoHost(f"mailbox store {self._store.name}: {error}", "4.4.1") from None
        if transcript is not None:
            self._transcripts[session_id] = transcript
        return SendSession(
            client, self._source, self, self._policy, session_id=session_id, host=self._store.address
        )  # fmt: skip

    def _transcript(self, session_id: str) -> Transcript | None:
        if self._store.protocol_logging_level is ProtocolLoggingLevel.NONE:
            return None
        return Transcript(self._protocol_log, self._store.name, session_id)

    async def _dial(self, transcript: Transcript | None) -> SmtpClient:
        """Connect to the socket, or to the first address that answers. Raises DialError."""
        address = self._store.address
        engine = ClientConnection(self._fqdn, lmtp=True, remote_mta=address, transcript=transcript)

        def connected() -> SmtpClient:
            return remembered(SmtpClient(engine), transcript)

        if address.startswith("unix:"):
            return await dial_unix(connected, address[5:], seconds=CONNECT_SECONDS)
        try:
            host, port = split_smart_host(address, LMTP_PORT)
        except ValueError as error:
            raise DialError(str(error)) from None
        answer = await self._resolver.addresses(host) if not _is_address(host) else None
        if answer is not None and answer.outcome is not Outcome.FOUND:
            raise DialError(f"{host} has no address: {answer.reason}")
        problems: list[str] = []
        for ip in answer.values if answer is not None else (host,):
            try:
                return await dial(connected, ip, port, seconds=CONNECT_SECONDS)
            except DialError as error:
                problems.append(str(error))
        raise DialError("; ".join(problems))

    def _session_over(self, session: SendSession, reason: str, *, fruitless: bool) -> None:
        transcript = self._transcripts.pop(session.session_id, None)
        if transcript is not None:
            transcript("-", "", reason)
        self._record(session.session_id, "-", f"Messages: {session.messages} ({reason})")

    def _record(self, session_id: str, direction: str, description: str) -> None:
        self._log.record(
            session=session_id, source="STOREDRIVER", destination=self._store.name, direction=direction,
            description=description,
        )  # fmt: skip


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
