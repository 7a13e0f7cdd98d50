# SPDX-License-Identifier: MIT
"""What the categorizer needs of its neighbours: somebody to write reports, and somebody to take what is ready."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from bridgehead.categorizer.resolution import Result
from bridgehead.mail.content import Content
from bridgehead.mail.item import Handling, MailItem
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.next_hop import NextHop


class Reporter(Protocol):
    """Writes delivery status notifications."""

    def report(self, item: MailItem, content: Content | None, statuses: list[Result]) -> QueuedItem | None:
        """The report about these recipients as an entry for Submission, with an id of its own; None when nobody is to
        be told (NOTIFY, null reverse-path, reports). Not committed: the categorizer does that, together with the
        message that the report is about."""

    def is_draft(self, report: QueuedItem) -> bool:
        """Whether a report must be written before it can be committed, since it returns a large message."""

    async def write(self, report: QueuedItem) -> Callable[[], Coroutine[None, None, None]]:
        """Write a draft. Returns what takes that back. Raises only for a fault of ours."""


class Gate(Protocol):
    """Standing rules of administrators, seen from here; there is no gate while there are none."""

    def judge(self, entry: QueuedItem) -> Handling | None:
        """What the first rule that an entry about to enter its queue fits orders: with `with_ndr` it fails, without it
        is held there. None where it fits none."""


class DeliveryIntake(Protocol):
    """The dispatcher, as the categorizer sees it. All calls on the event loop."""

    def has_room(self, next_hop: NextHop, size: int, item: MailItem) -> bool:
        """True where an entry for `item` with `size` octets of content in memory may be put ACTIVE and handed over."""

    def deliver_at_once(self, entry: QueuedItem) -> None:
        """An entry that `has_room` let in, still in Submission on disk, ACTIVE there: it is tried without another sync
        in between. The dispatcher writes down that it moved with what becomes of it, or soon after if that takes long;
        a crash before finds it in Submission, in doubt."""

    def deliver(self, entries: list[QueuedItem]) -> None:
        """Committed entries, ACTIVE and with their content: the dispatcher's own from now on."""

    def notify(self, next_hop: NextHop, stored: Sequence[QueuedItem]) -> None:
        """READY entries for this next hop, among those given, were committed; they are to be leased from the store."""
