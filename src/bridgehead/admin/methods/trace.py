# SPDX-License-Identifier: MIT
"""Methods of message tracking: search, and the story of one message."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.messages import list_messages
from bridgehead.admin.trace.trace_story import Story, tell
from bridgehead.admin.trace.tracking import TracePage, criteria, page
from bridgehead.mail.limits import TRACE_TEXT
from bridgehead.queues.store import ItemFilter
from bridgehead.tracking.trace.criteria import AskedOf

_ENTRIES: Final = 5_000
"""Queued forks of one message that its story looks at."""


class TraceSearch(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Criteria, which must all hold for one event of a message; in texts `*` stands for any text.

    Attributes:
        subject: words, or a pattern.
        source_address: client that handed the message in: an address, a range such as 10.2.0.0/16, a pattern.
        status: delivered, failed, deferred, pending, expanded, redirected, dropped or poison.
        start, end: times with zone; `end` is not included.
        limit: most messages on a page.
        after: `next` of the page before.
        events: give the events that fit, too.
    """

    status: str = ""
    limit: int = 100
    events: bool = False


class TraceIdentity(msgspec.Struct, forbid_unknown_fields=True):
    """A message's network message id, Message-ID or internal message id."""

    identity: str


async def search(server: RunningServer, params: TraceSearch, _: Caller) -> TracePage:
    """Messages by their tracking events, the newest first."""
    wanted = msgspec.structs.asdict(params)
    with_events = wanted.pop("events")
    return page(await server.traces.search(criteria(**wanted)), with_events=with_events)


async def story(server: RunningServer, params: TraceIdentity, _: Caller) -> Story:
    """One message from its first event to its last: received, resolved, routed, each attempt, and how it ended."""
    if len(params.identity) > TRACE_TEXT:
        raise AdminFault(INVALID, f"an id is longer than {TRACE_TEXT} characters", "")
    traces = server.traces
    found = await traces.evidence(params.identity)
    if found is None:
        message = f"the tracking logs know no message {params.identity}"
        raise AdminFault(NOT_FOUND, message, "bridgehead trace --recipient ADDRESS --start 7d")
    network_id = next((event.network_message_id for event in found.message.events if event.network_message_id), "")
    wanted = ItemFilter(network_message_id=network_id, limit=_ENTRIES)
    queued = await list_messages(server, wanted) if network_id else []
    now, flights = datetime.fromtimestamp(server.now(), UTC), server.diagnostics.attempts()
    return tell(
        found, traces.connectors, traces.revision, queued, now, traces.past, flights, server.diagnostics.opening
    )  # fmt: skip


def _owner(answers: Sequence[Story], _: TraceIdentity) -> Story:
    """The logs tell all the same; who tried to deliver the message knows what was said, who has it in a queue knows
    until now."""
    return max(answers, key=lambda one: (sum(len(step.transcript) for step in one.steps), one.total_seconds))


METHODS: Final = {
    "trace.search": Method(
        params=TraceSearch, result=TracePage, answer=search, role=Role.HELP_DESK, route="GET /trace",
        merge=Merge(Ask.FIRST, before="worker.flush_logs"),
    ),
    "trace.story": Method(
        params=TraceIdentity, result=Story, answer=story, role=Role.HELP_DESK, route="GET /trace/{identity}",
        merge=Merge(Ask.KNOWING, _owner, before="worker.flush_logs"),
    ),
}  # fmt: skip
