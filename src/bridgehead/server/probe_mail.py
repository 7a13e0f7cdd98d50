# SPDX-License-Identifier: MIT
"""Submits probe messages and shows their tracking events to who waits for them (`admin.probe.probe_mail`)."""

import asyncio
from typing import TYPE_CHECKING

from bridgehead.admin.probe.probe_mail import content_of
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.recipient import RecipientType
from bridgehead.mail.address import NULL, Mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import BodyType, Envelope, EnvelopeRecipient, Notify
from bridgehead.mail.identity import message_id_field, network_message_id
from bridgehead.mail.item import Directionality, MailItem, Source
from bridgehead.tracking.events import EventId, TrackingEvent, event_for

if TYPE_CHECKING:
    from bridgehead.server.app import Application

CONNECTOR = "Probe"
"""What stands for a connector in tracking."""


class ProbeTrail:
    """One message under way. Implements `admin.probe.probe_mail.Trail`."""

    def __init__(self, application: "Application", network_message_id: str) -> None:
        self.network_message_id = network_message_id
        self._events: asyncio.Queue[TrackingEvent] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._forget = application.tracker.observe(self._seen)

    def _seen(self, event: TrackingEvent) -> None:
        if event.network_message_id == self.network_message_id:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next_event(self, seconds: float) -> TrackingEvent | None:
        """The next event about it, None when the time is up."""
        try:
            async with asyncio.timeout(seconds):
                return await self._events.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        """Follow it no longer."""
        self._forget()


class ProbeMailer:
    """Implements `admin.probe.probe_mail.Mailer`."""

    def __init__(self, application: "Application") -> None:
        self._application = application

    async def submit_probe(self, recipient: Mailbox) -> ProbeTrail:
        """Commit a probe message to the Submission queue and follow it. Raises StoreFault."""
        app = self._application
        item, content = self._message(recipient)
        event = event_for(item, EventId.RECEIVE, Source.ADMIN, item.received_at, [str(recipient)])
        event.server_hostname, event.connector_id, event.source_context = app.fqdn, item.connector, "probe message"
        trail = ProbeTrail(app, item.network_message_id)
        try:
            await app.acceptance.submitted(item, BytesContent(content), event)
        except BaseException:
            trail.close()
            raise
        return trail

    def _is_group(self, recipient: Mailbox) -> bool:
        try:
            found = self._application.rooms.directory.find(recipient)
        except DirectoryUnavailable:
            return False
        return found is not None and found.type is RecipientType.GROUP

    def _message(self, recipient: Mailbox) -> tuple[MailItem, bytes]:
        app = self._application
        now = app.clock.now()
        network_id = network_message_id(app.random_bytes(16))
        domain = app.rooms.accepted_domains.default_name or app.fqdn
        # A group takes no mail with a null reverse-path: it would be a report.
        reverse_path = Mailbox("postmaster", domain) if self._is_group(recipient) else NULL
        message_id = message_id_field(network_id, app.fqdn)
        content = content_of(network_id, message_id, Mailbox("postmaster", domain), recipient, now)
        item = MailItem(
            internal_message_id=app.acceptance.allocate_id(),
            network_message_id=network_id,
            received_at=now,
            envelope=Envelope(
                reverse_path, [EnvelopeRecipient(recipient, Notify.NEVER)],
                body_type=BodyType.SEVEN_BIT, smtputf8=not recipient.is_ascii,
            ),
            size=len(content),
            message_id=message_id,
            subject=f"Bridgehead probe {network_id}",
            header_from=f"postmaster@{domain}",
            source=Source.ADMIN,
            connector=CONNECTOR,
            principal="system",
            authenticated=True,
            directionality=Directionality.ORIGINATING,
            strict=True,
        )  # fmt: skip
        return item, content
