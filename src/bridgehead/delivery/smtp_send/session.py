# SPDX-License-Identifier: MIT
"""One outbound session at work: takes messages from the queue and turns the server's answers into attempts.

Runs by callbacks of `SmtpClient`; a task exists only while large content is streamed or converted. The commands of the
next message leave in the write that ends the one before.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

import msgspec

from bridgehead.delivery.ports import Attempt, WorkSource
from bridgehead.delivery.smtp_send.error_policy import apply_policies
from bridgehead.delivery.smtp_send.prepare import (
    Outgoing,
    load,
    next_transaction,
    outbound_header,
    prepare,
    settle,
    usual_transaction,
)
from bridgehead.mail.content import Content
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.limits import STREAM_CHUNK_BYTES
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.settings import ErrorPolicy
from bridgehead.smtp.client_events import Transaction
from bridgehead.smtp.errors import LocalProtocolError


class SessionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the connector says about its sessions.

    Attributes:
        connector: its name, for tracking.
        max_messages: messages in one session (SmtpMaxMessagesPerConnection).
        preserve_routing_headers: Received fields stay.
        error_policies, custom_failures: as `error_policy` takes them; empty where they change nothing.
    """

    connector: str
    max_messages: int
    preserve_routing_headers: bool = True
    error_policies: tuple[ErrorPolicy, ...] = ()
    custom_failures: frozenset[str] = frozenset()


Failed = Callable[["SendSession", Transaction, ConnectionLost | None], None]
"""Told of a transaction that did not, or not for all, end well, and of how the connection ended if it did."""


class SessionPool(Protocol):
    """Whom a session tells how it stands."""

    def session_idle(self, session: "SendSession") -> None:
        """It found no work; `resume` puts it to work again."""

    def session_ended(self, session: "SendSession", reason: str, *, fruitless: bool) -> None:
        """It is gone. `fruitless`: it was given a message and never got an answer to it or any other."""


