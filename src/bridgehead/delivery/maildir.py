# SPDX-License-Identifier: MIT
"""Messages written into Maildir folders: tmp, sync, new, sync of the folder. Runs on threads.

The file name follows from our ids: a delivery that is repeated because its outcome was in doubt finds its own file and
does not make a second one. Content is written as it came, with Return-Path and Delivered-To on top (RFC 5321 §4.4).
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.delivery.disk_fault import NO_SPACE, delayed_by
from bridgehead.delivery.ports import pending_recipients
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import STREAM_CHUNK_BYTES
from bridgehead.mail.trace_fields import return_path_field
from bridgehead.net.durable_files import make_folder, sync_folder, write_file
from bridgehead.queues.store import QueuedItem

_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_+@=")
_NAME_BYTES: Final = 200


class NoSpace(msgspec.Struct, frozen=True):
    """Nothing of a message was delivered because the disk or a quota is full."""

    reason: str


Written = list[DeliveryStatus] | NoSpace
"""What became of one message: a status for each pending recipient, or that the whole store has no room."""


class UnusableName(ValueError):
    """A mailbox name that can be no folder; the text says why."""


def folder_name(mailbox: str) -> str:
    """The folder of a mailbox. Raises UnusableName.

    Letters, digits and `.-_+@=` stand as they are, everything else percent-encoded, so that two names never meet.
    """
    if not mailbox:
        raise UnusableName("the recipient has no mailbox name")
    if "/" in mailbox or "\\" in mailbox or not mailbox.strip("."):
        raise UnusableName("the mailbox name holds a path separator or nothing but dots")
    if not mailbox.isprintable():
        raise UnusableName("the mailbox name holds a control character")
    encoded = "".join(
        char if char in _PLAIN else "".join(f"%{octet:02X}" for octet in char.encode()) for char in mailbox
    )
    if encoded.startswith("."):
        encoded = f"%2E{encoded[1:]}"
    if len(encoded) > _NAME_BYTES:
        raise UnusableName("the mailbox name is too long")
    return encoded


def file_name(entry: QueuedItem, fqdn: str) -> str:
    """The name that every attempt to deliver this message into one mailbox uses."""
    item = entry.item
    host = "".join(char if char in _PLAIN and char != "=" else "_" for char in fqdn) or "localhost"
    return f"{int(item.received_at)}.M{item.internal_message_id}N{item.network_message_id}.{host}"


def write_batch(root: Path, fqdn: str, batch: Sequence[QueuedItem]) -> list[Written]:
    """Deliver messages; what is returned as delivered is on stable storage."""
    writer = _BatchWriter(root, fqdn)
    prepared = [[writer.write(entry, recipient) for recipient in pending_recipients(entry)] for entry in batch]
    faults = writer.sync()
    return [_outcome(results, faults) for results in prepared]


_Result = tuple[Path | None, DeliveryStatus | OSError]
"""Folder to sync and what that leads to; or no folder and why."""


class _BatchWriter:
    """Writes files and remembers which folders are to be synced."""

    def __init__(self, root: Path, fqdn: str) -> None:
        self._root = root
        self._fqdn = fqdn
        self._folders: dict[Path, None] = {}
        self._ready: set[Path] = set()

    def write(self, entry: QueuedItem, recipient: EnvelopeRecipient) -> _Result:
        """One message into one mailbox, up to its name in `new`."""
        try:
            mailbox = self._root / folder_name(recipient.mailbox)
        except UnusableName as error:
            return None, DeliveryStatus(action=Action.FAILED, status="5.1.3", diagnostic=str(error))
        delivered = DeliveryStatus(
            action=Action.DELIVERED, status="2.0.0", diagnostic=clean_text(f"delivered to mailbox {recipient.mailbox}")
        )
        name = file_name(entry, self._fqdn)
        try:
            if mailbox not in self._ready:
                self._make(mailbox)
            if not _is_there(mailbox, name, look_in_cur=entry.in_doubt or entry.retry_count > 0):
                write_file(mailbox / "tmp" / name, _pieces(entry, recipient))
                os.rename(mailbox / "tmp" / name, mailbox / "new" / name)
        except OSError as error:
            return None, error
        self._folders[mailbox / "new"] = None
        return mailbox / "new", delivered

    def sync(self) -> dict[Path, OSError]:
        """Sync every folder that got a file; those that failed."""
        faults = {}
        for folder in self._folders:
            try:
                sync_folder(folder)
            except OSError as error:
                faults[folder] = error
        return faults

    def _make(self, mailbox: Path) -> None:
        """The folders of a mailbox, made where missing."""
        if not (mailbox / "new").is_dir():
            for part in ("cur", "tmp", "new"):
                make_folder(mailbox / part)
        self._ready.add(mailbox)


def _is_there(mailbox: Path, name: str, *, look_in_cur: bool) -> bool:
    """Whether an earlier attempt delivered this file; a reader may have moved it to `cur` and added flags."""
    if (mailbox / "new" / name).exists():
        return True
    return look_in_cur and any(found.split(":", 1)[0] == name for found in os.listdir(mailbox / "cur"))


def _pieces(entry: QueuedItem, recipient: EnvelopeRecipient) -> Iterator[bytes]:
    """The message with its trace fields on top. Raises OSError where its content cannot be read."""
    content = entry.content
    if content is None:
        raise OSError(errno.ENOENT, "the content of the message is missing")
    top = return_path_field(entry.item.envelope.reverse_path) + f"Delivered-To: {recipient.forward_path}\r\n".encode()
    data = content.data
    if data is not None:
        yield top + data
        return
    yield top
    with content.open() as stream:
        while chunk := stream.read(STREAM_CHUNK_BYTES):
            yield chunk


def _outcome(results: list[_Result], faults: dict[Path, OSError]) -> Written:
    """Statuses of one message, once the folders are synced."""
    statuses: list[DeliveryStatus] = []
    no_space: OSError | None = None
    for folder, result in results:
        found = faults.get(folder, result) if folder is not None else result
        if isinstance(found, OSError):
            no_space = found if found.errno in NO_SPACE else no_space
            found = delayed_by(found, "the mailbox cannot be written")
        statuses.append(found)
    if no_space is not None and all(status.status == "4.3.1" for status in statuses):
        return NoSpace(no_space.strerror or str(no_space))
    return statuses
