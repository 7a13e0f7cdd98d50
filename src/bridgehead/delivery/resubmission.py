# SPDX-License-Identifier: MIT
"""Resubmits delivered mail out of the Safety Net, as requests that run in the background (Add-ResubmitRequest).

What comes back goes the way of all mail from Submission on, for the recipients that had it: a new entry with the same
network message id and content, source SAFETYNET, and NOTIFY=NEVER, so that nobody gets a report about it. Copies that
came out of the net themselves are left where they are. Memory holds a handful of messages at a time.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Final, Protocol

import msgspec

from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.envelope import EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem, Source, Stage
from bridgehead.mail.limits import STREAM_CHUNK_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.safety_net import Found, SafetyNet, SafetyNetFacts
from bridgehead.queues.safety_net_file import DamagedSegment, Kept, content_of
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueStore, StoreFault, Transaction
from bridgehead.tracking.events import EventId, event_for
from bridgehead.tracking.ports import Tracker

log = logging.getLogger("bridgehead.delivery")

SCANNED_AT_ONCE: Final = 500
"""Messages looked at between two looks at anything else: a few milliseconds of the interpreter."""
RESUBMITTED_AT_ONCE: Final = 50
WAITING_MOST: Final = 1_000
"""Messages that wait in Submission before a request adds more."""
ROOM_SECONDS: Final = 0.2
"""Between two looks whether Submission has taken what was put there."""
REQUESTS_REMEMBERED: Final = 50
RUNNING_AT_ONCE: Final = 4
PROBLEMS_SHOWN: Final = 20
_SEEN: Final = 10_000
"""Messages remembered, so that one that a crash let be delivered twice is resubmitted once."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which delivered mail is meant; all given parts must hold. Text is compared as `*` pattern, without case.

    Attributes:
        start, end: Unix times of delivery.
        recipient: one of those it was delivered to; only those that fit are resubmitted.
        next_hop: domain, smart hosts, mailbox store or whole identity of the queue. connector: by name.
    """

    start: float
    end: float
    recipient: str = ""
    sender: str = ""
    next_hop: str = ""
    connector: str = ""
    message_id: str = ""
    network_message_id: str = ""


class RequestState(StrEnum):
    """How far a request is (Get-ResubmitRequest)."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


class Request(msgspec.Struct, kw_only=True):
    """One request.

    Attributes:
        dry_run: only counts.
        by, reason: who asked, and why.
        scanned: messages of the net looked at; delivered_until: Unix time of delivery of the last of them.
        matched, recipients, octets: those that fit.
        resubmitted: those put into Submission.
        left_alone: those that fit and came out of the net themselves.
        problems: what could not be read, the first few.
    """

    id: int
    wanted: Wanted
    dry_run: bool
    by: str
    reason: str
    started_at: float
    state: RequestState = RequestState.RUNNING
    finished_at: float = 0.0
    scanned: int = 0
    delivered_until: float = 0.0
    matched: int = 0
    recipients: int = 0
    octets: int = 0
    resubmitted: int = 0
    left_alone: int = 0
    problems: list[str] = msgspec.field(default_factory=list)


class TooMany(Exception):
    """As many requests run as may."""


class Waker(Protocol):
    """The categorizer, seen from here."""

    def wake(self) -> None:
        """READY entries were put into Submission."""


