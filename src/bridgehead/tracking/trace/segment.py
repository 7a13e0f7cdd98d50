# SPDX-License-Identifier: MIT
"""What the index keeps of one stretch of a log: its messages in columns, each a text or an array; pure.

A message is a number, the same in all columns. A column of text holds its different values one a line, a value that
occurs in many messages once, and says for each message which line is its own. Several values of one message stand in
one line, each between tabs, so that a whole value is found as well as its beginning, end or any part, by one search for
bytes. All text is folded. Making a segment costs some microseconds an event: values are neither sorted nor looked up.
"""

import csv
from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

import msgspec

from bridgehead.tracking.event_line import LineFormat, fold, stamp_milliseconds
from bridgehead.tracking.outcomes import BITS, Status, after_event

TAB: Final = b"\t"
SEPARATOR: Final = b"\t\n\t"
"""Parts the lines of a text."""
FACET: Final = b"\x1f"
"""Parts event, source and both names of the connector."""
ANY_STATE: Final = 0xFF
"""What became of a message cannot be said without looking at its lines."""
TEXTS: Final = ("key", "sender", "recipient", "subject", "message", "internal", "reference", "origin", "facet")
"""Columns of text. `message` are Message-IDs without brackets; `facet` is what happened, where."""
ARRAYS: Final = {"hash": "Q", "first": "q", "last": "q", "ends": "I", "offsets": "I"}
"""`hash`: checksum of the key in the upper half, number in the lower, sorted; `first`, `last`: times in milliseconds;
`ends`: where a message's part of `offsets` ends, which are positions of lines from the segment's beginning."""
_COLUMNS: Final = (
    "date-time", "network-message-id", "source-context", "event-id", "source", "connector-id", "client-ip",
    "recipient-address", "related-recipient-address", "message-id", "internal-message-id", "reference",
    "message-subject", "sender-address", "return-path", "original-client-ip",
)  # fmt: skip
(
    _TIME, _NETWORK, _CONTEXT, _EVENT, _SOURCE, _CONNECTOR, _CLIENT, _RECIPIENT, _RELATED, _MESSAGE, _INTERNAL,
    _REFERENCE, _SUBJECT, _SENDER, _PATH, _ORIGINAL, _OFFSET, _WHEN,
) = range(18)  # fmt: skip
_COMMON: Final = slice(_MESSAGE, _ORIGINAL + 1)
"""What all events of an ordinary message say alike."""
_FROM_CLIENTS: Final = (b"RECEIVE", b"SUBMIT")
_OPEN: Final = BITS[Status.PENDING] | BITS[Status.DEFERRED] | BITS[Status.POISON]
Row = tuple[Any, ...]
"""The columns that are looked at, in the order of _COLUMNS, the line's position, and its time in milliseconds."""
Groups = dict[bytes, list[Row]]
States = dict[str, Status]
"""How each recipient stands."""


class Segment(msgspec.Struct):
    """One stretch of a log.

    Attributes:
        keys: of its messages, by number.
        parts: texts and arrays as octets, by name; "NAME.ids" says which line of a text is each message's own, and is
            not there where that is the line of its number.
        states: `outcomes.BITS` of each message, one octet; what became of it by the events in here.
        first, newest, last: times of the first event, of the first event of the message that began last, of the last.
    """

    keys: list[bytes]
    parts: dict[str, bytes]
    states: bytearray
    first: int
    newest: int
    last: int
    events: int


