# SPDX-License-Identifier: MIT
"""A real message submitted through the server and awaited at its destination (Exchange: Test-Mailflow).

It is followed by its tracking events, which tell of every step of the pipeline. Its null reverse-path, for a group
NOTIFY=NEVER, keeps a failure from becoming a report; its header says what it is.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, Protocol

from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.mail.address import Mailbox
from bridgehead.mail.limits import EXPANDED_RECIPIENTS, PROBE_STEPS
from bridgehead.mail.trace_fields import date_time
from bridgehead.tracking.events import COPIED, EventId, TrackingEvent
from bridgehead.tracking.outcomes import REASON_IN_CONTEXT

HEADER: Final = "X-Bridgehead-Probe"
"""Marks a probe message; its value is the network message id."""
_LEADS_ON: Final = frozenset({EventId.EXPAND, EventId.REDIRECT, EventId.RESOLVE, EventId.DUPLICATEEXPAND})
"""The address in related_recipient_address gives way to those in recipient_address."""
_ARRIVED: Final = frozenset({EventId.DELIVER, EventId.SEND})
_ENDS: Final = _ARRIVED | {EventId.FAIL, EventId.DROP, EventId.BADMAIL}
_NAMED: Final = 5


class Trail(Protocol):
    """A message under way, seen through its tracking events."""

    @property
    def network_message_id(self) -> str: ...

    async def next_event(self, seconds: float) -> TrackingEvent | None:
        """The next event about it, None when the time is up."""

    def close(self) -> None:
        """Follow it no longer."""


class Mailer(Protocol):
    """Submits a probe message, as the server itself."""

    async def submit_probe(self, recipient: Mailbox) -> Trail:
        """Raises StoreFault."""


def content_of(network_message_id: str, message_id: str, sender: Mailbox, recipient: Mailbox, now: float) -> bytes:
    """The probe message. `now`: Unix time."""
    to = recipient.in_ascii() or recipient
    return (
        f"Date: {date_time(now)}\r\n"
        f"From: Bridgehead <{sender}>\r\n"
        f"To: <{to}>\r\n"
        f"Subject: Bridgehead probe {network_message_id}\r\n"
        f"Message-ID: {message_id}\r\n"
        "Auto-Submitted: auto-generated\r\n"
        f"{HEADER}: {network_message_id}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        "\r\n"
        "This message tests whether mail arrives. An administrator asked for it; it can be deleted.\r\n"
    ).encode()


async def follow_probe(above: StepBuilder, mailer: Mailer | None, recipient: Mailbox, seconds: float) -> None:
    """Send a probe to `recipient` and add a step for each thing that becomes of it, until everybody whom it is for, the
    members of a group one by one, has it or has failed, or `seconds` are over."""
    if mailer is None:
        raise AdminFault(FAILED, "a probe message needs the running server", "start it with `bridgehead run`")
    with above.step(f"Sending a probe message to {recipient}") as step:
        trail = await mailer.submit_probe(recipient)
        step.add(f"network message id {trail.network_message_id}", f"header {HEADER}: {trail.network_message_id}")
        try:
            await _follow(step, trail, recipient, seconds)
        finally:
            trail.close()


class _Awaited:
    """Whom a probe is still to reach, and how it stands with each."""

    def __init__(self, recipient: Mailbox) -> None:
        self._news = {str(recipient).casefold(): (str(recipient), "it has not left the categorizer")}
        self._settled: set[str] = set()
        self.arrived = 0
        self.failed = 0

    @property
    def none(self) -> bool:
        """Nothing more is to come."""
        return not self._news

    def note(self, event: TrackingEvent, shown: str) -> None:
        """What an event says of those it names; groups and other names give way to who stands behind them."""
        if event.event_id in _LEADS_ON and event.source_context != COPIED:
            former = event.related_recipient_address.casefold()
            self._news.pop(former, None)
            self._settled.add(former)  # in a circle of groups it is named again
        for address in event.recipient_address:
            self._note(event.event_id, address, shown)

    def _note(self, event_id: EventId, address: str, shown: str) -> None:
        key = address.casefold()
        if key in self._settled:
            return
        if event_id in _ENDS:
            self._settled.add(key)
            self._news.pop(key, None)
            self.arrived += event_id in _ARRIVED
            self.failed += event_id is EventId.FAIL
        elif event_id is EventId.DEFER:
            self._news[key] = address, shown
        elif event_id in _LEADS_ON and len(self._settled) + len(self._news) < EXPANDED_RECIPIENTS:
            self._news.setdefault(key, (address, "nothing was heard of it"))

    def missing(self) -> list[str]:
        """Each whom it has not reached, and why."""
        return [f"{address}: {news}" for address, news in self._news.values()]


async def _follow(above: StepBuilder, trail: Trail, recipient: Mailbox, seconds: float) -> None:
    time = asyncio.get_running_loop().time
    deadline = time() + seconds
    awaited, steps = _Awaited(recipient), 0
    while not awaited.none:
        event = await trail.next_event(max(0.0, deadline - time()))
        if event is None:
            break
        shown = _sentence(event)
        awaited.note(event, shown)
        steps += 1
        if steps <= PROBE_STEPS:
            _show(above, event, shown)
    _conclude(above, trail, recipient, awaited, seconds)


def _show(above: StepBuilder, event: TrackingEvent, shown: str) -> None:
    with above.step(shown) as step:
        if event.event_id is EventId.FAIL:
            step.failed(shown, "bridgehead why explains the reply")
        elif event.event_id is EventId.DEFER:
            step.warned(shown, "it stays in the queue and is tried again")
        else:
            step.passed(shown)


def _conclude(above: StepBuilder, trail: Trail, recipient: Mailbox, awaited: _Awaited, seconds: float) -> None:
    """The verdict over everybody."""
    missing = awaited.missing()
    everybody = awaited.arrived + awaited.failed + len(missing)
    if missing:
        with above.step("Waiting for the rest") as step:
            step.add(*missing)
            rest = missing[0] if len(missing) == 1 else f"{len(missing)} of {everybody} wait, first {missing[0]}"
            step.failed(
                f"After {seconds:g} s the probe has not arrived for {rest}",
                f"bridgehead trace {trail.network_message_id}; it stays in the queue and is tried again",
            )
    elif awaited.failed:
        if everybody > 1:
            above.say(f"The probe message failed for {awaited.failed} of the {everybody} that {recipient} stands for")
    elif not awaited.arrived:
        above.warned(f"The probe message to {recipient} was dropped: it stands for nobody")
    else:
        whom = f"{recipient}" if everybody == 1 else f"each of the {everybody} that {recipient} stands for"
        above.say(f"The probe message arrived for {whom}")
        above.passed_in_the_end()


def _sentence(event: TrackingEvent) -> str:
    """What happened, in a sentence with time of day and the other side's words."""
    at = datetime.fromtimestamp(event.time, UTC).strftime("%H:%M:%S.%f")[:-3]
    status = "; ".join(event.recipient_status)
    if not status and event.event_id in REASON_IN_CONTEXT:
        status = event.source_context
    through = f' by "{event.connector_id}"' if event.connector_id else ""
    host = event.server_hostname or event.server_ip
    words = {
        EventId.RECEIVE: "The server has stored it",
        EventId.DELIVER: f"It was delivered to {host or 'the mailbox'}{through}",
        EventId.SEND: f"{host or 'The next hop'} has taken it{through}",
        EventId.DEFER: f"It was put off{through}",
        EventId.FAIL: f"It failed{through}",
    }
    what = words.get(event.event_id, f"{event.event_id.value.capitalize()}{through}")
    return f"{what} at {at}Z{_whom(event)}{f': {status}' if status else ''}"


def _whom(event: TrackingEvent) -> str:
    """Which recipients an event is about, the first few."""
    addresses = event.recipient_address
    if not addresses or event.event_id is EventId.RECEIVE:
        return ""
    more = f" and {len(addresses) - _NAMED} more" if len(addresses) > _NAMED else ""
    named = ", ".join(addresses[:_NAMED]) + more
    return f", {event.related_recipient_address} to {named}" if event.event_id in _LEADS_ON else f" for {named}"
