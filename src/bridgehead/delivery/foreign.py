# SPDX-License-Identifier: MIT
"""Foreign connectors: messages as files in a drop directory, for a gateway that is no SMTP server.

The envelope stands in X-Sender and X-Receiver fields on top, with the parameters that MAIL and RCPT would have, as the
replay directory reads them. What is internal to the organization is left out; trace fields stay.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from bridgehead.delivery.disk_fault import delayed_by
from bridgehead.delivery.ports import Attempt, WorkSource, pending_recipients
from bridgehead.dsn.original import without_internal_fields
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import split_header
from bridgehead.mail.limits import DROPPED_HEADER_BYTES, STREAM_CHUNK_BYTES
from bridgehead.net.durable_files import make_folder, sync_folder, write_file
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.settings import ForeignConnector
from bridgehead.smtp.client_commands import mail_command, rcpt_command
from bridgehead.smtp.client_events import Extensions, Transaction

logger = logging.getLogger("bridgehead.delivery")

CLOSE_SECONDS: Final = 5.0
_ALL: Final = Extensions(size=0, eight_bit_mime=True, binary_mime=True, chunking=True, smtputf8=True, dsn=True)


class ForeignCourier:
    """Writes the messages of one foreign connector, one after the other, on a thread.

    Args:
        directory: the drop directory, where the connector's text is not its full path; made where missing, mode 0700.
    """

    def __init__(self, connector: ForeignConnector, source: WorkSource, directory: Path | None = None) -> None:
        self._source = source
        self._connector = connector
        self._directory = directory or Path(connector.drop_directory)
        self._thread = ThreadPoolExecutor(1, "drop-directory")
        self._under_way: asyncio.Future[DeliveryStatus | OSError] | None = None
        self._closing = False

    @property
    def connections(self) -> int:
        """Messages being written."""
        return int(self._under_way is not None)

    def wake(self) -> None:
        """See `Courier`."""
        if self._under_way is not None or self._closing:
            return
        entry = self._source.take()
        if entry is None:
            return
        work = partial(drop, entry, self._directory, self._connector)
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._under_way.add_done_callback(partial(self._written, entry))

    async def close(self) -> None:
        """See `Courier`."""
        self._closing = True
        if self._under_way is not None:
            await asyncio.wait([self._under_way], timeout=CLOSE_SECONDS)
        self._thread.shutdown(wait=False)

    def _written(self, entry: QueuedItem, future: "asyncio.Future[DeliveryStatus | OSError]") -> None:
        self._under_way = None
        error = future.exception()
        result = future.result() if error is None else OSError(errno.EIO, f"{type(error).__name__}: {error}")
        if error is not None:
            logger.error("foreign connector %s: writing failed unexpectedly", self._connector.name, exc_info=error)
        if isinstance(result, OSError):
            # Nothing of the message was written and the next one would fare no better: the queue waits.
            status = delayed_by(result, f"the drop directory of {self._connector.name} cannot be written")
            self._source.put_back(entry)
            self._source.connection_failed(status.diagnostic, status=status.status)
            return
        statuses = [result] * len(pending_recipients(entry))
        self._source.finished(entry, Attempt(statuses=statuses, connector=self._connector.name))
        self._source.connection_succeeded()
        self.wake()


def drop(entry: QueuedItem, directory: Path, connector: ForeignConnector) -> DeliveryStatus | OSError:
    """Write one message; what is returned as relayed is on stable storage. An OSError stops the whole queue, so a
    message that itself cannot be read is delayed on its own."""
    name = f"{entry.item.network_message_id}-{entry.item.internal_message_id}.eml"
    try:
        make_folder(directory)
        if not (directory / name).exists():
            if _used(directory) + entry.item.size > connector.drop_directory_quota:
                return OSError(errno.EDQUOT, "the drop directory has reached its quota")
            write_file(directory / f"{name}.tmp", _pieces(entry))
            os.rename(directory / f"{name}.tmp", directory / name)
        sync_folder(directory)
    except _UnreadableContent as error:
        return delayed_by(error.cause, "the content of the message cannot be read")
    except OSError as error:
        return error
    return DeliveryStatus(
        action=Action.RELAYED,
        status="2.0.0",
        diagnostic=f"written to the drop directory of {connector.name}",
        dsn_passed_on=not connector.relay_dsn_required,
    )


class _UnreadableContent(Exception):
    """Reading failed while writing went on."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _pieces(entry: QueuedItem) -> Iterator[bytes]:
    """The file's content: injected fields, header without internal fields, body."""
    yield injected_fields(entry)
    try:
        if entry.content is None:
            raise OSError(errno.ENOENT, "the content of the message is missing")
        with entry.content.open() as stream:
            header, rest = split_header(stream.read(DROPPED_HEADER_BYTES))
            yield without_internal_fields(header)
            yield rest
            while chunk := stream.read(STREAM_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _UnreadableContent(error) from error


def injected_fields(entry: QueuedItem) -> bytes:
    """The envelope as fields above the message's own header."""
    item, envelope = entry.item, entry.item.envelope
    recipients = pending_recipients(entry)
    transaction = Transaction(
        reverse_path=envelope.reverse_path,
        recipients=recipients,
        body=envelope.body_type if item.has_8bit else None,
        smtputf8=envelope.smtputf8,
        ret=envelope.ret,
        envelope_id=envelope.envelope_id,
    )
    lines = [f"X-Sender: {mail_command(transaction, _ALL).removeprefix('MAIL FROM:')}"]
    lines += (f"X-Receiver: {rcpt_command(who, transaction, _ALL).removeprefix('RCPT TO:')}" for who in recipients)
    lines += ["X-CreatedBy: Bridgehead", f"X-EndOfInjectedXHeaders: {item.size}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _used(directory: Path) -> int:
    """Octets of the files that the gateway has not taken yet."""
    total = 0
    with os.scandir(directory) as found:
        for file in found:
            try:
                total += file.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                pass  # taken this moment
    return total
