# SPDX-License-Identifier: MIT
"""What a queue is called in commands and reports."""

from bridgehead.queues.store import QueueKind
from bridgehead.routing.next_hop import NextHop


def queue_identity(queue: QueueKind, next_hop: NextHop | None) -> str:
    """ "Submission", "Unreachable", "Poison", or "connector/next hop domain" for a delivery queue."""
    if queue is QueueKind.DELIVERY and next_hop is not None:
        return str(next_hop)
    return queue.name.capitalize()
