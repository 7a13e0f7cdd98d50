# SPDX-License-Identifier: MIT
"""What each event of a session does: check, decide, take effect, answer. One function for each event.

Decisions about addresses are in `permissions`, about logins in `logons`, about content in `content.py`.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.reply import Reply
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.receive import agent_log, message
from bridgehead.receive.logons.logon import Logon
from bridgehead.receive.permissions import addresses as address_check
from bridgehead.receive.permissions.rights import PrincipalKind, is_from_inside
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

if TYPE_CHECKING:
    from bridgehead.receive.session import Session

log = logging.getLogger("bridgehead.receive")


# --- hello --------------------------------------------------------------------------------------------------------


def hello(session: "Session", event: Hello) -> None:
    """EHLO and HELO (RFC 5321 §4.1.1.1): a new beginning; the name is noted, never believed."""
    if not event.domain and session.connector.settings.require_ehlo_domain:
        session.answer(replies.HELLO_DOMAIN_REQUIRED)
        session.engine.close()
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
    try:
        context = session.connector.tls_context()
    except CertificateError as error:
        log.error("session %s: no TLS: %s", session.session_id, error)
        session.answer(replies.TLS_UNAVAILABLE)
        return
    session.engine.reply(replies.READY_FOR_TLS)
    session.start_tls(context)


# --- envelope -----------------------------------------------------------------------------------------------------


def mail(session: "Session", event: Mail) -> None:
    """MAIL: may this principal submit, and as this sender; is the rate kept; is the declared size allowed?"""
    connector = session.connector
    reverse_path = event.reverse_path
    if connector.settings.require_tls and not session.tls_info:
        _refuse_sender(session, reverse_path, replies.MUST_STARTTLS)
        return
    pressure = session.services.pressure
    if pressure.active and pressure.refuses(is_from_inside(session.rights, session.principal)):
        _refuse_sender(session, reverse_path, replies.INSUFFICIENT_RESOURCES)
        return
    if not reverse_path.domain and reverse_path.local_part:
        if not connector.settings.default_domain:
            _refuse_sender(session, reverse_path, replies.BAD_SENDER_SYNTAX)
            return
        reverse_path = address_check.with_domain(reverse_path, connector.settings.default_domain)
        event = msgspec.structs.replace(event, reverse_path=reverse_path)
    refusal = _check_domain_security(session, reverse_path) or address_check.check_sender(
        reverse_path, session.rights, session.principal, session.services.accepted_domains
    )
    if refusal is None and event.size > connector.size_limit(session.rights):
        refusal = replies.MESSAGE_TOO_LARGE
    if refusal is None:
        user = session.principal.name
        if not connector.rate.admit(session.client_ip, user, session.services.clock.monotonic()):
            refusal = replies.RATE_LIMITED
    if refusal is not None:
        _refuse_sender(session, reverse_path, refusal)
        if refusal.code == 421:
            session.engine.close()
        return
    session.transaction = Transaction(event, session.mail_begun())
    if pressure.active and pressure.delay:
        session.answer_after(min(pressure.delay, connector.inactivity_timeout / 2), replies.SENDER_OK)
    else:
        session.engine.reply(replies.SENDER_OK)


def _refuse_sender(session: "Session", reverse_path: Mailbox, refusal: Reply) -> None:
    agent_log.sender_refused(session, reverse_path, refusal)
    session.answer(refusal)


def _check_domain_security(session: "Session", reverse_path: Mailbox) -> Reply | None:
    """Mail from a partner's domain must come with the partner's certificate (DomainSecureEnabled)."""
    domains = session.services.secure_domains
    if not domains or not session.connector.settings.domain_secure_enabled:
        return None
    domain = reverse_path.domain_key
    if domain not in domains or (session.principal.kind is PrincipalKind.PARTNER and session.principal.name == domain):
        return None
    return replies.CERTIFICATE_REQUIRED if session.tls_info else replies.MUST_STARTTLS


def rcpt(session: "Session", event: Rcpt) -> None:
    """RCPT: may this principal send there, and does the recipient exist?"""
    transaction = session.transaction
    if transaction is None:
        session.answer(replies.NEED_MAIL)
        return
    settings = session.connector.settings
    if len(transaction.recipients) >= settings.max_recipients_per_message:
        agent_log.recipient_refused(session, transaction, event.forward_path, replies.TOO_MANY_RECIPIENTS)
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
        agent_log.recipient_refused(session, transaction, forward_path, refusal)
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
    message.begin(session, transaction)
    session.engine.reply(replies.START_MAIL_INPUT)


def bdat(session: "Session", event: Bdat) -> None:
    """BDAT (RFC 3030 §2): the octets follow whatever is decided; a chunk out of order is read and thrown away."""
    transaction = session.transaction
    if event.size >= 0 and transaction is not None and transaction.recipients:
        if transaction.content is None:
            message.begin(session, transaction)
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
    if transaction.incoming is not None:
        transaction.incoming.add(event.data)
    content.add(event.data, final=event.final)
    if content.must_give_up:
        session.end(replies.TOO_MANY_ERRORS)
    elif content.spill_due:
        session.wait_for(message.spill(session, content), lambda: _piece_done(session, transaction, event.final))
    elif event.final:
        message.complete(session, transaction)


def _piece_done(session: "Session", transaction: Transaction, final: bool) -> None:
    if final:
        message.complete(session, transaction)
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
        message.complete(session, transaction)
    elif content.refusal is not None:
        refusal = content.refusal
        agent_log.message_refused(session, transaction, refusal)
        session.abort_transaction()
        session.answer(refusal)
    else:
        session.engine.reply(replies.CHUNK_OK)


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
