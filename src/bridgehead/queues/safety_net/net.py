# SPDX-License-Identifier: MIT
"""The Safety Net: delivered mail is kept for a while, so that it can be resubmitted (SafetyNetHoldTime).

`keep` takes a message from what delivery has in memory and puts octets into a list. They are appended to a file a
moment later, large content before its queue lets go of it (`flush_due`), and are not synced: the message itself is safe
elsewhere by then. A killed process costs the last twentieth of a second of the net, a power cut its last seconds. A
disk that takes nothing stops nobody: what could not be kept is counted, and the oldest segment makes room. Files are
the business of `segments` and `frames`.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.queues.safety_net import frames
from bridgehead.queues.safety_net.frames import Frame, Kept
from bridgehead.queues.safety_net.segments import Segments, Waiting
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.content_files import FileContent
from bridgehead.queues.store import Problem, QueuedItem

log = logging.getLogger("bridgehead.queues")

FOLDER_NAME: Final = "safety_net"
"""Within the queue's folder, because large content is linked and not copied."""
BACKLOG_BYTES: Final = 64 * 1024 * 1024
"""What waits to be written while no commit comes; more is not kept."""
SEGMENT_BYTES: Final = 256 * 1024 * 1024
SEGMENTS: Final = 16
"""Segments that the whole net has at least, so that the oldest one is a small part of it."""
FLUSH_BYTES: Final = 512 * 1024
FLUSH_SECONDS: Final = 0.05
"""What is kept waits for so much, or for so long: a write for every commit would cost more than the commit's own."""
PAUSE_SECONDS: Final = 10.0
"""After the disk took nothing, until it is asked again."""


class SafetyNetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the net is.

    Attributes:
        enabled: delivered mail is kept.
        max_size: octets that it may use now: the setting, or half of the space that others leave.
        used: octets in use.
        segments: frames.
        kept, lost: messages since the start; those that no disk took are lost to the net, not to their recipients.
        oldest: Unix time since when mail is kept, 0 while there is none.
        cut_short_at: Unix time when mail was last dropped before its time, because of the size; 0 for never.
        trouble: why mail cannot be kept at present, "" while it can.
    """

    enabled: bool
    hold_time: float
    max_size: int
    used: int
    segments: int
    kept: int
    lost: int
    oldest: float
    cut_short_at: float
    trouble: str


class Found(NamedTuple):
    """A message in the net."""

    segment: Path
    frame: Frame


class SafetyNet:
    """The net of one queue store. `keep` is for the event loop; `flush` and `tidy` for any thread; none of them raises.

    Args:
        directory: of the queue store.
        now: Unix time. monotonic: seconds.
    """

    def __init__(
        self, directory: Path, settings: QueueSettings, now: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self.folder = directory / FOLDER_NAME
        self._now, self._monotonic = now, monotonic
        self._pending: list[Waiting] = []
        self._pending_bytes = 0
        self._links = False
        """Content files are among what waits: they must be linked before the queue deletes them."""
        self._flushed_at = 0.0
        self.on_waiting: Callable[[], object] = lambda: None
        """Called when something begins to wait: whoever has a timer calls `flush_soon` after FLUSH_SECONDS, since no
        commit may follow."""
        self._lock = threading.Lock()
        self._segments = Segments(self.folder, now, self._tidy_soon)
        self._cap = 0
        self._paused_until = 0.0
        self._tidier: ThreadPoolExecutor | None = None
        self._tidying = False
        self._cut_short_at = 0.0
        self.kept = self.lost = 0
        self.trouble = ""
        self.reconfigure(settings)

    def reconfigure(self, settings: QueueSettings) -> None:
        """Use other settings from now on."""
        self._hold_time = settings.safety_net_hold_time.total_seconds()
        self._max_size = int(settings.safety_net_max_size)
        self._excluded = frozenset(settings.safety_net_excluded_connectors)
        self._segments.segment_bytes = min(SEGMENT_BYTES, self._max_size // SEGMENTS)
        self.enabled = self._hold_time > 0

    # --- the way in ------------------------------------------------------------------------------------------------

    def keep(self, entry: QueuedItem, recipients: list[EnvelopeRecipient]) -> None:
        """A message was delivered to these of its recipients. Called for every message: this is budgeted in
        microseconds."""
        next_hop, content = entry.next_hop, entry.content
        if not self.enabled or content is None:
            return
        if self._excluded and next_hop is not None and next_hop.connector in self._excluded:
            return
        item = entry.item
        if recipients is not item.envelope.recipients:
            envelope = msgspec.structs.replace(item.envelope, recipients=recipients)
            item = msgspec.structs.replace(item, envelope=envelope)
        data = content.data
        now = self._now()
        try:
            if data is not None:
                waiting = Waiting(now, frames.frame_of(Kept(now, item, next_hop), data), None)
            elif isinstance(content, FileContent):
                kept = Kept(now, item, next_hop, content.path.name, content.size, content.crc)
                waiting = Waiting(now, frames.frame_of(kept, b""), content)
            else:
                return
        except Exception:
            log.exception("message %d: it could not be kept in the Safety Net", entry.id)
            self.lost += 1
            return
        self._pending_bytes += item.size
        if self._pending_bytes > BACKLOG_BYTES:
            self.lost += 1
            self._pending_bytes -= item.size
            return
        if not self._pending:
            self.on_waiting()
        self._pending.append(waiting)
        if data is None:
            self._links = True  # after it waits: `flush` on another thread then takes it, or leaves this set

    def flush_due(self) -> None:
        """Append what was kept where that should not wait. Called before each commit."""
        if self._pending and (
            self._links or self._pending_bytes >= FLUSH_BYTES or self._monotonic() - self._flushed_at >= FLUSH_SECONDS
        ):
            self.flush()

    def flush_soon(self) -> None:
        """Append what was kept, on another thread."""
        if self._pending and self._tidier is not None:
            self._tidier.submit(self.flush)

    def flush(self) -> None:
        """Append what was kept."""
        if not self._pending:
            return
        self._links, self._flushed_at = False, self._monotonic()
        with self._lock:
            # Each of these list operations is atomic, so what is kept meanwhile is in this batch or in the next.
            count = len(self._pending)
            batch = self._pending[:count]
            del self._pending[:count]
            self._pending_bytes = 0
            if self._monotonic() < self._paused_until:
                self.lost += count
                return
            written, error = self._segments.append(batch)
            if error is not None:
                self._failed(error)
            elif written:
                self.trouble = ""
            self.kept += written
            self.lost += count - written
        if self._segments.used > self._cap:
            self._tidy_soon()

    def _failed(self, error: OSError) -> None:
        if not self.trouble:
            log.error("the Safety Net takes nothing, delivery goes on without: %s", error.strerror or error)
        self.trouble = f"delivered mail cannot be kept: {error.strerror or error}"
        self._paused_until = self._monotonic() + PAUSE_SECONDS
        self._segments.close()
        self._tidy_soon(make_room=True)

    # --- the way out -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find what is there. Blocks."""
        self._tidier = ThreadPoolExecutor(1, "safety-net")
        try:
            self._segments.find()
        except OSError as error:
            self._failed(error)
        self.tidy()

    def close(self) -> None:
        """Write what is left. Blocks."""
        self.flush()
        if self._tidier is not None:
            self._tidier.shutdown(wait=True)
            self._tidier = None
        with self._lock:
            self._segments.close()

    def tidy_now_and_then(self) -> None:
        """For a timer of the event loop: drop what is too old, on a thread."""
        self._tidy_soon()

    def tidy(self, make_room: bool = False) -> None:
        """Drop what is older than the hold time, and the oldest while there is too much. Blocks."""
        now = self._now()
        while True:
            with self._lock:
                self._cap = self._affordable()
                oldest, in_use = self._segments.oldest, self._segments.oldest_is_in_use
                if oldest is None:
                    return
                too_old = oldest.last + self._hold_time < now
                too_much = (self._segments.used > self._cap or make_room) and not in_use
                if not (too_old or too_much):
                    return
                if not too_old:
                    self._cut_short_at = now
                make_room = False
                self._segments.forget_oldest()
            try:
                frames.delete_segment(oldest.path)
            except OSError as error:
                log.error("%s of the Safety Net cannot be deleted: %s", oldest.path.name, error.strerror or error)

    def _affordable(self) -> int:
        """The setting, but never more than half of the space that others leave."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return self._max_size
        return min(self._max_size, (self._segments.used + free) // 2)

    def _tidy_soon(self, make_room: bool = False) -> None:
        if self._tidier is None or (self._tidying and not make_room):
            return
        self._tidying = True

        def run() -> None:
            try:
                self.tidy(make_room)
            finally:
                self._tidying = False

        try:
            self._tidier.submit(run)
        except RuntimeError:
            pass  # closed

    # --- looking ---------------------------------------------------------------------------------------------------

    def facts(self) -> SafetyNetFacts:
        """How the net is, without I/O."""
        segments = self._segments.listed()
        return SafetyNetFacts(
            enabled=self.enabled, hold_time=self._hold_time, max_size=self._cap or self._max_size,
            used=sum(segment.size for segment in segments), segments=len(segments), kept=self.kept, lost=self.lost,
            oldest=segments[0].begun if segments else 0.0, cut_short_at=self._cut_short_at, trouble=self.trouble,
        )  # fmt: skip

    def scan(self, start: float, end: float) -> Iterator[Found | str]:
        """Messages delivered in a span of time, oldest first, or in words what cannot be read. Blocks for files; what
        has not been flushed is not there yet."""
        for segment in self._segments.listed():
            if segment.begun > end or segment.last < start:
                continue
            try:
                for frame in frames.read_frames(segment.path):
                    if start <= frame.kept.at <= end:
                        yield Found(segment.path, frame)
            except FileNotFoundError:
                continue  # its time was over
            except (OSError, frames.DamagedSegment) as error:
                yield str(error)

    def verify(self) -> list[Problem]:
        """Check every message that is kept. Blocks."""
        return verify_folder(self.folder)


def verify_folder(folder: Path) -> list[Problem]:
    """Check the Safety Net in a folder, without changing it; one that is not there is sound."""
    found = []
    for path in sorted(folder.glob(f"*{frames.SUFFIX}")):
        found += [
            Problem(f"Safety Net {path.name}", text, "none needed: these copies cannot be resubmitted")
            for text in frames.check_segment(path)
        ]
    return found