def make_segment(groups: Groups) -> Segment:
    """The segment of some events; at least one. Brings the rows of each message into the order of time."""
    keys, messages = list(groups), list(groups.values())
    states = bytearray()
    firsts, lasts = array("q"), array("q")
    ends, offsets = array("I"), array("I")
    for rows in messages:
        if len(rows) > 1:
            if any(row[_TIME] < before[_TIME] for before, row in pairwise(rows)):
                rows.sort(key=itemgetter(_TIME))
            times = [row[_WHEN] for row in rows]
            firsts.append(min(times))
            lasts.append(max(times))
        else:
            firsts.append(rows[0][_WHEN])
            lasts.append(rows[0][_WHEN])
        offsets.extend([row[_OFFSET] for row in rows])
        ends.append(len(offsets))
        states.append(_state_bits(rows))
    hashes = sorted([(crc32(key) << 32) | number for number, key in enumerate(keys)])
    parts = {
        "hash": array("Q", hashes).tobytes(), "first": firsts.tobytes(), "last": lasts.tobytes(),
        "ends": ends.tobytes(), "offsets": offsets.tobytes(),
    }  # fmt: skip
    parts["key"] = TAB + SEPARATOR.join(keys) + TAB  # folded already, as far as it is to be
    for name, lines in zip(TEXTS[1:], zip(*map(_lines, messages), strict=True), strict=True):
        parts |= _text(name, lines)
    return Segment(keys, parts, states, min(firsts), max(firsts), max(lasts), len(offsets))


def _text(name: str, lines: tuple[bytes, ...]) -> dict[str, bytes]:
    """A column of text."""
    numbers = {line: number for number, line in enumerate(dict.fromkeys(lines))}
    text = TAB + SEPARATOR.join(numbers) + TAB
    parts = {name: text.lower() if text.isascii() else TAB + SEPARATOR.join(map(folded, numbers)) + TAB}
    if len(numbers) < len(lines):
        parts[f"{name}.ids"] = array("I", map(numbers.__getitem__, lines)).tobytes()
    return parts


def folded(text: bytes) -> bytes:
    """`fold` for octets; what is no UTF-8 is replaced as in lines that are read."""
    return text.lower() if text.isascii() else fold(text.decode("utf-8", "replace")).encode()


# --- values of one message --------------------------------------------------------------------------------------------


def _lines(rows: list[Row]) -> tuple[bytes, ...]:
    """A message's lines in the columns of TEXTS after the key."""
    row = rows[0]
    common = row[_COMMON]
    for other in rows:
        if other[_COMMON] != common:
            return _lines_apart(rows)
    message, internal, reference, subject, sender, path, original = common
    return (
        sender if sender == path else sender + TAB + path, _recipients(rows), subject, message.strip(b"<>"), internal,
        reference, original or _origins(rows), _facets(rows),
    )  # fmt: skip


def _lines_apart(rows: list[Row]) -> tuple[bytes, ...]:
    """The same for events that differ in more than what happened."""
    message_ids = dict.fromkeys(row[_MESSAGE].strip(b"<>") for row in rows)
    return (
        _values(rows, _SENDER, _PATH), _recipients(rows), _values(rows, _SUBJECT), TAB.join(message_ids),
        _values(rows, _INTERNAL), _values(rows, _REFERENCE), _origins(rows), _facets(rows),
    )  # fmt: skip


def _values(rows: list[Row], *columns: int) -> bytes:
    """Different values of some columns between tabs."""
    return TAB.join(dict.fromkeys(row[column] for row in rows for column in columns))


def _recipients(rows: list[Row]) -> bytes:
    first: bytes = rows[0][_RECIPIENT]
    for row in rows:
        if row[_RECIPIENT] != first or row[_RELATED]:
            break
    else:
        return first.replace(b";", TAB)
    found = dict.fromkeys(one for row in rows for one in row[_RECIPIENT].split(b";"))
    found.update(dict.fromkeys(row[_RELATED] for row in rows if row[_RELATED]))
    return TAB.join(found)


def _origins(rows: list[Row]) -> bytes:
    found = {row[_ORIGINAL] or (row[_CLIENT] if row[_EVENT] in _FROM_CLIENTS else b"") for row in rows}
    return TAB.join(sorted(found - {b""}))


def _facets(rows: list[Row]) -> bytes:
    return _joined(tuple([row[_EVENT : _CONNECTOR + 1] for row in rows]))


@lru_cache(maxsize=4096)
def _joined(facets: tuple[tuple[bytes, bytes, bytes], ...]) -> bytes:
    return TAB.join(sorted({_facet(*facet) for facet in facets}))


