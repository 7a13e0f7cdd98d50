# SPDX-License-Identifier: MIT
"""A watched directory: the life of its files, for pickup and replay alike.

`name.eml` is renamed to `name.tmp`, submitted, and deleted once the message is stored. What cannot be a message becomes
`name.bad`, with a BADMAIL event. A `.tmp` that a crash left is renamed back at start, so its message may come twice
but is never lost. Writers should write elsewhere on the same file system and rename into the directory; a file that is
empty or still changes is left alone until it rests.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.header import clean_text
from bridgehead.mail.identity import network_message_id
from bridgehead.mail.item import Source
from bridgehead.mail.limits import (
    INLINE_CONTENT_BYTES,
    STREAM_CHUNK_BYTES,
    SUBMISSION_FILE_BYTES,
    SUBMISSION_FILES_PER_POLL,
)
from bridgehead.net.clock import Clock
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.store import ContentWriter, StoreFault
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.connectors.message_rate import SlidingWindows
from bridgehead.receive.directories.file import Arrival, BadSubmission, Reader, Submission
from bridgehead.tracking.events import EventId, TrackingEvent, event_for
from bridgehead.tracking.ports import Tracker

log = logging.getLogger("bridgehead.receive")

_SUFFIX: Final = ".eml"
_RESTING_SECONDS: Final = 1.0
"""A file that nobody changed for this long is complete without a second look."""


class _Seen(NamedTuple):
    size: int
    changed: int


class SubmissionDirectory:
    """One directory.

    Args:
        name: "Pickup" or "Replay", for logs.
        read: makes a message of a file.
        messages_per_minute: PickupDirectoryMaxMessagesPerMinute, which each directory has for itself.
        poll_interval: seconds.
        pressure: may make the files wait.
        new_content_file: where content goes that is too large for a row of the queue database.
    """

    def __init__(
        self, *, name: str, path: Path, read: Reader, messages_per_minute: int, poll_interval: float, fqdn: str,
        acceptance: Acceptance, new_content_file: Callable[[], ContentWriter], tracker: Tracker, clock: Clock,
        random_bytes: Callable[[int], bytes], pressure: BackPressure | None = None,
    ) -> None:  # fmt: skip
        self._name = name
        self._path = path
        self._read = read
        self._limit = messages_per_minute
        self._interval = poll_interval
        self._fqdn = fqdn
        self._acceptance = acceptance
        self._new_content_file = new_content_file
        self._tracker = tracker
        self._clock = clock
        self._random_bytes = random_bytes
        self._pressure = pressure or BackPressure()
        self._rate: SlidingWindows[str] = SlidingWindows(1)
        self._seen: dict[str, _Seen] = {}
        self._stop = asyncio.Event()
        self._failing = False

    async def run(self) -> None:
        """Watch until `stop`. A directory that cannot be read is reported once and tried again."""
        await asyncio.to_thread(self._recover)
        while not self._stop.is_set():
            await self.poll()
            try:
                await asyncio.wait_for(self._stop.wait(), self._interval)
            except TimeoutError:
                pass

    def stop(self) -> None:
        """Let `run` end after the file under way."""
        self._stop.set()

    async def poll(self) -> int:
        """Look once; how many messages were submitted. Under back pressure files stay where they are."""
        submitted = 0
        if self._pressure.pauses_directories:
            return 0
        try:
            names = await asyncio.to_thread(self._complete_files, self._clock.now())
            self._failing = False
            for name in names:
                if self._stop.is_set() or self._pressure.pauses_directories:
                    break
                if self._rate.count("", self._clock.monotonic()) + 1 > self._limit:
                    break
                submitted += await self._whole(name)
        except OSError as error:
            if not self._failing:
                log.error("%s directory %s: %s", self._name, self._path, error)
            self._failing = True
        except StoreFault as fault:
            log.error("%s directory: the queue takes no messages, files stay: %s", self._name, fault)
        return submitted

    async def _whole(self, name: str) -> bool:
        """Take a file to its end even where this task is cancelled: a message stored and a file kept would be two."""
        task = asyncio.create_task(self._take(name))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def _take(self, name: str) -> bool:
        """Submit one file. Raises StoreFault with the file back in place."""
        claimed = await asyncio.to_thread(self._claim, name)
        if claimed is None:
            return False
        arrival = Arrival(
            internal_message_id=self._acceptance.allocate_id(),
            network_message_id=network_message_id(self._random_bytes(16)),
            now=self._clock.now(),
            fqdn=self._fqdn,
        )
        try:
            submission = await asyncio.to_thread(self._read_claimed, claimed, arrival)
            await self._submit(submission, name)
        except BadSubmission as bad:
            await asyncio.to_thread(self._set_aside, claimed, name)
            self._report(name, str(bad), arrival)
            return False
        except StoreFault:
            await asyncio.to_thread(claimed.rename, self._path / name)
            raise
        except Exception as error:
            log.exception("%s file %s", self._name, clean_text(name))
            await asyncio.to_thread(self._set_aside, claimed, name)
            self._report(name, f"it could not be processed: {type(error).__name__}", arrival)
            return False
        self._rate.add("", self._clock.monotonic())
        await asyncio.to_thread(self._delete, claimed)
        return True

    async def _submit(self, submission: Submission, name: str) -> None:
        """Return once the message is durable. Raises StoreFault."""
        item = submission.item
        content = await self._stored(submission.content)
        event = event_for(item, EventId.RECEIVE, Source.PICKUP, item.received_at, item.envelope.recipient_addresses())
        event.server_hostname, event.connector_id = self._fqdn, item.connector
        event.source_context = f"{self._name} file {clean_text(name)}"
        await self._acceptance.submitted(item, content, event)

    async def _stored(self, data: bytes) -> Content:
        if len(data) <= INLINE_CONTENT_BYTES:
            return BytesContent(data)
        writer = self._new_content_file()
        try:
            for start in range(0, len(data), STREAM_CHUNK_BYTES):
                await writer.write(data[start : start + STREAM_CHUNK_BYTES])
            return await writer.finish()
        except StoreFault:
            await writer.discard()
            raise

    def _report(self, name: str, reason: str, arrival: Arrival) -> None:
        log.warning("%s file %s is no message and was set aside: %s", self._name, clean_text(name), reason)
        self._tracker.record(
            TrackingEvent(
                time=arrival.now,
                event_id=EventId.BADMAIL,
                source=Source.PICKUP,
                internal_message_id=arrival.internal_message_id,
                network_message_id=arrival.network_message_id,
                server_hostname=self._fqdn,
                connector_id=self._name,
                source_context=f"{self._name} file {clean_text(name)}: {reason}",
            )
        )

    # --- on a thread --------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Make the directory, and put back what a former process had claimed."""
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in sorted(self._path.glob("*.tmp")):
                left.rename(_free(left.with_suffix(_SUFFIX)))
                log.warning("%s file %s was under way at a crash and is taken again", self._name, clean_text(left.name))
        except OSError as error:
            log.error("%s directory %s: %s", self._name, self._path, error)

    def _complete_files(self, now: float) -> list[str]:
        """Names of files that rest, oldest first."""
        found: dict[str, _Seen] = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found[entry.name] = _Seen(status.st_size, status.st_mtime_ns)
        resting = [
            (seen.changed, name)
            for name, seen in found.items()
            if seen.size and (self._seen.get(name) == seen or now - seen.changed / 1e9 >= _RESTING_SECONDS)
        ]
        self._seen = found
        return [name for _, name in sorted(resting)[:SUBMISSION_FILES_PER_POLL]]

    def _claim(self, name: str) -> Path | None:
        """Rename a file to .tmp; None where it is gone or its .tmp name is taken."""
        claimed = (self._path / name).with_suffix(".tmp")
        if claimed.exists():
            return None
        try:
            (self._path / name).rename(claimed)
        except FileNotFoundError:
            return None
        return claimed

    def _read_claimed(self, claimed: Path, arrival: Arrival) -> Submission:
        # A link or device put there by somebody else must not make us read what that somebody may not.
        try:
            descriptor = os.open(claimed, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise BadSubmission("it is no regular file")
                data = file.read(SUBMISSION_FILE_BYTES + 1)
        except OSError as error:
            raise BadSubmission(f"it cannot be read: {error.strerror}") from error
        if len(data) > SUBMISSION_FILE_BYTES:
            raise BadSubmission(f"it is larger than {SUBMISSION_FILE_BYTES} octets")
        return self._read(data, arrival)

    def _set_aside(self, claimed: Path, name: str) -> None:
        claimed.rename(_free((self._path / name).with_suffix(".bad")))

    def _delete(self, claimed: Path) -> None:
        try:
            claimed.unlink()
        except OSError as error:
            log.error("%s: its message is in the queue, but the file stays and comes again: %s", claimed, error)


def _free(path: Path) -> Path:
    """This path, or one like it that nothing has."""
    candidate, number = path, 1
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