class Resubmissions:
    """Requests of one server. All methods are called on the event loop."""

    def __init__(
        self, store: QueueStore, net: SafetyNet, tracker: Tracker, clock: Clock, submission: Waker,
        pressure: BackPressure | None = None,
    ) -> None:  # fmt: skip
        self._pressure = pressure or BackPressure()
        self._store = store
        self._net = net
        self._tracker = tracker
        self._clock = clock
        self._submission = submission
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_id = int(clock.now())
        self.requests: OrderedDict[int, Request] = OrderedDict()

    def start(self, wanted: Wanted, *, dry_run: bool, by: str, reason: str) -> Request:
        """Begin. What is delivered from now on is not meant, whatever `wanted.end` says. Raises TooMany."""
        if len(self._tasks) >= RUNNING_AT_ONCE:
            raise TooMany
        now = self._clock.now()
        self._next_id += 1
        wanted = msgspec.structs.replace(wanted, end=min(wanted.end, now))
        request = Request(id=self._next_id, wanted=wanted, dry_run=dry_run, by=by, reason=reason, started_at=now)
        self.requests[request.id] = request
        while len(self.requests) > REQUESTS_REMEMBERED:
            self.requests.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._run(request))
        self._tasks[request.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(request.id, None))
        return request

    async def cancel(self, number: int) -> bool:
        """Stop a request; what it resubmitted by then is on its way. False where it does not run."""
        task = self._tasks.get(number)
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def stop(self) -> None:
        """End all requests. They are not taken up again: how far they came stands in the log."""
        for number in list(self._tasks):
            await self.cancel(number)

    async def listing(self, wanted: Wanted, limit: int) -> tuple[list[Kept], bool]:
        """The first messages that fit, and whether there are more."""
        found: list[Kept] = []
        fits = fitting(wanted)
        async for batch in self._scan(wanted.start, min(wanted.end, self._clock.now())):
            for one in batch:
                if isinstance(one, Found) and (part := fits(one.frame.kept)) is not None:
                    if len(found) == limit:
                        return found, True
                    found.append(part)
        return found, False

    # --- one request -----------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> None:
        try:
            await self._work(request)
            request.state = RequestState.COMPLETED
        except asyncio.CancelledError:
            request.state = RequestState.CANCELLED
        except StoreFault as fault:
            request.state = RequestState.FAILED
            _note(request, f"the queue store takes nothing: {fault}")
        except Exception as error:
            request.state = RequestState.FAILED
            _note(request, f"{type(error).__name__}: {error}")
            log.exception("resubmit request %d failed", request.id)
        request.finished_at = self._clock.now()
        if not request.dry_run:
            log.info(
                "resubmit request %d of %s: %s after %d messages, those delivered until %.3f",
                request.id, request.by, request.state.value, request.resubmitted, request.delivered_until,
            )  # fmt: skip

    async def _work(self, request: Request) -> None:
        fits = fitting(request.wanted)
        seen: OrderedDict[int, None] = OrderedDict()
        chosen: list[tuple[Found, Kept]] = []
        async for batch in self._scan(request.wanted.start, request.wanted.end):
            for one in batch:
                if isinstance(one, str):
                    _note(request, one)
                    continue
                request.scanned += 1
                request.delivered_until = one.frame.kept.at
                part = fits(one.frame.kept)
                if part is None or not _counts(request, part, seen) or request.dry_run:
                    continue
                chosen.append((one, part))
                if len(chosen) == RESUBMITTED_AT_ONCE:
                    await self._resubmit(request, chosen)
                    chosen = []
        if chosen:
            await self._resubmit(request, chosen)

    async def _scan(self, start: float, end: float) -> AsyncIterator[list[Found | str]]:
        """The net, read on a thread a batch at a time; somebody else has a turn between two batches."""
        # What was delivered a moment ago is in the file when the next commit has written it there.
        await asyncio.to_thread(self._net.flush)
        frames = self._net.scan(start, end)
        while batch := await asyncio.to_thread(_batch, frames):
            yield batch
            await asyncio.sleep(0)

    async def _resubmit(self, request: Request, chosen: list[tuple[Found, Kept]]) -> None:
        """Put some messages into Submission, in one transaction. Raises StoreFault."""
        await self._room()
        now = self._clock.now()
        put: list[QueuedItem] = []
        former: list[int] = []
        for found, kept in chosen:
            try:
                content = await self._content(found)
            except (OSError, DamagedSegment) as error:
                _note(request, str(error))
                continue
            put.append(self._entry(kept, content, now))
            former.append(kept.item.internal_message_id)
        await self._store.committed(Transaction(put=put))
        for entry, before in zip(put, former, strict=True):
            recipients = [str(one.forward_path) for one in entry.item.envelope.recipients]
            event = event_for(entry.item, EventId.RESUBMIT, Source.SAFETYNET, now, recipients)
            event.source_context = f"Request={request.id};InternalMessageId={before}"
            event.reference = str(before)
            self._tracker.record(event)
        request.resubmitted += len(put)
        self._submission.wake()

    def facts(self) -> SafetyNetFacts:
        """How the net is, without I/O."""
        return self._net.facts()

    async def _room(self) -> None:
        """Wait while much is in Submission, so that a large request fills no queue, and while back pressure pauses
        resubmission."""
        while (
            self._pressure.pauses_resubmission
            or await self._store.count_waiting(QueueKind.SUBMISSION, WAITING_MOST) >= WAITING_MOST
        ):
            self._submission.wake()
            await asyncio.sleep(ROOM_SECONDS)

    async def _content(self, found: Found) -> Content:
        """In memory, or copied to a file of the queue. Raises OSError, DamagedSegment, StoreFault."""
        content = await asyncio.to_thread(content_of, found.segment, found.frame)
        if content.data is not None:
            return BytesContent(content.data)
        writer = self._store.new_content_file()
        try:
            with await asyncio.to_thread(content.open) as source:
                while data := await asyncio.to_thread(source.read, STREAM_CHUNK_BYTES):
                    await writer.write(data)
            return await writer.finish()
        except BaseException:
            await writer.discard()
            raise

    def _entry(self, kept: Kept, content: Content, now: float) -> QueuedItem:
        envelope = kept.item.envelope
        recipients = [
            EnvelopeRecipient(one.forward_path, Notify.NEVER, one.original_recipient) for one in envelope.recipients
        ]
        number = self._store.allocate_id()
        item = msgspec.structs.replace(
            kept.item,
            internal_message_id=number,
            received_at=now,
            envelope=msgspec.structs.replace(envelope, recipients=recipients),
            source=Source.SAFETYNET,
            stage=Stage.SUBMITTED,
            handling=None,
        )
        return QueuedItem(
            item=item, content=content, content_id=number, queue=QueueKind.SUBMISSION, status=MessageStatus.READY
        )


