# SPDX-License-Identifier: MIT
"""What each event of a session does: check, decide, take effect, answer. One function for each event.

Decisions about addresses are in `address_check.py`, about logins in `authentication.py`, about content in `content.py`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.mail.envelope import BodyType, Envelope, EnvelopeRecipient
from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.identity import message_id_field, network_message_id
from bridgehead.mail.item import Directionality, MailItem, Source
from bridgehead.mail.reply import Reply
from bridgehead.mail.trace_fields import date_time, protocol_name, received_field
from bridgehead.queues.store import StoreFault, StoreFull
from bridgehead.receive import address_check
from bridgehead.receive.content import ContentRules, IncomingContent
from bridgehead.receive.logon import Logon
from bridgehead.receive.permissions import PrincipalKind, is_from_inside
from bridgehead.receive.settings import Right
from bridgehead.receive.transaction import Transaction
from bridgehead.smtp import replies
from bridgehead.smtp.events import (
    Auth,
    AuthResponse,
    Bdat,
    ChunkEnd,
    ContentPiece,
    Data,
    Event,
    Expn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from bridgehead.tracking.events import EventId, event_for

if TYPE_CHECKING:
    from bridgehead.receive.session import Session


# --- hello --------------------------------------------------------------------------------------------------------


def hello(session: "Session", event: Hello) -> None:
    """EHLO and HELO (RFC 5321 §4.1.1.1): a new beginning; the name is noted, never believed."""
    if not event.domain and (event.extended or session.connector.settings.require_ehlo_domain):
        session.answer(replies.HELLO_DOMAIN_REQUIRED)
        return
    session.abort_transaction()
    session.helo, session.esmtp = event.domain[:255], event.extended
    session.offer_again()
    session.engine.hello(session.connector.hello_reply(session.client_ip), event.extended)


def starttls(session: "Session", event: StartTls) -> None:
    """STARTTLS (RFC 3207)."""
    if not session.engine.features.starttls:
        session.answer(replies.TLS_ACTIVE if session.tls_info else replies.TLS_NOT_OFFERED)
        return
    session.engine.reply(replies.READY_FOR_TLS)
    session.start_tls()


# --- envelope -----------------------------------------------------------------------------------------------------


def mail(session: "Session", event: Mail) -> None:
    """MAIL: may this principal submit, and as this sender; is the rate kept; is the declared size allowed?"""
    connector = session.connector
    if connector.settings.require_tls and not session.tls_info:
        session.answer(replies.MUST_STARTTLS)
        return
    reverse_path = event.reverse_path
    if not reverse_path.domain and reverse_path.local_part:
        if not connector.settings.default_domain:
            session.answer(replies.BAD_SENDER_SYNTAX)
            return
        reverse_path = address_check.with_domain(reverse_path, connector.settings.default_domain)
        event = msgspec.structs.replace(event, reverse_path=reverse_path)
    refusal = address_check.check_sender(
        reverse_path, session.rights, session.principal, session.services.accepted_domains
    )
    if refusal is None and event.size > connector.size_limit(session.rights):
        refusal = replies.MESSAGE_TOO_LARGE
    if refusal is None:
        user = session.principal.name
        if not connector.rate.admit(session.client_ip, user, session.services.clock.monotonic()):
            refusal = replies.RATE_LIMITED
    if refusal is not None:
        session.answer(refusal)
        if refusal.code == 421:
            session.engine.close()
        return
    session.transaction = Transaction(event)
    session.engine.reply(replies.SENDER_OK)


def rcpt(session: "Session", event: Rcpt) -> None:
    """RCPT: may this principal send there, and does the recipient exist?"""
    transaction = session.transaction
    if transaction is None:
        session.answer(replies.NEED_MAIL)
        return
    settings = session.connector.settings
    if len(transaction.recipients) >= settings.max_recipients_per_message:
        session.answer(replies.TOO_MANY_RECIPIENTS)
        return
    services = session.services
    forward_path = event.forward_path
    if not forward_path.domain:
        default_domain = settings.default_domain
        if not default_domain and forward_path.local_part.lower() == "postmaster":
            default_domain = services.accepted_domains.default_name
        forward_path = address_check.with_domain(forward_path, default_domain)
    refusal = address_check.check_recipient(
        forward_path, session.rights, settings, services.accepted_domains, services.directory
    )
    if refusal is not None:
        session.answer(refusal)
        return
    transaction.recipients.append(EnvelopeRecipient(forward_path, event.notify, event.original_recipient))
    session.engine.reply(replies.RECIPIENT_OK)


# --- content ------------------------------------------------------------------------------------------------------


def data(session: "Session", event: Data) -> None:
    """DATA (RFC 5321 §4.1.1.4)."""
    transaction = session.transaction
    if transaction is None or not transaction.recipients:
        session.answer(replies.NO_VALID_RECIPIENTS)
        return
    _begin_content(session, transaction)
    session.engine.reply(replies.START_MAIL_INPUT)


def bdat(session: "Session", event: Bdat) -> None:
    """BDAT (RFC 3030 §2): the octets follow whatever is decided; a chunk out of order is read and thrown away."""
    transaction = session.transaction
    if event.size >= 0 and transaction is not None and transaction.recipients:
        if transaction.content is None:
            _begin_content(session, transaction)
    elif transaction is not None:
        session.abort_transaction()
    session.engine.begin_chunk()


def content_piece(session: "Session", event: ContentPiece) -> None:
    """Octets of DATA or of a chunk."""
    transaction = session.transaction
    if transaction is None or transaction.content is None:
        if event.final:
            session.answer(replies.BAD_SEQUENCE)
        return
    content = transaction.content
    content.add(event.data, final=event.final)
    if content.must_give_up:
        session.end(replies.TOO_MANY_ERRORS)
    elif content.spill_due:
        session.wait_for(_spill(session, content), lambda: _piece_done(session, transaction, event.final))
    elif event.final:
        _content_complete(session, transaction)


def _piece_done(session: "Session", transaction: Transaction, final: bool) -> None:
    if final:
        _content_complete(session, transaction)
    session.go_on()


def chunk_end(session: "Session", event: ChunkEnd) -> None:
    """A chunk is complete."""
    transaction = session.transaction
    if transaction is None or transaction.content is None:
        session.answer(replies.BAD_SEQUENCE)
        return
    content = transaction.content
    if event.last:
        content.add(b"", final=True)
        _content_complete(session, transaction)
    elif content.refusal is not None:
        refusal = content.refusal
        session.abort_transaction()
        session.answer(refusal)
    else:
        session.engine.reply(replies.CHUNK_OK)


def _begin_content(session: "Session", transaction: Transaction) -> None:
    services, connector = session.services, session.connector
    transaction.internal_message_id = services.acceptance.allocate_id()
    transaction.network_message_id = network_message_id(services.random_bytes(16))
    settings = connector.settings

    def received() -> bytes:
        return _received(session, transaction)

    def added_fields(has_message_id: bool, has_date: bool) -> bytes:
        return _missing_fields(session, transaction, has_message_id, has_date)

    transaction.content = IncomingContent(
        ContentRules(
            max_message_size=connector.size_limit(session.rights),
            max_header_size=settings.max_header_size,
            max_hop_count=settings.max_hop_count,
            max_local_hop_count=settings.max_local_hop_count,
            fqdn=connector.fqdn,
            rights=session.rights,
            complete=is_from_inside(session.rights, session.principal),
            check_header=_from_check(session),
        ),
        received,
        added_fields,
        binary=transaction.mail.body_type is BodyType.BINARY_MIME,
    )


def _from_check(session: "Session") -> Callable[[bytes], Reply | None] | None:
    """A login may show only its own addresses in From and Sender, unless it was granted more."""
    principal, rights = session.principal, session.rights
    if principal.kind is not PrincipalKind.USER or Right.ACCEPT_ANY_SENDER in rights:
        return None
    return lambda header: address_check.check_header_from(HeaderBlock(header), rights, principal)


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


async def _spill(session: "Session", content: IncomingContent) -> None:
    """Write what memory holds to the content's file."""
    try:
        if content.writer is None:
            content.writer = session.services.new_content_file()
        await content.writer.write(content.spilled())
    except StoreFault as fault:
        session.services.alarm(fault, session.session_id)
        content.refusal = content.refusal or _store_refusal(fault)


