# SPDX-License-Identifier: MIT
"""Reports as entries for Submission."""

import pytest

from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.dsn.parse import parse_report
from bridgehead.mail.address import AddressError
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, Notify, Return
from bridgehead.mail.header import HeaderBlock, split_header
from bridgehead.mail.item import Source
from bridgehead.mail.units import ByteSize
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind
from support.clock import JumpingClock
from support.work_source import queued

FAILED = DeliveryStatus(action=Action.FAILED, status="5.1.1", diagnostic="550 5.1.1 no", remote_mta="mx.example.net")
DELIVERED = DeliveryStatus(action=Action.DELIVERED, status="2.0.0", diagnostic="delivered to mailbox anna")
DELAYED = DeliveryStatus(action=Action.DELAYED, status="4.4.7", diagnostic="400 4.4.7 Message delayed")


def reporter(**settings: object) -> NotifyReporter:
    numbers, octets = iter(range(1000, 2000)), iter(range(256))
    return NotifyReporter(
        allocate_id=lambda: next(numbers), clock=JumpingClock(), random_bytes=lambda count: bytes([next(octets)]) * count,
        delivery_settings=DeliverySettings(**settings), queue_settings=QueueSettings(), fqdn="mail.contoso.com",  # type: ignore[arg-type]
        default_domain="contoso.com",
    )  # fmt: skip


def reported(entry: QueuedItem, status: DeliveryStatus = FAILED, **settings: object) -> QueuedItem:
    pairs = [(recipient, status) for recipient in entry.item.envelope.recipients]
    report = reporter(**settings).report(entry.item, entry.content, pairs)
    assert report is not None
    assert report.content is not None
    assert report.content.data is not None
    return report


def header(entry: QueuedItem) -> HeaderBlock:
    assert entry.content is not None
    assert entry.content.data is not None
    return HeaderBlock(split_header(entry.content.data)[0])


def test_the_entry_goes_to_the_sender_from_nobody_as_mail_of_our_own() -> None:
    original = queued(message_id="<1@example.com>", subject="Offer")
    report = reported(original)
    item = report.item
    assert item.envelope.reverse_path.is_null
    assert [str(recipient.forward_path) for recipient in item.envelope.recipients] == ["a@example.com"]
    assert (item.source, item.is_dsn, item.principal, item.authenticated) == (Source.DSN, True, "system", True)
    assert item.reference == "<1@example.com>"
    assert item.subject == "Undeliverable: Offer"
    assert (report.queue, report.status) == (QueueKind.SUBMISSION, MessageStatus.ACTIVE)
    assert (report.id, report.content_id) == (1000, 1001)
    assert item.network_message_id != original.item.network_message_id
    assert item.size == report.content.size  # type: ignore[union-attr]
    assert header(report).first(b"message-id").decode() == item.message_id


def test_nobody_is_told_of_a_report_nor_against_their_wish() -> None:
    is_dsn, unwanted, null = queued(is_dsn=True), queued(), queued(sender="")
    unwanted.item.envelope.recipients[0].notify = Notify.NEVER
    for entry in (is_dsn, unwanted, null):
        pairs = [(entry.item.envelope.recipients[0], FAILED)]
        assert reporter().report(entry.item, entry.content, pairs) is None


def test_delay_reports_can_be_switched_off_alone() -> None:
    entry = queued()
    pairs = [(entry.item.envelope.recipients[0], DELAYED)]
    assert reporter(delay_dsn_enabled=False).report(entry.item, entry.content, pairs) is None
    assert reported(entry, DELAYED).item.subject.startswith("Delivery delayed:")
    assert reported(entry, delay_dsn_enabled=False)


def test_settings_name_postmaster_and_authority() -> None:
    plain = reported(queued())
    assert b"<postmaster@contoso.com>" in header(plain).first(b"from")
    named = reported(
        queued(), external_postmaster_address="help@contoso.com", external_dsn_reporting_authority="reports.contoso.com"
    )
    assert b"<help@contoso.com>" in header(named).first(b"from")
    assert named.item.header_from == "help@contoso.com"
    assert parse_report(named.content.data).reporting_mta == "reports.contoso.com"  # type: ignore[union-attr,arg-type]
    with pytest.raises(AddressError):
        reporter(external_postmaster_address="nobody")


def test_what_is_returned_follows_ret_and_size() -> None:
    assert b"message/rfc822" in reported(queued()).content.data  # type: ignore[union-attr,operator]
    assert b"text/rfc822-headers" in reported(queued(ret=Return.HEADERS)).content.data  # type: ignore[union-attr,operator]
    small = reported(queued(), dsn_max_message_attach_size=ByteSize(10))
    assert b"text/rfc822-headers" in small.content.data  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("status", [DELIVERED, DELAYED])
def test_a_report_without_failure_returns_the_header_alone_even_where_all_was_asked_for(status: DeliveryStatus) -> None:
    entry = queued(ret=Return.FULL)
    recipient = entry.item.envelope.recipients[0]
    recipient.notify = Notify.SUCCESS | Notify.DELAY
    report = reporter().report(entry.item, entry.content, [(recipient, status)])
    assert report is not None
    assert b"text/rfc822-headers" in report.content.data  # type: ignore[union-attr,operator]
    assert b"message/rfc822" not in report.content.data  # type: ignore[union-attr,operator]


def test_the_envelope_asks_for_what_the_content_needs() -> None:
    eight_bit = reported(queued("Subject: x\r\n\r\nGrüße\r\n".encode())).item
    assert (eight_bit.envelope.body_type, eight_bit.has_8bit) == (BodyType.EIGHT_BIT_MIME, True)
    seven_bit = reported(queued()).item
    assert (seven_bit.envelope.body_type, seven_bit.envelope.smtputf8) == (BodyType.SEVEN_BIT, False)
    international = reported(queued(sender="grün@example.com", smtputf8=True)).item
    assert (international.envelope.smtputf8, international.headers_utf8) == (True, True)


def test_content_that_is_gone_is_no_reason_for_silence() -> None:
    entry = queued()
    pairs = [(entry.item.envelope.recipients[0], FAILED)]
    assert reporter().report(entry.item, None, pairs) is not None


def test_a_report_leaves_no_recipient_out() -> None:
    entry = queued()
    pairs = [(EnvelopeRecipient(entry.item.envelope.recipients[0].forward_path), FAILED)] * 1500
    report = reporter().report(entry.item, entry.content, pairs)
    assert report is not None
    assert len(parse_report(report.content.data).recipients) == 1500  # type: ignore[union-attr,arg-type]
