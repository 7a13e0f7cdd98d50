# SPDX-License-Identifier: MIT
"""The gate before the delivery queues: what administrators' standing rules order for the parts of a message."""

import msgspec

from bridgehead.categorizer.bifurcate import Part
from bridgehead.categorizer.ports import Gate
from bridgehead.categorizer.refusals import by_standing_rule
from bridgehead.categorizer.resolution import Copy
from bridgehead.mail.item import Handling, MailItem
from bridgehead.queues.store import QueuedItem, QueueKind
from bridgehead.tracking.agent_log import AgentEvent
from bridgehead.tracking.ports import AgentLog


def through_gate(
    gate: Gate, entry: QueuedItem, copies: list[Copy], parts: list[Part], agent_log: AgentLog, now: float
) -> list[Part]:
    """The parts that go on, those to be held with their `handling`. Recipients of a part that fails become results, in
    a copy of their own, so that their report and their events name the rule; the agent log learns of them."""
    kept = []
    for part in parts:
        handling = gate.judge(_as_placed(entry, part))
        if handling is not None and handling.with_ndr:
            status = by_standing_rule(handling.reason)
            results = [(recipient, status) for recipient in part.recipients]
            copies.append(Copy(part.reverse_path, [], results, handling))
            agent_log.record(_refused(entry.item, part, handling, status.diagnostic, now))
            continue
        part.handling = handling
        kept.append(part)
    return kept


def _refused(item: MailItem, part: Part, handling: Handling, response: str, now: float) -> AgentEvent:
    """What the agent log says of recipients that a standing rule fails."""
    return AgentEvent(
        time=now,
        session_id="",
        local_endpoint="",
        remote_endpoint="",
        client_ip=item.client_ip,
        agent="Standing Rule",
        event="OnRoutedMessage",
        action="RejectRecipients",
        smtp_response=response,
        reason=f"Rule {handling.rule}",
        reason_data=handling.reason,
        message_id=item.message_id,
        p1_from=str(part.reverse_path) or "<>",
        p2_from=item.header_from,
        recipients=tuple(str(recipient.forward_path) for recipient in part.recipients),
        network_message_id=item.network_message_id,
        directionality=item.directionality.value,
    )


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
