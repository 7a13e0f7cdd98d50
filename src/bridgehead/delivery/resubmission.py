# SPDX-License-Identifier: MIT
"""Resubmits delivered mail out of the Safety Net, as requests that run in the background (Add-ResubmitRequest).

What comes back goes the way of all mail from Submission on, for the recipients that had it: a new entry with the same
network message id and content, source SAFETYNET, and NOTIFY=NEVER, so that nobody gets a report about it. Copies that
came out of the net themselves are left where they are. Memory holds a handful of messages at a time.

How far a request is stands in the store, written together with what it puts into Submission: a restart, or a crash at
any point, goes on behind the last message that was resubmitted (`resubmit_request.py`).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final, Protocol

import msgspec

from bridgehead.delivery.resubmit_request import (
    PROBLEMS_SHOWN,
    RESUBMIT_REQUEST,
    Request,
    RequestState,
    Wanted,
    fitting,
    forgotten,
    note_of,
    request_of,
)
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.envelope import EnvelopeRecipient, Notify
from bridgehead.mail.item import Source, Stage
from bridgehead.mail.limits import STREAM_CHUNK_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.safety_net.frames import DamagedSegment, Kept, content_of
from bridgehead.queues.safety_net.net import Found, SafetyNet, SafetyNetFacts
from bridgehead.queues.store import ContentWriter, MessageStatus, QueuedItem, QueueKind, QueueStore, StoreFault
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
FAULT_PAUSE: Final = 5.0
"""Seconds until a request goes on after the store failed."""
REQUESTS_REMEMBERED: Final = 50
RUNNING_AT_ONCE: Final = 4
_SEEN: Final = 10_000
"""Messages remembered, so that one that a crash let be delivered twice is resubmitted once."""


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
        self._recorded: dict[int, Request] = {}
        """What the store knows of those that run."""
        self._cancelled: set[int] = set()
        self._halt = asyncio.Event()
        """Set while something is to stop: whoever waits looks what."""
        self._stopping = False
        self._next_id = int(clock.now())
        self.requests: OrderedDict[int, Request] = OrderedDict()
        self.resubmitted = 0
        """Messages put into Submission since the start of the process."""

    async def open(self) -> None:
        """Go on with what a former process left unfinished. Raises StoreFault."""
        last = -1
        while notes := await self._store.notes(RESUBMIT_REQUEST, None, last):
            for note in notes:
                last = note.id
                try:
                    request = self.requests[note.id] = request_of(note)
                except msgspec.MsgspecError as error:
                    log.error("the record of resubmit request %d cannot be read: %s", note.id, error)
                    continue
                if request.state is RequestState.RUNNING:
                    self._launch(request)
        self._next_id = max(self._next_id, last)

    async def facts(self) -> SafetyNetFacts:
        """How the net is."""
        return self._net.facts()

    async def latest(self) -> list[Request]:
        """All requests that are remembered, the latest first."""
        return list(reversed(self.requests.values()))

    async def find(self, number: int) -> Request | None:
        """A request by its number, as it stands."""
        return self.requests.get(number)

    async def start(self, wanted: Wanted, *, dry_run: bool, by: str, reason: str, number: int = 0) -> Request:
        """Begin; under a number that several workers share, where there is one. What is delivered from now on is not
        meant, whatever `wanted.end` says. Raises TooMany, StoreFault."""
        if sum(one.state is RequestState.RUNNING for one in self.requests.values()) >= RUNNING_AT_ONCE:
            raise TooMany
        now = self._clock.now()
        number = number or self._next_id + 1
        self._next_id = max(self._next_id, number)
        wanted = msgspec.structs.replace(wanted, end=min(wanted.end, now))
        request = Request(id=number, wanted=wanted, dry_run=dry_run, by=by, reason=reason, started_at=now)
        self.requests[request.id] = request
        over = [one for one in self.requests.values() if one.state is not RequestState.RUNNING]
        over = over[: max(0, len(self.requests) - REQUESTS_REMEMBERED)]
        try:
            await self._store.swap([], [note_of(request), *map(forgotten, over)])
        except StoreFault:
            del self.requests[request.id]
            raise
        for one in over:
            self.requests.pop(one.id, None)
        self._launch(request)
        return request

    def _launch(self, request: Request) -> None:
        task = asyncio.get_running_loop().create_task(self._run(request), name=f"resubmit request {request.id}")
        self._tasks[request.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(request.id, None))

    async def cancel(self, number: int) -> bool:
        """Stop a request; what it resubmitted by then is on its way. False where it does not run."""
        task = self._tasks.get(number)
        if task is None:
            return False
        self._cancelled.add(number)
        self._halt.set()
        await asyncio.gather(task, return_exceptions=True)
        return self.requests[number].state is RequestState.CANCELLED

    async def stop(self) -> None:
        """Stop between two steps; what is unfinished goes on at the next start."""
        self._stopping = True
        self._halt.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

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
        """Work on a request however often the store fails in between; a fault of ours ends it."""
        self._recorded[request.id] = msgspec.structs.replace(request)
        while True:
            try:
                ended = await self._work(request)
                request.state = RequestState.COMPLETED if ended else RequestState.CANCELLED
                break
            except StoreFault as fault:
                _back_to(request, self._recorded[request.id])
                _note(request, f"the queue store takes nothing: {fault}")
                log.error("resubmit request %d waits for the queue store: %s", request.id, fault)
                if await self._halted(request, FAULT_PAUSE):
                    request.state = RequestState.CANCELLED
                    break
            except Exception as error:
                request.state = RequestState.FAILED
                _note(request, f"{type(error).__name__}: {error}")
                log.exception("resubmit request %d failed", request.id)
                break
        del self._recorded[request.id]
        if request.state is RequestState.CANCELLED and request.id not in self._cancelled:
            request.state = RequestState.RUNNING  # what the next start finds
            log.info("resubmit request %d goes on at the next start", request.id)
            return
        await self._end(request)

    async def _end(self, request: Request) -> None:
        self._cancelled.discard(request.id)
        request.finished_at = self._clock.now()
        try:
            await self._store.swap([], [note_of(request)])
        except StoreFault as fault:
            log.error("the end of resubmit request %d could not be stored: %s", request.id, fault)
        if not request.dry_run:
            log.info(
                "resubmit request %d of %s: %s after %d messages, those delivered until %.3f",
                request.id, request.by, request.state.value, request.resubmitted, request.delivered_until,
            )  # fmt: skip

    async def _halted(self, request: Request, seconds: float) -> bool:
        """Wait, or less where anything is to stop; whether this request is."""
        if not self._is_told_to_stop(request):
            self._halt.clear()
            try:
                await asyncio.wait_for(self._halt.wait(), seconds)
            except TimeoutError:
                pass
        return self._is_told_to_stop(request)

    def _is_told_to_stop(self, request: Request) -> bool:
        return self._stopping or request.id in self._cancelled

    async def _work(self, request: Request) -> bool:
        """Resubmit what is left of a request; False where it was told to stop. Raises StoreFault, and then what is not
        in its record was not done."""
        fits = fitting(request.wanted)
        seen: OrderedDict[int, None] = OrderedDict()
        chosen: list[tuple[Found, Kept]] = []
        reached = done = request.reached
        async for batch in self._scan(request.wanted.start, request.wanted.end):
            if self._is_told_to_stop(request):
                return False
            for one in batch:
                if isinstance(one, str):
                    _note(request, one)
                    continue
                part = fits(one.frame.kept)
                place = (one.segment.name, one.frame.start)
                if place <= done:  # before the restart; only what it was is of interest
                    _ = part is None or _is_first(part, seen)
                    continue
                reached = place
                request.scanned += 1
                request.delivered_until = one.frame.kept.at
                if part is None or not _counts(request, part, seen) or request.dry_run:
                    continue
                chosen.append((one, part))
                if len(chosen) == RESUBMITTED_AT_ONCE:
                    if not await self._resubmit(request, chosen, reached):
                        return False
                    chosen = []
        return not chosen or await self._resubmit(request, chosen, reached)

    async def _scan(self, start: float, end: float) -> AsyncIterator[list[Found | str]]:
        """The net, read on a thread a batch at a time; somebody else has a turn between two batches."""
        # What was delivered a moment ago is in the file when the next commit has written it there.
        await asyncio.to_thread(self._net.flush)
        frames = self._net.scan(start, end)
        while batch := await asyncio.to_thread(_batch, frames):
            yield batch
            await asyncio.sleep(0)

    async def _resubmit(self, request: Request, chosen: list[tuple[Found, Kept]], reached: tuple[str, int]) -> bool:
        """Put some messages into Submission, in one transaction with how far the request is then; False where it was
        told to stop before. Raises StoreFault."""
        if not await self._room(request):
            return False
        now = self._clock.now()
        put: list[QueuedItem] = []
        former: list[int] = []
        files: list[ContentWriter] = []
        try:
            for found, kept in chosen:
                try:
                    content = await self._content(found, files)
                except (OSError, DamagedSegment) as error:
                    _note(request, str(error))
                    continue
                put.append(self._entry(kept, content, now))
                former.append(kept.item.internal_message_id)
            after = msgspec.structs.replace(request, resubmitted=request.resubmitted + len(put), reached=reached)
            await self._store.swap([], [note_of(after)], put)
        except StoreFault:
            for file in files:
                await file.discard()
            raise
        request.resubmitted, request.reached = after.resubmitted, after.reached
        self._recorded[request.id] = after
        self.resubmitted += len(put)
        for entry, before in zip(put, former, strict=True):
            recipients = entry.item.envelope.recipient_addresses()
            event = event_for(entry.item, EventId.RESUBMIT, Source.SAFETYNET, now, recipients)
            event.source_context = f"Request={request.id};InternalMessageId={before}"
            event.reference = str(before)
            self._tracker.record(event)
        self._submission.wake()
        return True

    async def _room(self, request: Request) -> bool:
        """Wait while much is in Submission, so that a large request fills no queue, and while back pressure pauses
        resubmission. False where the request is told to stop."""
        while not self._is_told_to_stop(request):
            waiting = await self._store.count_waiting(QueueKind.SUBMISSION, WAITING_MOST)
            if waiting < WAITING_MOST and not self._pressure.pauses_resubmission:
                return True
            self._submission.wake()
            if await self._halted(request, ROOM_SECONDS):
                return False
        return False

    async def _content(self, found: Found, files: list[ContentWriter]) -> Content:
        """In memory, or copied to a file of the queue, which is added to `files`. Raises OSError, DamagedSegment,
        StoreFault."""
        content = await asyncio.to_thread(content_of, found.segment, found.frame)
        if content.data is not None:
            return BytesContent(content.data)
        writer = self._store.new_content_file()
        files.append(writer)
        try:
            with await asyncio.to_thread(content.open) as source:
                while data := await asyncio.to_thread(source.read, STREAM_CHUNK_BYTES):
                    await writer.write(data)
            return await writer.finish()
        except OSError:
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
    if not _is_first(kept, seen):
        return False
    if kept.item.source is Source.SAFETYNET:
        request.left_alone += 1
        return False
    request.matched += 1
    request.recipients += len(kept.item.envelope.recipients)
    request.octets += kept.item.size
    return True


def _is_first(kept: Kept, seen: OrderedDict[int, None]) -> bool:
    """Whether a message was not seen before; it is remembered."""
    key = hash((kept.item.internal_message_id, *(str(one.forward_path) for one in kept.item.envelope.recipients)))
    if key in seen:
        return False
    seen[key] = None
    if len(seen) > _SEEN:
        seen.popitem(last=False)
    return True


def _back_to(request: Request, before: Request) -> None:
    """Forget what was counted beyond the record. What was resubmitted meanwhile is in the record, and stays."""
    for name in ("scanned", "delivered_until", "matched", "recipients", "octets", "left_alone"):
        setattr(request, name, getattr(before, name))


def _note(request: Request, problem: str) -> None:
    if len(request.problems) < PROBLEMS_SHOWN and problem not in request.problems:
        request.problems.append(problem)


def _batch(frames: Iterator[Found | str]) -> list[Found | str]:
    return list(islice(frames, SCANNED_AT_ONCE))
