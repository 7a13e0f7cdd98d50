# SPDX-License-Identifier: MIT
"""Reads entries and contents from the database: what is due, one entry, listings, counts."""

import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from bridgehead.mail.content import BytesContent, Content
from bridgehead.queues.fairness import LANES, LaneKey, Shares
from bridgehead.queues.filtering import predicate
from bridgehead.queues.record import (
    CONTENT_ID,
    ID,
    ITEM_COLUMNS,
    LANE,
    TURN,
    ItemRow,
    entry_of,
    entry_without_record,
    next_hop_key,
    next_hop_of,
    state_of,
)  # fmt: skip
from bridgehead.queues.sqlite.content_files import FileContent, damage_of_file
from bridgehead.queues.sqlite.statements import Row, for_ids
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Place,
    QueuedItem,
    QueueKind,
    QueueState,
    QueueSummary,
    StoreUnreadable,
)  # fmt: skip
from bridgehead.routing.next_hop import NextHop

_FOLDED: Final = {
    "EFAC": frozenset("fflist"), "E1BA": frozenset("htwyas"), "C39F": frozenset("s"), "C4B0": frozenset("i"),
    "C4B1": frozenset("i"), "C589": frozenset("n"), "C5BF": frozenset("s"), "C7B0": frozenset("j"),
    "E284AA": frozenset("k"),
}  # fmt: skip
"""How characters begin in UTF-8 that are ASCII letters without case, and which."""
_PARTED: Final = re.compile(r"[*@<>]")
"""Addresses are stored in two parts."""
_SHORTEST_TEXT: Final = 3
RETRIES_SORTED: Final = 5_000
"""Of more due RETRY entries than this, those due for the longest and those whose turn is next are looked at."""

_READY: Final = " UNION ALL ".join(
    f"SELECT * FROM (SELECT {ITEM_COLUMNS} FROM item INDEXED BY item_ready"  # noqa: S608
    f" WHERE queue = ?1 AND next_hop = ?2 AND status = 0 AND lane = {lane} ORDER BY turn, id LIMIT ?3)"
    for lane in LANES
)
_ANY_READY: Final = "SELECT 1 FROM item INDEXED BY item_ready WHERE queue = ? AND next_hop = ? AND status = 0 LIMIT 1"
_LONGEST_DUE: Final = (
    "SELECT lane, turn, id"
    " FROM (SELECT lane, turn, id, row_number() OVER (PARTITION BY lane ORDER BY turn, id) AS place"
    " FROM (SELECT lane, turn, id FROM item INDEXED BY item_retry"
    " WHERE queue = ? AND next_hop = ? AND status = 2 AND due <= ? ORDER BY due LIMIT ?)) WHERE place <= ?"
)
_NEXT_IN_TURN: Final = (
    "SELECT lane, turn, id FROM (SELECT lane, turn, id, due FROM item INDEXED BY item_retry_turn"
    " WHERE queue = ? AND next_hop = ? AND status = 2 AND lane = ? ORDER BY turn, due LIMIT ?)"
    " WHERE due <= ? ORDER BY turn, id LIMIT ?"
)
_READY_BEHIND: Final = (
    f"SELECT {ITEM_COLUMNS} FROM item INDEXED BY item_ready WHERE queue = ? AND next_hop = ? AND status = 0"  # noqa: S608
    " AND (lane, turn, id) > (?, ?, ?) ORDER BY lane, turn, id LIMIT ?"
)
_FIRST_TURN: Final = (
    "SELECT min(turn) FROM (SELECT min(turn) AS turn FROM item INDEXED BY item_ready"
    " WHERE queue = ?1 AND next_hop = ?2 AND status = 0 AND lane = ?3"
    " UNION ALL SELECT min(turn) FROM item INDEXED BY item_retry_turn"
    " WHERE queue = ?1 AND next_hop = ?2 AND status = 2 AND lane = ?3)"
)
_BY_IDS: Final = f"SELECT {ITEM_COLUMNS} FROM item WHERE id IN (ids)"  # noqa: S608
_PAST_DEADLINE: Final = (
    f"SELECT {ITEM_COLUMNS} FROM item INDEXED BY item_deadline"  # noqa: S608
    " WHERE queue IN (1, 2) AND status IN (0, 2) AND deadline > 0 AND deadline <= ? ORDER BY deadline LIMIT ?"
)


def due_rows(
    connection: sqlite3.Connection, queue: QueueKind, next_hop: NextHop | None, now: float, limit: int, shares: Shares
) -> list[ItemRow]:
    """The first `limit` due entries of a queue: a share for each lane, within a lane by turn."""
    key = next_hop_key(next_hop)
    lanes: dict[int, list[tuple[int, int]]] = {}
    rows: dict[int, ItemRow] = {}
    for row in connection.execute(_READY, (int(queue), key, limit)):
        rows[row[ID]] = row
        lanes.setdefault(row[LANE], []).append((row[TURN], row[ID]))
    for lane, turn, number in _due_retries(connection, int(queue), key, now, limit):
        lanes.setdefault(lane, []).append((turn, number))
    for places in lanes.values():
        places.sort()
    chosen = [number for _, number in shares.chosen(lanes, limit)]
    for row in for_ids(connection, _BY_IDS, (number for number in chosen if number not in rows)):
        rows[row[ID]] = row
    return [rows[number] for number in chosen]


