# SPDX-License-Identifier: MIT
"""Reports to senders, made into messages of our own that go the way of all mail, from Submission on.

Who is told is decided by `dsn.notify`, how a report looks by `dsn.compose`; here identity, time and settings join. A
report that returns a message of a file is a draft at first: that is read on a thread, and written to a file of its own
piece by piece, while the event loop goes on.
"""

import asyncio
import io
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import BinaryIO, Final

import msgspec

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.dsn.compose import ComposedReport, Composition, compose
from bridgehead.dsn.notify import told
from bridgehead.dsn.original import read_original
from bridgehead.dsn.report import Report, ReportedRecipient
from bridgehead.mail.address import NULL, Mailbox, parse_mailbox
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import BodyType, Envelope, EnvelopeRecipient, Return
from bridgehead.mail.identity import message_id_field, network_message_id
from bridgehead.mail.item import Directionality, MailItem, Source, TlsRequirement
from bridgehead.mail.limits import STREAM_CHUNK_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import ContentWriter, MessageStatus, QueuedItem, QueueKind, StoreFault
from bridgehead.tracking.metrics import Metrics

log = logging.getLogger("bridgehead.delivery")

POSTMASTER: Final = "postmaster"
_REQUIRED: Final = (TlsRequirement.REQUIRED, TlsRequirement.REPORT)
"""Reports on these go like the message itself, with its header at most (RFC 8689 §5)."""


class Draft(msgspec.Struct, frozen=True):
    """In place of the content of a report that is still to be written: makes it, with the original or its header."""

    compose: Callable[[bool], ComposedReport]

    @property
    def size(self) -> int:
        return 0

    @property
    def data(self) -> bytes | None:
        return None

    def open(self) -> BinaryIO:
        raise io.UnsupportedOperation("a draft")


