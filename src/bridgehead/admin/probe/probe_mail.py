# SPDX-License-Identifier: MIT
"""A real message submitted through the server and awaited at its destination (Exchange: Test-Mailflow).

It is followed by its tracking events, which tell of every step of the pipeline. Its null reverse-path keeps a failure
from becoming a report; its header says what it is.
"""

from datetime import UTC, datetime
from typing import Final, Protocol

from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.mail.address import Mailbox
from bridgehead.mail.trace_fields import date_time
from bridgehead.tracking.events import EventId, TrackingEvent

HEADER: Final = "X-Bridgehead-Probe"
"""Marks a probe message; its value is the network message id."""


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
    """Send a probe to `recipient` and add a step for each thing that becomes of it, until it has arrived or failed."""
    if mailer is None:
        raise AdminFault(FAILED, "a probe message needs the running server", "start it with `bridgehead run`")
    with above.step(f"Sending a probe message to {recipient}") as step:
        trail = await mailer.submit_probe(recipient)
        step.add(f"network message id {trail.network_message_id}", f"header {HEADER}: {trail.network_message_id}")
        try:
            await _follow(step, trail, recipient, seconds)
        finally:
            trail.close()


async def _follow(above: StepBuilder, trail: Trail, recipient: Mailbox, seconds: float) -> None:
    last = "it has not left the categorizer"
    while True:
        with above.step("Waiting for the next event") as step:
            event = await trail.next_event(seconds)
            if event is None:
                step.failed(
                    f"After {seconds:g} s more the probe has not arrived: {last}",
                    f"bridgehead trace {trail.network_message_id}; it stays in the queue and is tried again",
                )
                return
            shown = _sentence(event)
            if event.event_id is EventId.FAIL:
                step.failed(shown, "bridgehead why explains the reply")
                return
            if event.event_id is EventId.DEFER:
                last = shown
                step.warned(shown, "it stays in the queue and is tried again")
                continue
            step.passed(shown)
            if event.event_id in (EventId.DELIVER, EventId.SEND):
                above.say(f"The probe message arrived for {recipient}: {shown}")
                above.passed_in_the_end()
                return


def _sentence(event: TrackingEvent) -> str:
    """What happened, in a sentence with time of day and the other side's words."""
    at = datetime.fromtimestamp(event.time, UTC).strftime("%H:%M:%S.%f")[:-3]
    status = "; ".join(event.recipient_status)
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
    return f"{what} at {at}Z{f': {status}' if status else ''}"
