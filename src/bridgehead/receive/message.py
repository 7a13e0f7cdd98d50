# SPDX-License-Identifier: MIT
"""A message on its way in: from the start of its content to the commit that makes it ours, or to its refusal."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bridgehead.mail.content import Content
from bridgehead.mail.envelope import BodyType, Envelope
from bridgehead.mail.identity import message_id_field, network_message_id
from bridgehead.mail.item import BYPASSED_SCL, Directionality, MailItem, Source, TlsRequirement
from bridgehead.mail.reply import Reply
from bridgehead.mail.trace_fields import date_time, protocol_name, received_field
from bridgehead.queues.store import StoreFault, StoreFull
from bridgehead.receive import agent_log, refusals
from bridgehead.receive.content import ContentRules, HeaderDecision, HeaderFacts, IncomingContent
from bridgehead.receive.permissions.rights import PrincipalKind, is_from_inside
from bridgehead.receive.permissions.senders import MessageCheck, SenderCheck, SenderFacts
from bridgehead.receive.settings import Right
from bridgehead.receive.transaction import Transaction
from bridgehead.smtp import replies
from bridgehead.smtp.events import Mail
from bridgehead.tracking.events import EventId, TrackingEvent

if TYPE_CHECKING:
    from bridgehead.receive.session import Session


def begin(session: "Session", transaction: Transaction) -> None:
    """Content is about to come: name the message and make ready to take it."""
    services = session.services
    transaction.internal_message_id = services.acceptance.allocate_id()
    transaction.network_message_id = network_message_id(services.random_bytes(16))
    transaction.content = IncomingContent(
        session.content_rules or _rules(session),
        partial(_received, session, transaction),
        partial(_missing_fields, session, transaction),
        _sender_check(session, transaction),
        binary=transaction.mail.body_type is BodyType.BINARY_MIME,
    )
    if services.tracing is not None and services.tracing.wants(transaction.mail.reverse_path):
        transaction.incoming = services.tracing.incoming(
            transaction.network_message_id, transaction.internal_message_id, transaction.mail.reverse_path,
            [str(recipient.forward_path) for recipient in transaction.recipients],
        )  # fmt: skip


def _rules(session: "Session") -> ContentRules:
    """What connector and rights say about content; the same until the session becomes somebody else."""
    connector = session.connector
    settings = connector.settings
    rules = session.content_rules = ContentRules(
        max_message_size=connector.size_limit(session.rights),
        max_header_size=settings.max_header_size,
        max_hop_count=settings.max_hop_count,
        max_local_hop_count=settings.max_local_hop_count,
        fqdn=connector.fqdn,
        rights=session.rights,
        complete=is_from_inside(session.rights, session.principal) or connector.device is not None,
    )
    return rules


def _sender_check(session: "Session", transaction: Transaction) -> Callable[[bytes], HeaderDecision] | None:
    """Who checks that the message is from whom it says; nobody where the session may send as anybody."""
    connector, principal, rights = session.connector, session.principal, session.rights
    if principal.kind is not PrincipalKind.ANONYMOUS:
        if principal.kind is PrincipalKind.DEVICE:
            return transaction.sender_check.header if transaction.sender_check is not None else None
        if Right.ACCEPT_ANY_SENDER in rights:
            return None
    facts = SenderFacts(
        session.client_ip, session.helo, transaction.mail.reverse_path, principal, rights,
        connector.settings.non_compliant_sender_policy, connector.is_protected, connector.fqdn,
    )  # fmt: skip
    check = transaction.sender_check = SenderCheck(facts, session.services, session.services.clock.now())
    return check.header


def _received(session: "Session", transaction: Transaction) -> bytes:
    recipients = transaction.recipients
    return received_field(
        helo=session.helo,
        client_hostname="",
        client_ip=session.client_ip,
        fqdn=session.connector.fqdn,
        server_ip=session.local_ip,
        protocol=protocol_name(
            esmtp=session.esmtp,
            tls=bool(session.tls_info),
            authenticated=session.principal.kind is PrincipalKind.USER,
            utf8=transaction.mail.smtputf8,
        ),
        queue_id=str(transaction.internal_message_id),
        when=session.services.clock.now(),
        tls=session.tls_info,
        recipient=str(recipients[0].forward_path) if len(recipients) == 1 else "",
    )


def _missing_fields(session: "Session", transaction: Transaction, has_message_id: bool, has_date: bool) -> bytes:
    """Message-ID and Date for a message that its own author's client handed over without them (RFC 6409 §8)."""
    added = b""
    if not has_message_id:
        assert transaction.content is not None
        field = message_id_field(transaction.network_message_id, session.connector.fqdn)
        transaction.content.facts.message_id = field
        added += f"Message-ID: {field}\r\n".encode()
    if not has_date:
        added += b"Date: " + date_time(session.services.clock.now()).encode() + b"\r\n"
    return added