def _content_complete(session: "Session", transaction: Transaction) -> None:
    """The end of the message: refuse, or make it durable and answer then."""
    content = transaction.content
    assert content is not None
    if content.refusal is not None:
        refusal = content.refusal
        session.abort_transaction()
        if refusal in (replies.BARE_LF, replies.BARE_CR, replies.NUL):
            # Whoever sends such content may be smuggling: nothing behind it can be trusted.
            session.close_after_answer()
        session.answer(refusal)
        return
    session.transaction = None
    if content.writer is not None:
        session.wait_for(_submit_file(session, transaction, content))
    else:
        stored = content.in_memory()
        _submit(session, transaction, content, stored)


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
        session.answer_late(_store_refusal(fault))
        return
    _submit(session, transaction, content, stored)


def _submit(session: "Session", transaction: Transaction, content: IncomingContent, stored: Any) -> None:
    services = session.services
    item = _mail_item(session, transaction, content, stored.size)
    recipients = [str(recipient.forward_path) for recipient in transaction.recipients]
    event = event_for(item, EventId.RECEIVE, Source.SMTP, item.received_at, recipients)
    event.client_ip, event.client_hostname = session.client_ip, session.helo
    event.server_ip, event.server_hostname = session.local_ip, services.fqdn
    event.connector_id, event.source_context = item.connector, session.session_id

    def done(fault: StoreFault | None) -> None:
        if fault is None:
            reply = replies.queued(
                item.message_id or f"<{item.network_message_id}>", item.internal_message_id, services.fqdn
            )
        else:
            services.alarm(fault, session.session_id)
            reply = _store_refusal(fault)
        session.answer_late(reply)

    session.committing()
    services.acceptance.submit(item, stored, event, done)


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
        connector=session.connector.connector_id,
        client_ip=session.client_ip,
        client_hostname=session.helo,
        helo=session.helo,
        principal=str(session.principal),
        authenticated=authenticated,
        directionality=Directionality.ORIGINATING if authenticated else Directionality.INCOMING,
        has_8bit=content.has_8bit,
        headers_utf8=command.smtputf8 and not facts.is_ascii,
    )