class NotifyReporter:
    """Makes reports. The categorizer and delivery use the same one.

    Args:
        allocate_id: new ids for entries and content (`QueueStore.allocate_id`).
        new_content_file: where large reports are written (`QueueStore.new_content_file`); None writes none.
        random_bytes: gives so many random bytes.
        fqdn: our name.
        default_domain: the accepted domain that supplies postmaster; "" for `fqdn`.
    """

    def __init__(
        self, *, allocate_id: Callable[[], int], clock: Clock, random_bytes: Callable[[int], bytes],
        delivery_settings: DeliverySettings, queue_settings: QueueSettings, fqdn: str, default_domain: str = "",
        metrics: Metrics | None = None, new_content_file: Callable[[], ContentWriter] | None = None,
    ) -> None:  # fmt: skip
        self._metrics = metrics or Metrics()
        self._new_content_file = new_content_file
        self._one_large = asyncio.Lock()
        self._allocate_id = allocate_id
        self._clock = clock
        self._random_bytes = random_bytes
        self.reconfigure(delivery_settings, queue_settings, fqdn, default_domain)

    def reconfigure(
        self, delivery_settings: DeliverySettings, queue_settings: QueueSettings, fqdn: str, default_domain: str
    ) -> None:
        """Use other settings from now on. Raises AddressError for an unusable postmaster address."""
        address = delivery_settings.external_postmaster_address
        self._postmaster = parse_mailbox(address) if address else Mailbox(POSTMASTER, default_domain or fqdn)
        self._settings = delivery_settings
        self._queue_settings = queue_settings
        self._fqdn = fqdn
        self._reporting_mta = delivery_settings.external_dsn_reporting_authority or fqdn

    def report(
        self, item: MailItem, content: Content | None, statuses: Sequence[tuple[EnvelopeRecipient, DeliveryStatus]]
    ) -> QueuedItem | None:
        """A report as an entry of Submission, ACTIVE and with its content, for the caller's own transaction; where it
        `is_draft`, after `write`.

        Args:
            item: the message reported on, its envelope as it was received.
            content: of that message; None where it cannot be had, then the report goes without it.
            statuses: what became of whom; those whom it does not concern are left out here.

        Returns:
            None when nobody is to be told anything.
        """
        concerned = told(item, statuses)
        if not self._settings.delay_dsn_enabled:
            concerned = [pair for pair in concerned if pair[1].action is not Action.DELAYED]
        if not concerned:
            return None
        self._metrics.reported({status.action for _, status in concerned})
        now = self._clock.now()
        network_id = network_message_id(self._random_bytes(16))
        message_id = message_id_field(network_id, self._fqdn)
        # RET speaks of failures; a report that tells of none returns only the header (RFC 3461 §4.3).
        failed = any(status.action is Action.FAILED for _, status in concerned)
        headers_only = not failed or item.envelope.ret is Return.HEADERS or item.tls_requirement in _REQUIRED
        make = partial(
            self._composed,
            item,
            content,
            self._report(item, concerned, now),
            message_id,
            self._random_bytes(16).hex(),
            now,
        )
        report = self._entry(item, network_id, message_id, now)
        largest = int(self._settings.dsn_max_message_attach_size)
        in_file = content is not None and content.data is None and content.size <= largest
        if in_file and not headers_only and self._new_content_file is not None:
            report.content = Draft(make)
        else:
            composed = make(headers_only)
            _fill(report, composed, BytesContent(composed.data))
        return report

    def is_draft(self, report: QueuedItem) -> bool:
        """Whether a report is still to be written."""
        return type(report.content) is Draft

    async def write(self, report: QueuedItem) -> Callable[[], Coroutine[None, None, None]]:
        """Write a draft; one after the other, so that no more than one original is in memory. Where the store cannot
        take it the report goes without the original.

        Returns: what throws the file away again, for when the report is not committed.
        """
        draft = report.content
        assert type(draft) is Draft
        assert self._new_content_file is not None
        async with self._one_large:
            writer = self._new_content_file()
            try:
                composed = await asyncio.to_thread(draft.compose, False)
                for piece in composed.pieces:
                    for start in range(0, len(piece), STREAM_CHUNK_BYTES):
                        await writer.write(piece[start : start + STREAM_CHUNK_BYTES])
                _fill(report, composed, await writer.finish())
            except Exception as fault:
                log.error("report %d goes without the message that it is about: %s", report.id, fault)
                await _thrown_away(writer)
                composed = await asyncio.to_thread(draft.compose, True)
                _fill(report, composed, BytesContent(composed.data))
        return partial(_thrown_away, writer)

    def _composed(
        self,
        item: MailItem,
        content: Content | None,
        report: Report,
        message_id: str,
        boundary: str,
        now: float,
        headers_only: bool,
    ) -> ComposedReport:
        return compose(
            Composition(
                report=report,
                original=read_original(
                    content,
                    headers_only=headers_only,
                    max_size=int(self._settings.dsn_max_message_attach_size),
                    strict=item.envelope.body_type is not BodyType.BINARY_MIME,
                ),
                to=item.envelope.reverse_path,
                postmaster=self._postmaster,
                message_id=message_id,
                boundary=boundary,
                now=now,
                original_subject=item.subject,
                original_message_id=item.message_id,
                send_html=self._settings.dsn_send_html,
                utf8=item.envelope.smtputf8 or not item.envelope.reverse_path.local_part.isascii(),
            )
        )

    def _report(self, item: MailItem, concerned: list[tuple[EnvelopeRecipient, DeliveryStatus]], now: float) -> Report:
        until = deadline_of(item.received_at, self._queue_settings, True, item.expires_at, item.priority)
        return Report(
            reporting_mta=self._reporting_mta,
            envelope_id=item.envelope.envelope_id,
            arrival=item.received_at,
            recipients=[
                ReportedRecipient(
                    final_recipient=recipient.forward_path,
                    original_recipient=recipient.original_recipient,
                    status=status,
                    last_attempt=now,
                    will_retry_until=until,
                )
                for recipient, status in concerned
            ],
        )

    def _entry(self, item: MailItem, network_id: str, message_id: str, now: float) -> QueuedItem:
        """The entry of a report whose content is still to be made."""
        report = MailItem(
            internal_message_id=self._allocate_id(),
            network_message_id=network_id,
            received_at=now,
            envelope=Envelope(reverse_path=NULL, recipients=[EnvelopeRecipient(item.envelope.reverse_path)]),
            size=0,
            message_id=message_id,
            header_from=str(self._postmaster),
            source=Source.DSN,
            connector="DSN",
            principal="system",
            authenticated=True,
            directionality=Directionality.ORIGINATING,
            is_dsn=True,
            reference=item.message_id,
            tls_requirement=TlsRequirement.REPORT if item.tls_requirement in _REQUIRED else TlsRequirement.NONE,
        )
        return QueuedItem(
            item=report,
            content=None,
            content_id=self._allocate_id(),
            queue=QueueKind.SUBMISSION,
            status=MessageStatus.ACTIVE,
        )


def _fill(report: QueuedItem, composed: ComposedReport, content: Content) -> None:
    """Give a report its content, and what follows from that."""
    body_type = BodyType.EIGHT_BIT_MIME if composed.has_8bit else BodyType.SEVEN_BIT
    report.content = content
    report.item = msgspec.structs.replace(
        report.item,
        envelope=msgspec.structs.replace(
            report.item.envelope, body_type=body_type, smtputf8=composed.headers_utf8
        ),
        size=composed.size,
        subject=composed.subject,
        has_8bit=composed.has_8bit,
        headers_utf8=composed.headers_utf8,
    )  # fmt: skip


async def _thrown_away(writer: ContentWriter) -> None:
    try:
        await writer.discard()
    except StoreFault as fault:
        log.error("the file of a report is left until the next start: %s", fault)