def _due_retries(
    connection: sqlite3.Connection, queue: int, key: str, now: float, limit: int
) -> set[tuple[int, int, int]]:
    """(lane, turn, id) of due entries in RETRY: in each lane the first `limit` of those that are looked at."""
    looked_at = max(limit, RETRIES_SORTED)
    found = set(connection.execute(_LONGEST_DUE, (queue, key, now, looked_at, limit)).fetchall())
    for lane in {place[0] for place in found} if len(found) >= limit else ():
        found.update(connection.execute(_NEXT_IN_TURN, (queue, key, lane, looked_at, now, limit)).fetchall())
    return found


def ready_behind(
    connection: sqlite3.Connection, queue: QueueKind, next_hop: NextHop | None, place: Place, limit: int
) -> list[tuple[Place, QueuedItem]]:
    """READY entries behind a place, without content; those that cannot be read are left out."""
    rows = connection.execute(_READY_BEHIND, (int(queue), next_hop_key(next_hop), *place, limit)).fetchall()
    found: list[tuple[Place, QueuedItem]] = []
    for row in rows:
        try:
            found.append(((row[LANE], row[TURN], row[ID]), entry_of(row)))
        except StoreUnreadable:
            continue  # its lease sets it aside
    return found


def first_turn(connection: sqlite3.Connection, lane: LaneKey) -> int | None:
    """The lowest turn that waits in a lane, None where nothing does."""
    turn: int | None = connection.execute(_FIRST_TURN, lane).fetchone()[0]
    return turn


def rows_past_deadline(connection: sqlite3.Connection, now: float, limit: int) -> list[ItemRow]:
    """Entries that are owed a report or their end, the oldest debt first."""
    return connection.execute(_PAST_DEADLINE, (now, limit)).fetchall()


def next_due(connection: sqlite3.Connection, queue: QueueKind, next_hop: NextHop | None) -> float | None:
    """0.0 when an entry is READY, else the earliest due time of those in RETRY, None without any."""
    key = next_hop_key(next_hop)
    if connection.execute(_ANY_READY, (int(queue), key)).fetchone() is not None:
        return 0.0
    row = connection.execute(
        "SELECT due FROM item INDEXED BY item_retry WHERE queue = ? AND next_hop = ? AND status = 2"
        " ORDER BY due LIMIT 1",
        (int(queue), key),
    ).fetchone()
    return None if row is None else float(row[0])


def contents_of(connection: sqlite3.Connection, folder: Path, ids: Iterable[int]) -> dict[int, Content | str]:
    """Content by id; in the place of one that is damaged or gone, the reason in words."""
    wanted = set(ids)
    found: dict[int, Content | str] = {}
    for key, size, crc, data in for_ids(
        connection, "SELECT id, size, crc, data FROM content WHERE id IN (ids)", wanted
    ):
        found[key] = damage_of_bytes(key, size, crc, data) or BytesContent(data)
    in_files = wanted.difference(found)
    if in_files:
        for key, size, crc, name in for_ids(
            connection, "SELECT id, size, crc, name FROM content_file WHERE id IN (ids)", in_files
        ):
            content = FileContent(folder / name, size, crc)
            found[key] = damage_of_file(content) or content
    for key in wanted.difference(found):
        found[key] = f"content {key} is missing"
    return found


def damage_of_bytes(key: int, size: int, crc: int, data: object) -> str:
    """What is wrong with content in a row, "" when nothing is."""
    if not isinstance(data, bytes) or len(data) != size:
        return f"content {key} has another size than the {size} octets stored"
    if zlib.crc32(data) != crc:
        return f"content {key} was damaged: its checksum differs"
    return ""


def one_entry(connection: sqlite3.Connection, folder: Path, key: int) -> QueuedItem | None:
    """An entry with its content. Raises StoreUnreadable where either is damaged, sqlite3.Error."""
    row = connection.execute(f"SELECT {ITEM_COLUMNS} FROM item WHERE id = ?", (key,)).fetchone()  # noqa: S608
    if row is None:
        return None
    content = contents_of(connection, folder, [row[CONTENT_ID]])[row[CONTENT_ID]]
    if isinstance(content, str):
        raise StoreUnreadable(content)
    return entry_of(row, content)


def listing(connection: sqlite3.Connection, wanted: ItemFilter) -> list[QueuedItem]:
    """Entries without content, oldest first. Damaged ones show what their columns say."""
    accepts = predicate(wanted)
    found: list[QueuedItem] = []
    for row in _rows_by_age(connection, wanted):
        entry = shown(row)
        if entry is not None and accepts(entry):
            found.append(entry)
            if len(found) >= wanted.limit:
                break
    return found