def _store_refusal(fault: StoreFault) -> Reply:
    return replies.INSUFFICIENT_RESOURCES if isinstance(fault, StoreFull) else replies.STORE_FAULT


# --- the rest -----------------------------------------------------------------------------------------------------


def rset(session: "Session", event: Rset) -> None:
    """RSET."""
    session.abort_transaction()
    session.engine.reply(replies.RESET)


def noop(session: "Session", event: Noop) -> None:
    """NOOP."""
    session.engine.reply(replies.OK)


def vrfy(session: "Session", event: Vrfy) -> None:
    """VRFY tells nothing (RFC 5321 §7.3)."""
    session.engine.reply(replies.CANNOT_VERIFY)


def expn(session: "Session", event: Expn) -> None:
    """EXPN is refused (RFC 5321 §7.3)."""
    session.answer(replies.EXPN_REFUSED)


def help_(session: "Session", event: Help) -> None:
    """HELP."""
    session.engine.reply(replies.HELP)


def quit_(session: "Session", event: Quit) -> None:
    """QUIT."""
    session.abort_transaction()
    session.engine.reply(replies.SERVICE_CLOSING)


def auth(session: "Session", event: Auth) -> None:
    """AUTH (RFC 4954)."""
    if session.principal.kind is PrincipalKind.USER:
        session.answer(replies.ALREADY_AUTHENTICATED)
    elif not session.connector.offers_auth:
        session.answer(replies.AUTH_NOT_OFFERED)
    else:
        if session.logon is None:
            session.logon = Logon(session)
        session.logon.begin(event)


def auth_response(session: "Session", event: AuthResponse) -> None:
    """The client's answer to a challenge."""
    assert session.logon is not None
    session.logon.go_on(event.data)


STEPS: Final[dict[type[Event], Callable[["Session", Any], None]]] = {
    Hello: hello,
    StartTls: starttls,
    Mail: mail,
    Rcpt: rcpt,
    Data: data,
    Bdat: bdat,
    ContentPiece: content_piece,
    ChunkEnd: chunk_end,
    Auth: auth,
    AuthResponse: auth_response,
    Rset: rset,
    Noop: noop,
    Vrfy: vrfy,
    Expn: expn,
    Help: help_,
    Quit: quit_,
}
