# SPDX-License-Identifier: MIT
"""What the index keeps of one message: enough to find it by any criterion, and where its lines stand; pure."""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from bridgehead.tracking.criteria import connector_names, recipients, senders
from bridgehead.tracking.event_line import FoundEvent, fold
from bridgehead.tracking.outcomes import outcomes_of, status_bits

_PLACE: Final = struct.Struct("<IQQ")
SEPARATOR: Final = "\n"
"""Parts texts that hold several values; no cell of a log holds it."""


class Stored(msgspec.Struct, frozen=True, order=True, gc=False):
    """One event in the index: number of its file there, offset of its line, time in milliseconds."""

    file: int
    offset: int
    time: int


class Document(msgspec.Struct):
    """One message as the index knows it; all text folded.

    Attributes:
        first, last: times of its first and last event in milliseconds.
        states: `outcomes.BITS` of what became of its recipients.
        senders, origins, subjects: the values that occur, sorted and joined.
        facets: "event source connector connector" of each kind of event, sorted and joined.
        recipients: every address that `recipient` finds it by.
        identifiers: (kind, text) of message ids "m", internal ids "i", references "r".
    """

    first: int
    last: int
    states: int
    senders: str
    origins: str
    subjects: str
    facets: str
    recipients: set[str]
    identifiers: set[tuple[str, str]]


def document(events: Sequence[FoundEvent]) -> Document:
    """The document of a message's events, which are in the order of time."""
    named: set[str] = set()
    identifiers: set[tuple[str, str]] = set()
    for event in events:
        named.update(recipients(event))
        identifiers.add(("m", event.message_id.strip("<>")))
        identifiers.add(("i", event.internal_message_id))
        identifiers.add(("r", event.reference))
    times = [event.milliseconds for event in events]
    return Document(
        first=min(times),
        last=max(times),
        states=status_bits(outcomes_of(events)),
        senders=joined(sender for event in events for sender in senders(event)),
        origins=joined(event.origin for event in events),
        subjects=joined(event.message_subject for event in events),
        facets=joined(facet(event) for event in events),
        recipients={fold(text) for text in named if text},
        identifiers={(kind, fold(text)) for kind, text in identifiers if text},
    )


def facet(event: FoundEvent) -> str:
    """Event, source and both names of the connector, parted by tabs (no cell holds one)."""
    return "\t".join((event.event_id, event.source, *connector_names(event)))


def joined(texts: Iterable[str]) -> str:
    """Different texts folded, sorted and joined."""
    different = set(texts)
    different.discard("")
    if len(different) == 1:
        return _folded(different.pop())
    return SEPARATOR.join(sorted({_folded(text) for text in different}))


_folded: Final = lru_cache(maxsize=16_384)(fold)
"""Senders, addresses and connectors come again and again."""


def pack(places: Iterable[Stored]) -> bytes:
    """Places as the index keeps them."""
    return b"".join(_PLACE.pack(place.file, place.offset, place.time) for place in places)


def unpack(data: bytes) -> list[Stored]:
    """Places as the index kept them. Raises struct.error on a torn record."""
    return [Stored(*record) for record in _PLACE.iter_unpack(data)]