async def spill(session: "Session", content: IncomingContent) -> None:
    """Write what memory holds to the content's file."""
    try:
        if content.writer is None:
            content.writer = session.services.new_content_file()
        await content.writer.write(content.spilled())
    except StoreFault as fault:
        session.services.alarm(fault, session.session_id)
        content.refusal = content.refusal or _store_refusal(fault)


def complete(session: "Session", transaction: Transaction) -> None:
    """The end of the message: refuse, or make it durable and answer then."""
    content = transaction.content
    assert content is not None
    if content.refusal is not None:
        refusal = content.refusal
        agent_log.message_refused(session, transaction, refusal)
        session.abort_transaction()
        if refusal in (replies.BARE_LF, replies.BARE_CR, replies.NUL):
            # Whoever sends such content may be smuggling: nothing behind it can be trusted.
            session.close_after_answer()
        session.refused = transaction
        session.answer(refusal)
        return
    check = transaction.sender_check
    if check is not None and check.is_due and not transaction.sender_checked:
        session.wait_for(_check_sender(transaction, check), lambda: _sender_checked(session, transaction))
        return
    session.transaction = None
    if content.writer is not None:
        session.wait_for(_submit_file(session, transaction, content))
    else:
        stored = content.in_memory()
        _submit(session, transaction, content, stored)


async def _check_sender(transaction: Transaction, check: MessageCheck) -> None:
    """Ask DNS whether the sender is real; the answer becomes the content's refusal, or nothing."""
    transaction.sender_checked = True
    content = transaction.content
    assert content is not None
    content.refusal = await check.verdict()
    if content.refusal is not None:
        content.detail = f"From: {content.facts.header_from or 'nobody'}; {check.reason}"


def _sender_checked(session: "Session", transaction: Transaction) -> None:
    complete(session, transaction)
    session.go_on()


async def _submit_file(session: "Session", transaction: Transaction, content: IncomingContent) -> None:
    """Finish the file of a large message, then submit it."""
    writer = content.writer
    assert writer is not None
    try:
        await writer.write(content.spilled())
        stored = await writer.finish()
    except StoreFault as fault:
        await writer.discard()
        session.services.alarm(fault, session.session_id)
        agent_log.message_refused(session, transaction, _store_refusal(fault))
        session.refused = transaction
        refusals.note(session, _store_refusal(fault), str(fault))
        session.answer_late(_store_refusal(fault))
        return
    _submit(session, transaction, content, stored)