def _facet(event_id: bytes, source: bytes, connector: bytes) -> bytes:
    """What happened where; one whose parts could not be told apart is only FACET, which fits all."""
    parts = (event_id, source, connector, connector.rpartition(b"\\")[2])
    return FACET if any(TAB in part or FACET in part for part in parts) else FACET.join(parts)


# --- what became of a message -----------------------------------------------------------------------------------------


def _state_bits(rows: list[Row]) -> int:
    recipient: bytes = rows[0][_RECIPIENT]
    if recipient and b";" not in recipient:
        for row in rows:
            if row[_RECIPIENT] != recipient or row[_RELATED]:
                break
        else:
            return _bits_of_one(tuple([row[_EVENT] for row in rows]))
    return bits_of(after_rows({}, rows))


@lru_cache(maxsize=16_384)
def _bits_of_one(event_ids: tuple[bytes, ...]) -> int:
    """What became of a message with one recipient."""
    states: States = {}
    for event_id in event_ids:
        after_event(states, _event_id(event_id), ("one",), "")
    return bits_of(states)


def after_rows(states: States, rows: list[Row]) -> States:
    """How recipients stand after some more events."""
    for row in rows:
        recipients = row[_RECIPIENT].decode("utf-8", "replace")
        related = row[_RELATED].decode("utf-8", "replace")
        after_event(states, _event_id(row[_EVENT]), recipients.split(";") if recipients else (), related)
    return states


@lru_cache(maxsize=256)
def _event_id(cell: bytes) -> str:
    return cell.decode("utf-8", "replace")


def bits_of(states: States) -> int:
    """The set of states that occur."""
    bits = 0
    for state in states.values():
        bits |= BITS[state]
    return bits


def is_open(bits: int) -> bool:
    """Whether more is to be expected of a message."""
    return bits & _OPEN != 0


def times(rows: list[Row]) -> tuple[str, str]:
    """Stamps of a message's first and last event, whose rows are in order."""
    return rows[0][_TIME].decode(), rows[-1][_TIME].decode()


# --- lines ------------------------------------------------------------------------------------------------------------


def read_rows(line_format: LineFormat, data: bytes, skipped: int, report: Callable[[int, str], None]) -> Groups:
    """The events of whole lines by their message's key, in the order of the lines.

    Args:
        skipped: octets at the beginning that are no line.
        report: told position and reason of each line that cannot be read.
    """
    groups: Groups = {}
    columns = line_format.columns
    width = len(columns)
    time = columns.index("date-time")
    missing, offset_at, when_at = range(width, width + 3)
    picked = [columns.index(name) if name in columns else missing for name in _COLUMNS]
    pick, to_last = itemgetter(*picked, offset_at, when_at), width - 1 in picked
    lines = data[skipped:].split(b"\n")
    for offset, line in zip(accumulate((len(line) + 1 for line in lines), initial=skipped), lines, strict=False):
        if not line or line[0] == 35:
            continue
        if to_last or b'"' in line:
            line = line.removesuffix(b"\r")
        cells: list[Any] = line.split(b",") if b'"' not in line else _quoted(line)
        if len(cells) == width and (when := stamp_milliseconds(cells[time])):
            cells += (b"", offset, when)
            row = pick(cells)
            key = row[_NETWORK] or row[_MESSAGE]
            key = folded(key) if key else _valid(row[_TIME] + b" " + row[_CONTEXT])
            group = groups.get(key)
            if group is None:
                groups[key] = [row]
            else:
                group.append(row)
        elif line != b"\r" and isinstance(wrong := line_format.parse(line.removesuffix(b"\r")), str):
            report(offset, wrong)
    return groups


def _quoted(line: bytes) -> list[bytes]:
    """Cells of a line with quotation marks; none where it is no CSV."""
    try:
        return [cell.encode() for cell in next(csv.reader((line.decode("utf-8", "replace"),), strict=True))]
    except csv.Error:
        return []


def _valid(text: bytes) -> bytes:
    return text if text.isascii() else text.decode("utf-8", "replace").encode()