def shown(row: ItemRow) -> QueuedItem | None:
    """An entry for a listing: of a damaged one what its columns say, None where not even they are legal."""
    try:
        return entry_of(row)
    except StoreUnreadable:
        pass
    try:
        return entry_without_record(row)
    except StoreUnreadable:
        return None  # `verify` tells


def _rows_by_age(connection: sqlite3.Connection, wanted: ItemFilter) -> Iterator[ItemRow]:
    """Rows that the columns let through. Sorts ids only, so that a deep queue stays out of memory."""
    where, values = conditions(wanted)
    order = connection.execute(f"SELECT id FROM item{where} ORDER BY received_at, id", values)  # noqa: S608
    ids = (row[0] for row in order)
    while part := list(islice(ids, 256)):
        rows = {row[ID]: row for row in for_ids(connection, _BY_IDS, part)}
        yield from (rows[key] for key in part if key in rows)


def conditions(wanted: ItemFilter) -> tuple[str, Sequence[object]]:
    """What the columns can decide of a filter, as a WHERE clause with its values."""
    conditions: list[tuple[str, object]] = []
    if wanted.queue is not None:
        conditions.append(("queue = ?", int(wanted.queue)))
    if wanted.next_hop is not None:
        conditions.append(("next_hop = ?", next_hop_key(wanted.next_hop)))
    if wanted.status is not None:
        conditions.append(("status = ?", int(wanted.status)))
    if wanted.internal_message_id is not None:
        conditions.append(("id = ?", wanted.internal_message_id))
    conditions += [(f"{column} {operator} ?", value) for column, operator, value in wanted.ranges]
    # Texts stand in records as they are: SQLite finds them ten times faster than records are taken apart.
    ids = (wanted.network_message_id, wanted.message_id)
    texts = [text for text in ids if text and text.isascii() and "*" not in text]
    patterns = (wanted.sender, wanted.recipient, wanted.subject)
    texts += filter(None, (longest_text(_PARTED.split(pattern)) for pattern in patterns))
    conditions += [(_mentioned(text.lower()), text.lower()) for text in (*texts, *wanted.mentions)]
    where = " WHERE " + " AND ".join(text for text, _ in conditions) if conditions else ""
    return where, [value for _, value in conditions]


def longest_text(parts: Iterable[str]) -> str:
    """The part by which most entries can be told from those that fit, "" where none is fit for that."""
    plain = (part for part in parts if part.isascii() and '"' not in part and "\\" not in part)
    found = max(plain, key=len, default="")
    return found if len(found) >= _SHORTEST_TEXT else ""


def _mentioned(text: str) -> str:
    """The condition that a record may hold an ASCII text without case; its letters may be of another script, as the
    Kelvin sign is a k and ß two s."""
    others = "".join(f" OR instr(record, x'{octets}')" for octets, letters in _FOLDED.items() if letters & set(text))
    return f"(instr(lower(CAST(record AS TEXT)), ?){others})"


def count_waiting(connection: sqlite3.Connection, queue: QueueKind, limit: int) -> int:
    """Entries of a queue that are READY or in RETRY, up to `limit` of each, by their indexes alone."""
    counts = [
        connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM item WHERE queue = ? AND status = {status:d} LIMIT ?)",  # noqa: S608
            (int(queue), limit),
        ).fetchone()[0]
        for status in (MessageStatus.READY, MessageStatus.RETRY)
    ]
    return sum(counts)


def queue_states(connection: sqlite3.Connection) -> list[QueueState]:
    """The states that are kept."""
    return [state_of(record) for (record,) in connection.execute("SELECT record FROM queue_state").fetchall()]


def summaries(connection: sqlite3.Connection) -> list[QueueSummary]:
    """Every queue that holds an entry or has a state, by kind and next hop."""
    found: dict[tuple[int, str], QueueSummary] = {}

    def summary(queue: int, key: str) -> QueueSummary:
        if (queue, key) not in found:
            state = QueueState(queue=QueueKind(queue), next_hop=next_hop_of(key))
            found[queue, key] = QueueSummary(state=state, message_count=0, counts_by_status={})
        return found[queue, key]

    for queue, key, record in connection.execute("SELECT queue, next_hop, record FROM queue_state").fetchall():
        summary(queue, key).state = state_of(record)
    counts: list[Row] = connection.execute(
        "SELECT queue, next_hop, status, priority, count(*), min(received_at), sum(size) FROM item"
        " GROUP BY queue, next_hop, status, priority"
    ).fetchall()
    for queue, key, status, priority, count, oldest, size in counts:
        one = summary(queue, key)
        one.oldest_received = min(oldest, one.oldest_received) if one.message_count else oldest
        one.message_count += count
        one.counts_by_status[MessageStatus(status)] = one.counts_by_status.get(MessageStatus(status), 0) + count
        one.counts_by_priority[priority] = one.counts_by_priority.get(priority, 0) + count
        if status == MessageStatus.RETRY:
            one.deferred_by_priority[priority] = count
        one.total_bytes += size
    return [found[key] for key in sorted(found)]
