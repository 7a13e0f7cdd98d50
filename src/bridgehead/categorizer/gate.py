# SPDX-License-Identifier: MIT
"""The gate before the delivery queues: what administrators' standing rules order for the parts of a message."""

import msgspec

from bridgehead.categorizer.bifurcate import Part
from bridgehead.categorizer.ports import Gate
from bridgehead.categorizer.refusals import by_standing_rule
from bridgehead.categorizer.resolution import Copy
from bridgehead.queues.store import QueuedItem, QueueKind


def through_gate(gate: Gate, entry: QueuedItem, copies: list[Copy], parts: list[Part]) -> list[Part]:
    """The parts that go on, those to be held with their `handling`. Recipients of a part that fails become results, in
    a copy of their own, so that their report and their events name the rule."""
    kept = []
    for part in parts:
        handling = gate.judge(_as_placed(entry, part))
        if handling is not None and handling.with_ndr:
            status = by_standing_rule(handling.reason)
            results = [(recipient, status) for recipient in part.recipients]
            copies.append(Copy(part.reverse_path, [], results, handling))
            continue
        part.handling = handling
        kept.append(part)
    return kept


def _as_placed(entry: QueuedItem, part: Part) -> QueuedItem:
    """The entry as it would stand in its queue, without content."""
    item = entry.item
    envelope = msgspec.structs.replace(item.envelope, reverse_path=part.reverse_path, recipients=part.recipients)
    return QueuedItem(
        item=msgspec.structs.replace(item, envelope=envelope),
        content=None,
        content_id=entry.content_id,
        queue=QueueKind.UNREACHABLE if part.next_hop is None else QueueKind.DELIVERY,
        next_hop=part.next_hop,
    )
