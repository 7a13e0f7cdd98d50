# SPDX-License-Identifier: MIT
"""A delivery queue in memory for tests of couriers: gives out messages and keeps what became of them."""

import asyncio
from collections import deque

from bridgehead.delivery.ports import Attempt
from bridgehead.mail.address import Mailbox, parse_mailbox
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.item import MailItem
from bridgehead.queues.store import QueuedItem, QueueKind

MESSAGE = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: test\r\n\r\nHello\r\n"
_numbers = iter(range(1, 1_000_000))


def queued(
    data: bytes | Content = MESSAGE, recipients: list[str] | None = None, sender: str = "a@example.com", **facts: object
) -> QueuedItem:
    """A message in a delivery queue. `facts` are fields of MailItem or Envelope."""
    content = BytesContent(data) if isinstance(data, bytes) else data
    people = [EnvelopeRecipient(parse_mailbox(address)) for address in recipients or ["b@example.net"]]
    of_envelope = {name: facts.pop(name) for name in list(facts) if name in Envelope.__struct_fields__}
    envelope = Envelope(
        reverse_path=parse_mailbox(sender) if sender else Mailbox("", ""), recipients=people, **of_envelope
    )
    number = next(_numbers)
    if isinstance(data, bytes):
        facts.setdefault("has_8bit", not data.isascii())
    item = MailItem(
        internal_message_id=number, network_message_id=f"n{number}", received_at=0.0, envelope=envelope,
        size=content.size, **facts,
    )  # fmt: skip
    return QueuedItem(item=item, content=content, content_id=number, queue=QueueKind.DELIVERY)


class MemorySource:
    """Implements `delivery.ports.WorkSource`."""

    def __init__(self, entries: list[QueuedItem] | None = None) -> None:
        self.waiting = deque(entries or [])
        self.under_way: dict[int, QueuedItem] = {}
        self.attempts: dict[int, Attempt] = {}
        self.order: list[int] = []
        self.put_backs = 0
        self.failures: list[tuple[str, bool, str]] = []
        self.successes = 0
        self.closes_on_failure = False
        """As a real queue does: nothing can be taken after `connection_failed`."""
        self._changed = asyncio.Event()

    def add(self, *entries: QueuedItem) -> None:
        self.waiting.extend(entries)

    def take(self) -> QueuedItem | None:
        if not self.waiting or (self.closes_on_failure and self.failures):
            return None
        entry = self.waiting.popleft()
        assert entry.id not in self.under_way, "given out twice"
        self.under_way[entry.id] = entry
        return entry

    def backlog(self) -> int:
        return 0 if self.closes_on_failure and self.failures else len(self.waiting)

    def finished(self, entry: QueuedItem, attempt: Attempt) -> None:
        del self.under_way[entry.id]
        assert entry.id not in self.attempts, "finished twice"
        assert len(attempt.statuses) == len(entry.item.envelope.recipients)
        self.attempts[entry.id] = attempt
        self.order.append(entry.id)
        self._changed.set()

    def put_back(self, entry: QueuedItem) -> None:
        del self.under_way[entry.id]
        self.waiting.appendleft(entry)
        self.put_backs += 1
        self._changed.set()

    def connection_failed(self, error: str, *, permanent: bool = False, status: str = "4.4.1") -> None:
        self.failures.append((error, permanent, status))
        self._changed.set()

    def connection_succeeded(self) -> None:
        self.successes += 1

    def statuses(self, entry: QueuedItem) -> list[DeliveryStatus]:
        return self.attempts[entry.id].statuses

    async def all_finished(self, count: int, seconds: float = 20.0) -> None:
        """Wait until `count` messages have their attempt."""
        await self._until(lambda: len(self.attempts) >= count, seconds)

    async def connection_failure(self, seconds: float = 20.0) -> tuple[str, bool, str]:
        """Wait for `connection_failed`: error, permanent, status."""
        await self._until(lambda: bool(self.failures), seconds)
        return self.failures[-1]

    async def _until(self, holds: "object", seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # type: ignore[operator]
                self._changed.clear()
                await self._changed.wait()


class ListLog:
    """Implements ProtocolLog and ConnectivityLog."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def record(self, **fields: object) -> None:
        self.lines.append(fields)

    @property
    def text(self) -> str:
        return "\n".join(
            f"{line.get('event', '')} {line.get('data', line.get('description', ''))}" for line in self.lines
        )
