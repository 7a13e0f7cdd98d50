# SPDX-License-Identifier: MIT
"""Entries and queue states as rows of the queue database, and back.

The `MailItem` is one MessagePack record; what the store itself sorts and selects by has columns. Reading is
strict: a record that does not decode raises `StoreUnreadable`, it never becomes a half-filled message.
"""

from functools import lru_cache
from typing import Any, Final

import msgspec

from bridgehead.mail.content import Content
from bridgehead.mail.envelope import Envelope
from bridgehead.mail.item import MailItem
from bridgehead.queues.fairness import lane_of
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueState, StoreUnreadable
from bridgehead.routing.next_hop import NextHop

ItemRow = tuple[Any, ...]
"""Values in the order of `ITEM_COLUMNS`."""

ITEM_COLUMNS: Final = (
    "id, queue, next_hop, status, priority, due, deadline, received_at, content_id, size, retry_count, in_doubt,"
    " crash_count, epoch, last_error, record, lane, turn"
)
ID, QUEUE, NEXT_HOP, STATUS, RECEIVED_AT, CONTENT_ID, SIZE, RECORD, LANE, TURN = 0, 1, 2, 3, 7, 8, 9, 15, 16, 17
"""Positions within an `ItemRow`."""

_encode = msgspec.msgpack.Encoder().encode
_decode_item = msgspec.msgpack.Decoder(MailItem).decode
_decode_state = msgspec.msgpack.Decoder(QueueState).decode
_encode_key = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(NextHop).decode


@lru_cache(maxsize=4096)
def next_hop_key(next_hop: NextHop | None) -> str:
    """The column value for a next hop, "" for none. A requirement stands in it only where there is one."""
    if next_hop is None:
        return ""
    if next_hop.tls_requirement:
        return _encode_key(next_hop).decode()
    return _encode_key([next_hop.delivery_type, next_hop.domain, next_hop.connector]).decode()


@lru_cache(maxsize=4096)
def next_hop_of(key: str) -> NextHop | None:
    """The reverse of `next_hop_key`. Raises StoreUnreadable."""
    try:
        return _decode_key(key) if key else None
    except msgspec.MsgspecError as error:
        raise StoreUnreadable(f"the next hop {key!r} of an entry cannot be read: {error}") from None


def item_row(entry: QueuedItem, epoch: int) -> ItemRow:
    """An entry as a row, without a turn. Raises what msgspec raises for a record that cannot be written."""
    item = entry.item
    return (
        item.internal_message_id,
        int(entry.queue),
        next_hop_key(entry.next_hop),
        int(entry.status),
        int(item.priority),
        entry.due,
        entry.deadline,
        item.received_at,
        entry.content_id,
        item.size,
        entry.retry_count,
        entry.in_doubt,
        entry.crash_count,
        epoch,
        entry.last_error,
        _encode(item),
        lane_of(item.priority, entry.retry_count),
        0,
    )


def item_of(record: object) -> MailItem:
    """The message of a record. Raises StoreUnreadable saying what is wrong."""
    try:
        return _decode_item(record)  # type: ignore[arg-type]  # whatever a damaged column holds is refused
    except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
        raise StoreUnreadable(str(error)) from None


def entry_of(row: ItemRow, content: Content | None = None) -> QueuedItem:
    """A row as an entry. Raises StoreUnreadable naming the entry and what is wrong."""
    try:
        item = item_of(row[RECORD])
    except StoreUnreadable as error:
        raise StoreUnreadable(f"the record of entry {row[ID]} cannot be read: {error}") from None
    if item.internal_message_id != row[ID]:
        raise StoreUnreadable(f"the record of entry {row[ID]} is that of entry {item.internal_message_id}")
    return _entry(row, item, content)


def entry_without_record(row: ItemRow) -> QueuedItem:
    """What the columns alone tell of an entry whose record is damaged: for listings, never for delivery."""
    item = MailItem(
        internal_message_id=row[ID],
        network_message_id="",
        received_at=row[RECEIVED_AT],
        envelope=Envelope(),
        size=row[SIZE],
    )
    return _entry(row, item, None)


def _entry(row: ItemRow, item: MailItem, content: Content | None) -> QueuedItem:
    _, queue, key, status, _, due, deadline, _, content_id, _, retry_count, in_doubt, crash_count, _, error = row[:15]
    try:
        return QueuedItem(
            item=item,
            content=content,
            content_id=content_id,
            queue=QueueKind(queue),
            next_hop=next_hop_of(key),
            status=MessageStatus(status),
            due=due,
            deadline=deadline,
            retry_count=retry_count,
            last_error=error,
            in_doubt=bool(in_doubt),
            crash_count=crash_count,
        )
    except ValueError as error_found:
        raise StoreUnreadable(f"a column of entry {row[ID]} holds no legal value: {error_found}") from None


def state_row(state: QueueState) -> tuple[int, str, bytes]:
    """A queue's state as a row of `queue_state`; no record where it says no more than its absence does."""
    worth_keeping = state != QueueState(queue=state.queue, next_hop=state.next_hop)
    return int(state.queue), next_hop_key(state.next_hop), _encode(state) if worth_keeping else b""


def state_of(record: bytes) -> QueueState:
    """The reverse of `state_row`. Raises StoreUnreadable."""
    try:
        return _decode_state(record)
    except msgspec.MsgspecError as error:
        raise StoreUnreadable(f"the state of a queue cannot be read: {error}") from None