class SendSession:
    """A session that is set up: greeted, secured, logged on. Implements `net.smtp_client.ClientOwner`."""

    def __init__(
        self, client: SmtpClient, source: WorkSource, pool: SessionPool, policy: SessionPolicy, *,
        session_id: str, host: str, failed: Failed | None = None, tls: str = "",
        expired: Callable[[], bool] | None = None, tls_assured: bool = False,
    ) -> None:  # fmt: skip
        self._tls_assured = tls_assured
        """Opened for messages that ask for REQUIRETLS."""
        self._tls = tls
        self._expired = expired
        """Whether the policy that the session was opened under is too old for further messages; None: it never is."""
        self.client = client
        self.session_id = session_id
        self.host = host
        self._engine = client.engine
        self._source = source
        self._pool = pool
        self._policy = policy
        self._failed = failed
        limits = self._engine.extensions
        self._max_messages = min(policy.max_messages, limits.mail_max or policy.max_messages)
        self._transactions_left = limits.mail_max or 2**31
        self._messages = 0
        self._answered = 0
        self.good = 0
        """Transactions whose content was taken; `told`: as many of them as the pool has told of."""
        self.told = 0
        self._pending: deque[Outgoing] = deque()
        """Messages taken that have recipients for another transaction."""
        self._task: asyncio.Task[None] | None = None
        self._preparing = False
        self._stopping = False
        self._remote_ip = _ip(client.remote)
        self._local_ip = _ip(client.local)
        client.owner = self

    # --- the pool's side --------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Look for work and send it; idle again at once where there is none."""
        self._go_on()
        self.client.flush()

    def stop(self) -> None:
        """Take no more messages; quit when what is under way is done."""
        self._stopping = True
        if self._engine.is_idle and not self._preparing:
            self.client.quit()

    @property
    def messages(self) -> int:
        return self._messages

    # --- the connection's side ----------------------------------------------------------------------------------------

    def content_wanted(self, transaction: Transaction) -> None:
        outgoing: Outgoing = transaction.tag  # type: ignore[assignment]
        if outgoing.data is None:
            self._start(self._stream(transaction, outgoing))
            return
        self._engine.send_content(outgoing.data, strict=outgoing.strict)
        self._go_on(may_quit=not outgoing.waiting)

    def transaction_done(self, transaction: Transaction) -> None:
        self._answered += 1
        if self._answered == 1:
            self._source.connection_succeeded()
        if transaction.reply[:1] == "2":
            self.good += 1
        if (transaction.reply[:1] != "2" or len(transaction.statuses) > 1) and self._failed is not None:
            self._failed(self, transaction, None)
        outgoing: Outgoing = transaction.tag  # type: ignore[assignment]
        if len(outgoing.statuses) == 1 and transaction.statuses[0] is not None and not self._policy.error_policies:
            # What the rest comes to for one recipient, who was not refused beside others.
            self._report(outgoing.entry, transaction.statuses, transaction.reply)  # type: ignore[arg-type]
        else:
            settle(outgoing, transaction)
            if outgoing.waiting and self._engine.is_ready:
                self._pending.append(outgoing)
            else:
                self._finish(outgoing)
        if self._engine.sending is None:  # nothing may begin before its end, and it is no time to rest
            self._go_on()

    def connection_ended(self, unfinished: list[Transaction], reason: str) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._failed is not None:
            for transaction in unfinished:
                self._failed(self, transaction, self.client.ended)
        fruitless = bool(unfinished) and not self._answered and not any(one.begun for one in unfinished)
        for transaction in unfinished:
            outgoing = cast(Outgoing, transaction.tag)
            untried = not transaction.begun and not any(outgoing.statuses)
            if untried and self._answered and not transaction.committed:
                self._source.put_back(outgoing.entry)
                continue
            settle(outgoing, transaction)
            self._finish(outgoing, reason)
        while self._pending:
            outgoing = self._pending.popleft()
            if any(outgoing.statuses):
                self._finish(outgoing, reason)
            else:
                self._source.put_back(outgoing.entry)
        self._pool.session_ended(self, reason, fruitless=fruitless)

    # --- work -------------------------------------------------------------------------------------------------------

    def _go_on(self, *, may_quit: bool = True) -> None:
        """Begin what may begin; quit or rest when there is nothing left to do.

        Args:
            may_quit: False where the transaction under way is to be followed by another for the same message.
        """
        engine = self._engine
        while engine.may_begin:
            transaction = self._next()
            if transaction is None:
                break
            self._begin(transaction)
            if engine.sending is not None:
                return
        if self._preparing or self._pending:
            return
        if self._messages >= self._max_messages or self._stopping:
            if may_quit and engine.may_begin:
                engine.quit()
        elif engine.is_idle:
            self._pool.session_idle(self)

    def _begin(self, transaction: Transaction) -> None:
        self._transactions_left -= 1
        if self._transactions_left < 0:
            self._finish(
                cast(Outgoing, transaction.tag), "the server takes no more transactions in this session (MAILMAX)"
            )
            return
        try:
            self._engine.begin(transaction)
        except LocalProtocolError as error:  # an address that would break the line: this message, no other, suffers
            self._finish(cast(Outgoing, transaction.tag), str(error))

    def _next(self) -> Transaction | None:
        """A transaction for the message at hand, or for the next one that this server can take."""
        extensions = self._engine.extensions
        while True:
            if self._pending:
                outgoing = self._pending.popleft()
            else:
                taken = self._take()
                if taken is None or type(taken) is Transaction:
                    return taken
                outgoing = cast(Outgoing, taken)
            transaction = next_transaction(outgoing, extensions)
            if transaction is not None:
                return transaction
            self._finish(outgoing)

    def _take(self) -> Transaction | Outgoing | None:
        """The next message; as a transaction where it is a usual one."""
        if self._preparing or self._stopping or self._messages >= self._max_messages:
            return None
        if self._expired is not None and self._expired():
            self._max_messages = self._messages
            return None
        entry = self._source.take()
        if entry is None:
            return None
        self._messages += 1
        preserve = self._policy.preserve_routing_headers
        extensions = self._engine.extensions
        if preserve and (transaction := usual_transaction(entry, extensions)) is not None:
            return transaction
        outgoing = prepare(
            entry, extensions, preserve_routing_headers=preserve, tls_assured=self._tls_assured
        )  # fmt: skip
        if outgoing.data is None and outgoing.conversion and outgoing.waiting:
            self._preparing = True
            self._start(self._convert(outgoing))
            return None
        return outgoing

    def _finish(self, outgoing: Outgoing, reason: str = "the connection ended before this recipient's turn") -> None:
        """Report a message. Recipients without a status had no turn."""
        policy = self._policy
        statuses: list[DeliveryStatus] = []
        for status in outgoing.statuses:
            if status is None:
                status = DeliveryStatus(action=Action.DELAYED, status="4.4.2", diagnostic=reason)
            if policy.error_policies:
                status = apply_policies(status, policy.error_policies, policy.custom_failures)
            statuses.append(status)
        self._report(outgoing.entry, statuses, outgoing.reply)

    def _report(self, entry: QueuedItem, statuses: list[DeliveryStatus], reply: str) -> None:
        context = f"{self.session_id};{reply}"
        attempt = Attempt(
            statuses, self.host, self._remote_ip, self._local_ip, self._policy.connector, context, self._tls
        )
        self._source.finished(entry, attempt)

    # --- large content ----------------------------------------------------------------------------------------------

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    async def _convert(self, outgoing: Outgoing) -> None:
        """Read and re-encode content that is not in memory, off the event loop."""
        loop = asyncio.get_running_loop()
        content = outgoing.entry.content
        assert content is not None
        preserve = self._policy.preserve_routing_headers
        try:
            data = await loop.run_in_executor(None, _read_all, content)
            await loop.run_in_executor(None, lambda: load(outgoing, data, preserve_routing_headers=preserve))
        except asyncio.CancelledError:  # the connection ended; nothing of this message was sent
            self._source.put_back(outgoing.entry)
            raise
        except OSError as error:
            words = f"content unreadable: {error.strerror or error}"
            outgoing.fail_waiting(DeliveryStatus(action=Action.DELAYED, status="4.3.0", diagnostic=words))
        self._preparing = False
        self._pending.append(outgoing)
        self._go_on()
        self.client.flush()

    async def _stream(self, transaction: Transaction, outgoing: Outgoing) -> None:
        """Send content from its file, piece by piece, as fast as the server reads."""
        content = outgoing.entry.content
        assert content is not None
        loop = asyncio.get_running_loop()
        file: BinaryIO | None = None
        try:
            file = await loop.run_in_executor(None, content.open)
            piece = await loop.run_in_executor(None, file.read, STREAM_CHUNK_BYTES)
            if outgoing.body != "BINARYMIME":
                piece = outbound_header(piece, preserve_routing_headers=self._policy.preserve_routing_headers)
            last = False
            while not last:
                following = await loop.run_in_executor(None, file.read, STREAM_CHUNK_BYTES)
                last = not following
                if not self._engine.wants_content(transaction):
                    return  # refused in its midst; the engine has told
                self._engine.send_content(piece, last=last)
                outgoing.streamed += len(piece)
                if last:
                    self._go_on(may_quit=not outgoing.waiting)
                self.client.flush()
                await self.client.drained()
                piece = following
        except OSError as error:
            self.client.abort(f"content unreadable: {error.strerror or error}", "4.3.0")
        finally:
            if file is not None:
                file.close()


def _ip(socket_name: str) -> str:
    """The address in a socket's name, "" for a Unix socket."""
    return "" if socket_name.startswith("unix:") else socket_name.rpartition(":")[0].strip("[]")


def _read_all(content: Content) -> bytes:
    with content.open() as file:
        return file.read()