def _submit(session: "Session", transaction: Transaction, content: IncomingContent, stored: Content) -> None:
    services = session.services
    item = _mail_item(session, transaction, content, stored.size)
    if transaction.incoming is not None:
        transaction.incoming.received(item, stored)
    event = TrackingEvent(
        time=item.received_at,
        event_id=EventId.RECEIVE,
        source=Source.SMTP,
        internal_message_id=item.internal_message_id,
        message_id=item.message_id,
        network_message_id=item.network_message_id,
        client_ip=session.client_ip,
        client_hostname=session.helo,
        server_ip=session.local_ip,
        server_hostname=services.fqdn,
        source_context=session.session_id,
        connector_id=item.connector,
        recipient_address=[str(recipient.forward_path) for recipient in transaction.recipients],
        recipient_count=len(transaction.recipients),
        total_bytes=item.size,
        message_subject=item.subject,
        sender_address=item.header_from or str(transaction.mail.reverse_path),
        return_path=str(transaction.mail.reverse_path) or "<>",
        directionality=item.directionality,
        original_client_ip=item.client_ip,
        custom_data=_custom_data(session, transaction),
    )

    def done(fault: StoreFault | None) -> None:
        if fault is None:
            seconds = services.clock.monotonic() - transaction.began
            session.connector.counters.accepted(len(transaction.recipients), item.size, seconds)
            services.metrics.seen(item)
            if (device := session.connector.device) is not None:
                check = transaction.sender_check
                device.use.accepted(item.received_at, item.size, check is not None and check.rewritten)
            reply = replies.queued(
                item.message_id or f"<{item.network_message_id}>", item.internal_message_id, services.fqdn
            )
        else:
            services.alarm(fault, session.session_id)
            reply = _store_refusal(fault)
            agent_log.message_refused(session, transaction, reply)
            session.refused = transaction
            refusals.note(session, reply, str(fault))
        session.answer_late(reply)

    session.committing()
    services.acceptance.submit(item, stored, event, done)


def _custom_data(session: "Session", transaction: Transaction) -> str:
    """What RECEIVE says of the session, and what vouched for a sender of ours."""
    check = transaction.sender_check
    said = check.custom_data if check is not None else ""
    return f"{session.tracked};{said}" if said else session.tracked


def _mail_item(session: "Session", transaction: Transaction, content: IncomingContent, size: int) -> MailItem:
    command, facts = transaction.mail, content.facts
    authenticated = is_from_inside(session.rights, session.principal)
    return MailItem(
        internal_message_id=transaction.internal_message_id,
        network_message_id=transaction.network_message_id,
        received_at=session.services.clock.now(),
        envelope=Envelope(
            command.reverse_path,
            transaction.recipients,
            command.body_type,
            command.smtputf8,
            command.ret,
            command.envelope_id,
        ),
        size=size,
        message_id=facts.message_id,
        subject=facts.subject,
        header_from=facts.header_from,
        priority=facts.priority,
        connector=session.connector.connector_id,
        client_ip=session.client_ip,
        client_hostname=session.helo,
        helo=session.helo,
        principal=str(session.principal),
        authenticated=authenticated,
        directionality=Directionality.ORIGINATING if authenticated else Directionality.INCOMING,
        has_8bit=content.has_8bit,
        headers_utf8=command.smtputf8 and not facts.is_ascii,
        strict=command.body_type is not BodyType.BINARY_MIME,
        tls_requirement=_tls_requirement(command, facts),
        scl=BYPASSED_SCL if facts.scl is None and Right.BYPASS_ANTI_SPAM in session.rights else facts.scl,
    )


def _tls_requirement(command: Mail, facts: HeaderFacts) -> TlsRequirement:
    """What the message says of TLS on its way: the parameter goes before the header field (RFC 8689 §2)."""
    if command.require_tls:  # what has no sender is a report, and is not lost for a host without REQUIRETLS (§5)
        return TlsRequirement.REQUIRED if command.reverse_path.domain else TlsRequirement.REPORT
    return TlsRequirement.OPTIONAL if facts.tls_optional else TlsRequirement.NONE


def _store_refusal(fault: StoreFault) -> Reply:
    return replies.INSUFFICIENT_RESOURCES if isinstance(fault, StoreFull) else replies.STORE_FAULT
