# SPDX-License-Identifier: MIT
"""The port `QueueStore`: durable messages and the one way to change them.

A change is a `Transaction` value: ids that leave and entries that take their place, committed together or not at
all. What a commit reported as done survives a crash of the process and of the machine. Retry times and life-cycle
rules are in `retry.py` and `states.py`; implementations in `sqlite/` and `memory.py` pass one contract suite.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, Protocol

import msgspec

from bridgehead.mail.content import Content
from bridgehead.mail.item import MailItem
from bridgehead.routing.next_hop import DeliveryType, NextHop


class QueueKind(IntEnum):
    """Exchange's queue types that hold messages here."""

    SUBMISSION = 0
    DELIVERY = 1
    UNREACHABLE = 2
    POISON = 3
    REMOVED = 4
    """Messages that an administrator removed without a report: kept for a while, so that it can be undone."""


class MessageStatus(IntEnum):
    """Exchange's message status. ACTIVE entries are leased by this process; a restart makes them READY, in doubt."""

    READY = 0
    ACTIVE = 1
    RETRY = 2
    SUSPENDED = 3
    PENDING_SUSPEND = 4
    PENDING_REMOVE = 5


class QueueStatus(IntEnum):
    """Exchange's queue status, as far as it is kept durably."""

    ACTIVE = 0
    RETRY = 1
    SUSPENDED = 2


class StoreFault(Exception):
    """The store could not do what was asked; the message names the cause for the log. Nothing was changed."""


class StoreFull(StoreFault):
    """No space left on the device, or a quota is used up (ENOSPC, EDQUOT, SQLITE_FULL)."""


class StoreUnreadable(StoreFault):
    """One message or its content cannot be read; it was set aside with this reason."""


class QueuedItem(msgspec.Struct, kw_only=True):
    """A message in a queue.

    Attributes:
        item: the message; `item.internal_message_id` is the entry's key.
        content: its content; None in listings and where it was not loaded.
        content_id: key of the stored content, shared by the forks of one message.
        next_hop: delivery queue, None in the other queues.
        due: Unix time before which a RETRY entry is left alone.
        deadline: Unix time of the next thing owed whatever happens: delay DSN or expiry.
        retry_count: attempts that ended in a transient failure of this message.
        last_error: the last of them.
        in_doubt: an attempt's outcome is unknown (crash or connection lost after the final dot).
        crash_count: how often the process died, or a stage raised, while this entry was Active there.
        since: monotonic time of its last step in memory; not stored.
    """

    item: MailItem
    content: Content | None
    content_id: int
    queue: QueueKind
    next_hop: NextHop | None = None
    status: MessageStatus = MessageStatus.READY
    due: float = 0.0
    deadline: float = 0.0
    retry_count: int = 0
    last_error: str = ""
    in_doubt: bool = False
    crash_count: int = 0
    since: float = 0.0

    @property
    def id(self) -> int:
        return self.item.internal_message_id


class Transaction(msgspec.Struct):
    """One atomic step of one or more messages.

    Attributes:
        remove: entries that leave. Content goes with the last entry that uses it.
        put: entries that are new (content given, unless another entry holds `content_id` already) or that replace
            the entry with the same id. An entry put while another transaction removes it in the same commit ends as
            the order of `commit` calls says.
    """

    remove: Sequence[int] = ()
    put: Sequence[QueuedItem] = ()


Done = Callable[["StoreFault | None"], None]
"""Called once on the event loop, with None when the transaction is on stable storage, else with the reason."""


class QueueState(msgspec.Struct, kw_only=True):
    """What is kept durably about one delivery queue (and Submission, Unreachable, Poison: `next_hop` None).

    Attributes:
        status: RETRY while connections fail; entries stay READY meanwhile.
        next_retry: Unix time of the next attempt to connect, 0 unless in RETRY.
        first_retry, last_retry: Unix times, 0 before the first.
        retry_count: connection failures in a row.
        last_error: the last of them.
        suspended_by, suspend_reason, suspended_at: who suspended it, why, and when (Unix time); "" and 0 otherwise.
    """

    queue: QueueKind
    next_hop: NextHop | None = None
    status: QueueStatus = QueueStatus.ACTIVE
    next_retry: float = 0.0
    first_retry: float = 0.0
    last_retry: float = 0.0
    retry_count: int = 0
    last_error: str = ""
    suspended_by: str = ""
    suspend_reason: str = ""
    suspended_at: float = 0.0