def _counts(request: Request, kept: Kept, seen: OrderedDict[int, None]) -> bool:
    """Count a message that fits; False for one that is not to be resubmitted."""
    key = hash((kept.item.internal_message_id, *(str(one.forward_path) for one in kept.item.envelope.recipients)))
    if key in seen:
        return False
    seen[key] = None
    if len(seen) > _SEEN:
        seen.popitem(last=False)
    if kept.item.source is Source.SAFETYNET:
        request.left_alone += 1
        return False
    request.matched += 1
    request.recipients += len(kept.item.envelope.recipients)
    request.octets += kept.item.size
    return True


def _note(request: Request, problem: str) -> None:
    if len(request.problems) < PROBLEMS_SHOWN and problem not in request.problems:
        request.problems.append(problem)


def fitting(wanted: Wanted) -> Callable[[Kept], Kept | None]:
    """What of a kept message is meant: the message with the recipients that fit, None for nothing."""
    sender, recipient = _pattern(wanted.sender), _pattern(wanted.recipient)
    next_hop, connector = _pattern(wanted.next_hop), _pattern(wanted.connector)
    message_id, network_id = _pattern(wanted.message_id), _pattern(wanted.network_message_id)

    def fit(kept: Kept) -> Kept | None:
        item, hop = kept.item, kept.next_hop
        if sender is not None and not sender(str(item.envelope.reverse_path) or "<>"):
            return None
        if next_hop is not None and (hop is None or not (next_hop(hop.domain) or next_hop(str(hop)))):
            return None
        if connector is not None and (hop is None or not connector(hop.connector)):
            return None
        if message_id is not None and not message_id(item.message_id):
            return None
        if network_id is not None and not network_id(item.network_message_id):
            return None
        if recipient is None:
            return kept
        recipients = [one for one in item.envelope.recipients if recipient(str(one.forward_path))]
        if not recipients:
            return None
        return msgspec.structs.replace(kept, item=_for(item, recipients))

    return fit


def _for(item: MailItem, recipients: list[EnvelopeRecipient]) -> MailItem:
    return msgspec.structs.replace(item, envelope=msgspec.structs.replace(item.envelope, recipients=recipients))


def _pattern(text: str) -> Callable[[str], object] | None:
    """`*` stands for any text; the comparison ignores case."""
    if not text:
        return None
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL).fullmatch


def _batch(frames: Iterator[Found | str]) -> list[Found | str]:
    return list(islice(frames, SCANNED_AT_ONCE))
