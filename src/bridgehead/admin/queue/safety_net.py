# SPDX-License-Identifier: MIT
"""The Safety Net for operators: how it is, what is in it, and requests to resubmit out of it (Exchange's
*-ResubmitRequest).

The work is that of `delivery.resubmission`; here it gets its words.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.times import moment
from bridgehead.delivery.resubmission import TooMany
from bridgehead.delivery.resubmit_request import Request, Wanted
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LIST_RESULTS, LOGGED_TEXT
from bridgehead.queues.safety_net.frames import Kept
from bridgehead.queues.safety_net.net import SafetyNetFacts
from bridgehead.queues.store import QueueKind

EVER = 2.0**40
"""A Unix time after every delivery."""


class SafetyNetDesk(Protocol):
    """The running server's net and the requests to it; `delivery.resubmission.Resubmissions` is it."""

    async def facts(self) -> SafetyNetFacts: ...

    async def latest(self) -> Sequence[Request]: ...

    async def find(self, number: int) -> Request | None: ...

    async def start(self, wanted: Wanted, *, dry_run: bool, by: str, reason: str) -> Request: ...

    async def cancel(self, number: int) -> bool: ...

    async def listing(self, wanted: Wanted, limit: int) -> tuple[list[Kept], bool]: ...


class Selection(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which delivered mail is meant; all given parts must hold, and text is compared as `*` pattern.

    Attributes:
        start, end: time of delivery.
        recipient: only the recipients that fit are meant. sender: "<>" for reports.
        next_hop: domain, smart hosts, mailbox store, or identity of the queue. connector: send connector by name.
    """

    start: datetime | None = None
    end: datetime | None = None
    recipient: str = ""
    sender: str = ""
    next_hop: str = ""
    connector: str = ""
    message_id: str = ""
    network_message_id: str = ""


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """One request to resubmit.

    Attributes:
        state: Running, Completed, Cancelled or Failed.
        dry_run: it only counts.
        scanned: messages of the net looked at so far; delivered_until: when the last of them was delivered.
        matched, recipients, octets: those that fit; of a dry run, what would be resubmitted.
        resubmitted: messages put into Submission.
        left_alone: messages that fit and had been resubmitted themselves.
        problems: what could not be read.
    """

    id: int
    state: str
    dry_run: bool
    by: str
    reason: str
    selection: Selection
    started: datetime | None
    finished: datetime | None
    scanned: int
    delivered_until: datetime | None
    matched: int
    recipients: int
    octets: int
    resubmitted: int
    left_alone: int
    problems: list[str]


class SafetyNetView(msgspec.Struct, frozen=True, kw_only=True):
    """How the Safety Net is.

    Attributes:
        enabled: safety_net_hold_time is not 0.
        hold_time_seconds: as set.
        kept_since: horizon: what was delivered before is not there.
        cut_short: when mail was last dropped before its time for want of space; null for never since the start.
        used, max_size: octets; max_size is what may be used now, the setting or half of the space that others leave.
        kept, lost: messages since the start; lost are those that could not be kept, though they were delivered.
        trouble: why nothing can be kept at present, "" while it can.
    """

    enabled: bool
    hold_time_seconds: int
    kept_since: datetime | None
    cut_short: datetime | None
    used: int
    max_size: int
    segments: int
    kept: int
    lost: int
    trouble: str
    requests: list[RequestView]


class KeptView(msgspec.Struct, frozen=True, kw_only=True):
    """One delivered message in the net."""

    delivered: datetime | None
    internal_message_id: int
    network_message_id: str
    message_id: str
    sender: str
    recipients: list[str]
    subject: str
    size: int
    next_hop: str
    received: datetime | None
    resubmitted: bool


class KeptList(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that fit, oldest first; `more`: there are others behind them."""

    messages: list[KeptView]
    more: bool


async def show_safety_net(desk: SafetyNetDesk) -> SafetyNetView:
    """How it is, with its latest requests."""
    facts = await desk.facts()
    return SafetyNetView(
        enabled=facts.enabled, hold_time_seconds=int(facts.hold_time), kept_since=moment(facts.oldest),
        cut_short=moment(facts.cut_short_at), used=facts.used, max_size=facts.max_size, segments=facts.segments,
        kept=facts.kept, lost=facts.lost, trouble=facts.trouble,
        requests=[view_request(one) for one in await desk.latest()],
    )  # fmt: skip


async def list_kept(desk: SafetyNetDesk, selection: Selection, limit: int = LIST_RESULTS) -> KeptList:
    """What is in the net. Raises AdminFault."""
    found, more = await desk.listing(_wanted(selection), limit)
    return KeptList(messages=[_view(kept) for kept in found], more=more)


async def resubmit(desk: SafetyNetDesk, selection: Selection, *, dry_run: bool, by: str, reason: str) -> RequestView:
    """Begin a request. Raises AdminFault, StoreFault."""
    if selection == Selection():
        raise AdminFault(
            INVALID, "nothing says which mail is meant", "give a time, a recipient, a sender or a next hop"
        )
    wanted = _wanted(selection)
    try:
        request = await desk.start(wanted, dry_run=dry_run, by=by, reason=clean_text(reason, LOGGED_TEXT))
    except TooMany:
        raise too_many() from None
    return view_request(request)


def too_many() -> AdminFault:
    """The fault of one request more than may run."""
    return AdminFault(
        FAILED, "as many requests run as may at a time", "wait for one, or cancel one: bridgehead safety-net status"
    )


async def cancel(desk: SafetyNetDesk, number: int) -> RequestView:
    """Stop a request; what it resubmitted by then is on its way. Raises AdminFault."""
    request = await _request(desk, number)
    if not await desk.cancel(number):
        raise AdminFault(INVALID, f"request {number} is over: {request.state.value}")
    return view_request(await _request(desk, number))


async def show_request(desk: SafetyNetDesk, number: int) -> RequestView:
    """How far a request is. Raises AdminFault."""
    return view_request(await _request(desk, number))


async def _request(desk: SafetyNetDesk, number: int) -> Request:
    request = await desk.find(number)
    if request is None:
        raise AdminFault(NOT_FOUND, f"there is no request {number}", "bridgehead safety-net status shows the latest")
    return request


def view_request(request: Request) -> RequestView:
    """A request as people see it."""
    wanted = request.wanted
    return RequestView(
        id=request.id, state=request.state.value, dry_run=request.dry_run, by=request.by, reason=request.reason,
        selection=Selection(
            start=moment(wanted.start), end=moment(wanted.end), recipient=wanted.recipient, sender=wanted.sender,
            next_hop=wanted.next_hop, connector=wanted.connector, message_id=wanted.message_id,
            network_message_id=wanted.network_message_id,
        ),
        started=moment(request.started_at), finished=moment(request.finished_at), scanned=request.scanned,
        delivered_until=moment(request.delivered_until), matched=request.matched, recipients=request.recipients,
        octets=request.octets, resubmitted=request.resubmitted, left_alone=request.left_alone,
        problems=list(request.problems),
    )  # fmt: skip


def _wanted(selection: Selection) -> Wanted:
    for name in ("start", "end"):
        time = getattr(selection, name)
        if time is not None and time.tzinfo is None:
            raise AdminFault(INVALID, f"{name} lacks a time zone", "for example 2026-11-23T09:00:00Z")
    start = selection.start.timestamp() if selection.start else 0.0
    end = selection.end.timestamp() if selection.end else EVER
    if start > end:
        raise AdminFault(INVALID, "the time span ends before it begins")
    return Wanted(
        start=start, end=end, recipient=selection.recipient, sender=selection.sender, next_hop=selection.next_hop,
        connector=selection.connector, message_id=selection.message_id,
        network_message_id=selection.network_message_id,
    )  # fmt: skip


def _view(kept: Kept) -> KeptView:
    item = kept.item
    return KeptView(
        delivered=moment(kept.at), internal_message_id=item.internal_message_id,
        network_message_id=item.network_message_id, message_id=item.message_id,
        sender=str(item.envelope.reverse_path) or "<>",
        recipients=item.envelope.recipient_addresses(), subject=item.subject, size=item.size,
        next_hop=queue_identity(QueueKind.DELIVERY, kept.next_hop) if kept.next_hop else "",
        received=moment(item.received_at), resubmitted=item.source.value == "SAFETYNET",
    )  # fmt: skip