class QueueSummary(msgspec.Struct, kw_only=True):
    """One queue with its counts, as read from the store."""

    state: QueueState
    message_count: int
    counts_by_status: dict[MessageStatus, int]
    oldest_received: float = 0.0
    total_bytes: int = 0
    counts_by_priority: dict[int, int] = {}
    deferred_by_priority: dict[int, int] = {}
    """Those in RETRY."""


class Note(msgspec.Struct, frozen=True):
    """A record that is kept beside the queues and changes in one transaction with them: what administrators did and
    what they ordered. `record` is b"" for one that goes."""

    kind: int
    id: int
    part: int
    record: bytes


class Swap(msgspec.Struct, kw_only=True):
    """One entry to be changed unless something happened to it meanwhile.

    Attributes:
        before: the entry as it was seen; it is left alone where it is no longer so. None where the caller has the
            entry, ACTIVE, in its hands, and nobody else can have changed it.
        after: the entry as it becomes; None where it leaves.
        id: of the entry.
        note: kept where the change takes place.
    """

    id: int
    before: QueuedItem | None
    after: QueuedItem | None
    note: Note | None = None


class Page(msgspec.Struct):
    """A part of a listing. `last`: id of the last entry looked at, 0 where the listing has ended."""

    entries: list[QueuedItem]
    last: int


Place = tuple[int, int, int]
"""Where an entry waits in its queue: lane, turn, id (`fairness.py`)."""
FIRST_PLACE: Final = (-1, 0, 0)


class QueueTotal(msgspec.Struct, frozen=True):
    """Messages that have all of this in common.

    Attributes:
        status: of their queues.
        deferred: they are in Retry themselves, each for its own reason.
        queues: how many queues hold them.
        oldest_received: Unix time.
    """

    queue: QueueKind
    delivery_type: DeliveryType
    status: QueueStatus
    deferred: bool
    queues: int
    messages: int
    oldest_received: float


class LargeQueue(msgspec.Struct, frozen=True):
    """One delivery queue."""

    next_hop: NextHop
    status: QueueStatus
    messages: int
    oldest_received: float


class QueueOverview(msgspec.Struct, frozen=True, kw_only=True):
    """All queues.

    Attributes:
        totals: every message is in exactly one of them.
        largest: delivery queues with most messages, the largest first.
    """

    totals: list[QueueTotal] = []
    largest: list[LargeQueue] = []


class ItemFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which entries a listing wants; all given parts must hold. Text is compared as `*` pattern, without case.

    Attributes:
        mentions: ASCII texts that stand somewhere in what is stored of an item, without case. A hint for the store,
            which may show entries that do not hold them: whoever gives it looks at each entry besides.
        ranges: the same for numbers of an item: (size, received_at or retry_count; =, <, <=, > or >=; value).
    """

    queue: QueueKind | None = None
    next_hop: NextHop | None = None
    status: MessageStatus | None = None
    internal_message_id: int | None = None
    network_message_id: str = ""
    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    mentions: tuple[str, ...] = ()
    ranges: tuple[tuple[str, str, float], ...] = ()
    limit: int = 1000


class Problem(msgspec.Struct, frozen=True):
    """Something `verify` found.

    Attributes:
        subject: entry or file it is about.
        what: the finding in plain words.
        remedy: what was or can be done.
        lost: mail is affected.
    """

    subject: str
    what: str
    remedy: str
    lost: bool = False


class QueueStore(Protocol):
    """Durable queues. All methods are called on the event loop; none blocks it for longer than a memory operation."""

    async def open(self) -> None:
        """Make ready for use, creating what is missing. Raises StoreFault. Entries left ACTIVE by a former
        process become READY with `in_doubt` set and `crash_count` raised by one, in the background if they are many."""

    async def close(self) -> None:
        """Finish what is under way, then release everything."""

    def allocate_id(self) -> int:
        """A number for a new entry or content, larger than all before, also across restarts."""

    def commit(self, transaction: Transaction, done: Done | None = None, *, urgent: bool = True) -> None:
        """Enqueue a transaction. Transactions take effect in the order of the calls; many share one sync. One that is
        not urgent may wait a few milliseconds for others to share theirs; an urgent one behind it takes it along."""

    async def committed(self, transaction: Transaction) -> None:
        """`commit` for callers that can wait. Raises StoreFault."""

    def set_queue_state(self, state: QueueState, done: Done | None = None) -> None:
        """Keep a queue's state; in the order of the calls, like `commit`."""

    async def lease(
        self, queue: QueueKind, next_hop: NextHop | None, now: float, limit: int, max_bytes: int,
    ) -> list[QueuedItem]:  # fmt: skip
        """Take due entries (READY, or RETRY with due <= now) in order of priority, then age, and make them ACTIVE,
        durably before this returns. Content up to INLINE_CONTENT_BYTES is loaded; at most `max_bytes` of it, but at
        least one entry. Entries that cannot be read are set aside in Poison and left out."""

    async def next_due(self, queue: QueueKind, next_hop: NextHop | None) -> float | None:
        """When the next entry of a queue becomes due: 0.0 for at once, None when there is none to wait for."""

    async def count_waiting(self, queue: QueueKind, limit: int) -> int:
        """How many entries of a queue are READY or in RETRY, counted up to `limit` of each. Raises StoreFault."""

    async def ready_behind(
        self, queue: QueueKind, next_hop: NextHop | None, place: Place, limit: int
    ) -> list[tuple[Place, QueuedItem]]:
        """READY entries behind a place in a queue (`FIRST_PLACE` to begin with), each with its own, without content and
        untouched. Entries that cannot be read are left out. Raises StoreFault."""

    async def bring_forward(self, later_than: float, seconds: float) -> int:
        """Make entries of all queues that are in RETRY with due > `later_than` due that many seconds earlier, yet not
        before 0; returns how many. May take several steps, between which commits go on. Raises StoreFault, and then
        some entries may have been moved."""

    async def past_deadline(self, now: float, limit: int) -> list[QueuedItem]:
        """Entries in Delivery or Unreachable, neither ACTIVE nor SUSPENDED, whose deadline has come; made ACTIVE like
        `lease` does, content loaded alike."""

    async def get(self, internal_message_id: int) -> QueuedItem | None:
        """One entry with its content, untouched (no lease)."""

    async def list_items(self, wanted: ItemFilter) -> list[QueuedItem]:
        """Entries without content, by age."""

    async def page(self, wanted: ItemFilter, accepts: Callable[[QueuedItem], bool], after: int, before: int) -> Page:
        """Entries without content with after < id < before that fit both, in order of id, as far as one short step
        looks; `wanted.limit` of them at most. Raises StoreFault."""

    async def swap(self, swaps: Sequence[Swap], notes: Sequence[Note] = (), put: Sequence[QueuedItem] = ()) -> set[int]:
        """Change entries, keep `notes`, and `put` new entries with their content, in one transaction and in the order
        of the calls, like `commit`. The ids of those that are no longer as they were seen, which are left alone with
        all that belongs to them. Raises StoreFault, and then nothing has changed."""

    async def notes(self, kind: int, id: int | None = None, after: int = -1, limit: int = 1000) -> list[Note]:
        """Notes of a kind: those with part 0 of all ids > `after`, or of one id those with part > `after`, in order."""

    async def queue_states(self) -> list[QueueState]:
        """Every state that is not as if new. Takes no longer for deep queues. Raises StoreFault."""

    async def queues(self) -> list[QueueSummary]:
        """Every queue that holds an entry or a state other than ACTIVE; counts them, which takes its time. Raises
        StoreFault."""

    async def overview(self, limit: int) -> QueueOverview:
        """All queues added up, and the `limit` largest delivery queues."""

    async def verify(self) -> list[Problem]:
        """Check the whole store without changing it: structure, each record, each content, files without owner."""

    def new_content_file(self) -> "ContentWriter":
        """Where large content is written as it arrives."""


class ContentWriter(Protocol):
    """Takes content that is too large for memory; its file is synced before the transaction that names it commits."""

    async def write(self, data: bytes) -> None:
        """Append. Off the event loop's thread. Raises StoreFault, StoreFull."""

    async def finish(self) -> Content:
        """Sync file and folder; the content is then ready to be `put`. Raises StoreFault."""

    async def discard(self) -> None:
        """Throw away what was written."""
