# SPDX-License-Identifier: MIT
"""Reads TLS reports out of mail that is delivered to the mailbox they go to.

The mailbox's courier works as always; what it delivers to that address is read on the way and handed over. A mail that
is no report, or not a good one, is in the mailbox all the same.
"""

from collections.abc import Callable

from bridgehead.delivery.ports import Attempt, WorkSource, pending_recipients
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.limits import TLS_REPORT_MAIL_BYTES
from bridgehead.queues.store import QueuedItem

Reader = Callable[[str, bytes], None]
"""(who sent it, the message)."""


class ReadSource:
    """A `WorkSource` whose mail to one address is read when it was delivered."""

    def __init__(self, source: WorkSource, address: str, read: Reader) -> None:
        self._source, self._address, self._read = source, address.lower(), read
        self.take = source.take
        self.backlog = source.backlog
        self.put_back = source.put_back
        self.connection_failed = source.connection_failed
        self.connection_succeeded = source.connection_succeeded

    def finished(self, entry: QueuedItem, attempt: Attempt) -> None:
        """See `WorkSource`; the content is gone afterwards."""
        for recipient, status in zip(pending_recipients(entry), attempt.statuses, strict=False):
            taken = status.action in (Action.DELIVERED, Action.RELAYED)
            if taken and str(recipient.forward_path).lower() == self._address:
                self._hand_over(entry)
                break
        self._source.finished(entry, attempt)

    def _hand_over(self, entry: QueuedItem) -> None:
        content = entry.content
        if content is None or content.size > TLS_REPORT_MAIL_BYTES:
            return
        try:
            with content.open() as stream:
                data = stream.read(TLS_REPORT_MAIL_BYTES)
        except OSError:
            return  # the message itself is in the mailbox
        self._read(str(entry.item.envelope.reverse_path), data)
