# SPDX-License-Identifier: MIT
"""Pipeline tracing: copies of one sender's messages from each step that may change them (Set-TransportService
PipelineTracing*).

`MessageSnapshots/<network message id>/` holds Original.eml, SmtpReceivennnn.eml and Routingnnnn.eml, one before a step
and one after it, each beginning with the fields that Exchange puts there. A thread of its own writes them; what it
cannot keep up with is left out, never mail held up. The copies are whole messages: nobody but the server's account
may read them, and they go by age and by size.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import Content
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import MailItem
from bridgehead.mail.limits import LOG_BACKLOG_BYTES, STREAM_CHUNK_BYTES
from bridgehead.tracking.csv_line import TimeText
from bridgehead.tracking.snapshot_folder import SnapshotFolder

FOLDER: Final = "MessageSnapshots"
ORIGINAL: Final = "Original.eml"
_HEADER_ENDS: Final = b"X-EndOfInjectedXHeaders: MessageSnapshot-End injected headers\r\n"
_JOBS_MOST: Final = 1000

log = logging.getLogger("bridgehead.logs")


class PipelineTracing:
    """Writes the snapshots of one sender's messages.

    Args:
        folder: where MessageSnapshots are kept, with their limits.
        sender: PipelineTracingSenderAddress; "<>" for messages of the system itself.
        now: Unix time.
    """

    def __init__(self, folder: SnapshotFolder, sender: str, now: Callable[[], float]) -> None:
        self._folder = folder
        self._sender = "" if sender == "<>" else sender.casefold()
        self._now = now
        self._jobs: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pipeline tracing", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then end. Blocks."""
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def wants(self, reverse_path: Mailbox) -> bool:
        """Whether messages with this reverse-path are traced."""
        return str(reverse_path).casefold() == self._sender

    def incoming(self, network_message_id: str, record: int, sender: Mailbox, recipients: Sequence[str]) -> "Incoming":
        """A message begins to arrive: what comes is its Original.eml."""
        return Incoming(self, network_message_id, self._injected(record, "Original", sender, recipients))

    def submitted(self, item: MailItem, content: Content) -> None:
        """A message comes to the categorizer; one that came by another way than SMTP has its original here."""
        if (stream := _opened(content)) is None:
            return
        sender, recipients = item.envelope.reverse_path, _pending(item)
        original = self._injected(item.internal_message_id, "Original", sender, recipients)
        before = self._injected(item.internal_message_id, "OnSubmittedMessage", sender, recipients)
        folder = self.folder_of(item.network_message_id)

        def write() -> None:
            with stream:
                if not (folder / ORIGINAL).exists():
                    self.write(folder / ORIGINAL, original, stream)
                    stream.seek(0)
                self.write(_next(folder, "Routing"), before, stream)

        self.later(content.size, write)

    def routed(self, item: MailItem, content: Content) -> None:
        """The categorizer is done with a message, or with one of the forks that it became."""
        if (stream := _opened(content)) is None:
            return
        source = "OnRoutedMessage,Categorizer"
        header = self._injected(item.internal_message_id, source, item.envelope.reverse_path, _pending(item))
        folder = self.folder_of(item.network_message_id)

        def write() -> None:
            with stream:
                self.write(_next(folder, "Routing"), header, stream)

        self.later(content.size, write)

    # --- what `Incoming` uses -----------------------------------------------------------------------------------------

    def folder_of(self, network_message_id: str) -> Path:
        """The folder of one message. The id is ours and fit for a file name."""
        return self._folder.path / network_message_id

    def later(self, size: int, job: Callable[[], None]) -> bool:
        """Let the thread do something that keeps `size` octets waiting; False where too much waits already."""
        with self._lock:
            if self._waiting + size > LOG_BACKLOG_BYTES or self._jobs.qsize() > _JOBS_MOST:
                return False
            self._waiting += size
        self._jobs.put((size, job))
        return True

    def injected(self, item: MailItem, source: str) -> bytes:
        """The fields in front of a snapshot of a message."""
        return self._injected(item.internal_message_id, source, item.envelope.reverse_path, _pending(item))

    def write(self, path: Path, header: bytes, stream: BinaryIO) -> None:
        """Write one snapshot. Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(header)
            while data := stream.read(STREAM_CHUNK_BYTES):
                file.write(data)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _injected(self, record: int, source: str, sender: Mailbox, recipients: Sequence[str]) -> bytes:
        receivers = "".join(f"X-Receiver: {clean_text(one)}\r\n" for one in recipients)
        text = (
            "X-CreatedBy: MessageSnapshot-Begin injected headers\r\n"
            f"X-MessageSnapshot-UTC-Time: {TimeText()(self._now())}\r\n"
            f"X-MessageSnapshot-Record-Id: {record}\r\n"
            f"X-MessageSnapshot-Source: {source}\r\n"
            f"X-Sender: {clean_text(str(sender)) or '<>'}\r\n{receivers}"
        )
        return text.encode("utf-8", "replace") + _HEADER_ENDS

    def _run(self) -> None:
        while (waiting := self._jobs.get()) is not None:
            size, job = waiting
            try:
                job()
            except OSError as error:
                self._folder.failed(error)
            with self._lock:
                self._waiting -= size
            if self._jobs.empty():
                self._folder.trim(self._now())


class Incoming:
    """One message on its way in by SMTP."""

    __slots__ = ("_folder", "_tracing", "_whole")

    def __init__(self, tracing: PipelineTracing, network_message_id: str, header: bytes) -> None:
        self._tracing = tracing
        self._folder = tracing.folder_of(network_message_id)
        self._whole = True
        self._append(header)

    def add(self, data: bytes) -> None:
        """A piece of the content as it came."""
        if self._whole:
            self._append(data)

    def received(self, item: MailItem, content: Content) -> None:
        """The message is complete; `content`: what was made of it."""
        if (stream := _opened(content)) is None:
            return
        tracing, original = self._tracing, self._folder / ORIGINAL
        before = tracing.injected(item, "OnEndOfHeaders")
        after = tracing.injected(item, "OnEndOfHeaders,Header Firewall")

        def write() -> None:
            with stream:
                if self._whole:
                    with original.open("rb") as first:
                        _skip_header(first)
                        tracing.write(_next(self._folder, "SmtpReceive"), before, first)
                tracing.write(_next(self._folder, "SmtpReceive"), after, stream)

        tracing.later(content.size, write)

    def _append(self, data: bytes) -> None:
        path = self._folder / ORIGINAL

        def write() -> None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
                file.write(data)

        self._whole = self._tracing.later(len(data), write)


def _opened(content: Content) -> BinaryIO | None:
    """The content as it is now, whatever becomes of its file before the thread comes to it."""
    try:
        return content.open()
    except OSError:
        return None


def _next(folder: Path, kind: str) -> Path:
    """Exchange's nnnn, from 0001 for each message."""
    return folder / f"{kind}{1 + len(list(folder.glob(f'{kind}*.eml'))):04}.eml"


def _skip_header(file: BinaryIO) -> None:
    """Move behind the injected fields."""
    for line in file:
        if line == _HEADER_ENDS:
            return


def _pending(item: MailItem) -> list[str]:
    return [str(recipient.forward_path) for recipient in item.envelope.recipients if not recipient.state]
