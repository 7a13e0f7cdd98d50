# SPDX-License-Identifier: MIT
"""Logging on within a session: from AUTH through challenges to a principal or a refusal (RFC 4954)."""

import base64
import logging
from typing import TYPE_CHECKING

from bridgehead.directory.user_record import User
from bridgehead.mail.reply import Reply
from bridgehead.receive import agent_log, session_record
from bridgehead.receive.logons.authentication import LogonFailures, channel_of
from bridgehead.smtp import replies
from bridgehead.smtp.events import Auth
from bridgehead.smtp.sasl import CANCELLED, Challenge, Exchange, Failure, Pending, Step, Success, VerifyPassword

if TYPE_CHECKING:
    from bridgehead.receive.session import Session

log = logging.getLogger("bridgehead.receive")


class Logon:
    """The logons of one session, one after the other."""

    __slots__ = ("_asked_at", "_exchange", "_failures", "_outcome", "_session", "_user")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._exchange: Exchange | None = None
        self._failures = LogonFailures(session.connector.settings)
        self._outcome: Step = CANCELLED
        self._asked_at = 0.0
        self._user: User | None = None  # of the directory, that vouched for it

    def begin(self, event: Auth) -> None:
        """AUTH: choose the mechanism and take its first step."""
        session = self._session
        exchange = session.services.authenticator.exchange(
            event.mechanism, session.connector.settings, channel_of(session.client_ip, session.ssl_object),
            self._vouch,
        )  # fmt: skip
        if isinstance(exchange, Reply):
            session.answer(exchange)
            return
        self._exchange, self._user = exchange, None
        self._asked_at = session.services.clock.monotonic()
        self._step(exchange.start(event.initial))

    def go_on(self, response: bytes | None) -> None:
        """The client answered a challenge, or cancelled (None)."""
        assert self._exchange is not None
        self._asked_at = self._session.services.clock.monotonic()
        self._step(self._exchange.step(response))

    def _step(self, step: Step) -> None:
        match step:
            case Challenge():
                self._session.engine.reply(replies.challenge(base64.b64encode(step.data).decode()))
            case VerifyPassword():
                self._session.wait_for(self._verify(step), self._judge)
            case Pending():
                self._session.wait_for(self._wait(step), self._judge)
            case Success():
                self._succeed(step)
            case Failure():
                self._fail(step)

    async def _verify(self, request: VerifyPassword) -> None:
        session = self._session
        verified = await session.services.authenticator.verify(
            request, session.connector.settings, session.client_ip
        )  # fmt: skip
        self._outcome, self._user = verified.step, verified.user

    def _vouch(self, user: User) -> None:
        self._user = user

    async def _wait(self, pending: Pending) -> None:
        self._outcome = await pending.work()

    def _judge(self) -> None:
        """What took time is known."""
        self._step(self._outcome)
        self._session.go_on()

    def _succeed(self, success: Success) -> None:
        session, name = self._session, success.name
        self._exchange = None
        authenticator, settings = session.services.authenticator, session.connector.settings
        reason = authenticator.objection(
            name, settings, session.client_ip, guessable=success.guessable, user=self._user
        )  # fmt: skip
        principal = authenticator.principal(name, settings, self._user)
        if reason or principal is None:
            log.warning("logon of %r from %s refused: %s", name, session.client_ip, reason)
            self._refuse(reason)
            return
        authenticator.succeeded(name, session.client_ip)
        session.become(principal)
        session.engine.reply(replies.AUTH_OK)
        session.offer_again()

    def _fail(self, failure: Failure) -> None:
        self._exchange = None
        session, name = self._session, failure.name
        log.warning("logon of %r from %s failed: %s", name, session.client_ip, failure.reason)
        if failure.counts:
            session.services.authenticator.failed(name, session.client_ip, guessable=failure.guessable)
        if failure.reply is replies.AUTH_TEMPORARY:
            session.connector.counters.logons_deferred += 1
            session.connector.counters.rejected(failure.reply.code)
            session_record.line(session, "*", "", f"Logon failed: {failure.reason}")
            self._answer_in_time(failure.reply, "")
        elif failure.counts:
            self._refuse(failure.reason)
        else:
            session_record.line(session, "*", "", f"Logon failed: {failure.reason}")
            session.answer(failure.reply)

    def _refuse(self, reason: str) -> None:
        """The same reply at the same time after the client's last word, whatever was wrong and however long it took to
        find out (AuthTarpitInterval)."""
        session = self._session
        self._exchange = None
        session.connector.counters.logon_failures += 1
        reply = self._failures.add()
        if reply.code == 421:
            session.close_after_answer()
        session_record.line(session, "*", "", f"Logon failed: {reason}")
        agent_log.logon_refused(session, reply, reason)
        self._answer_in_time(reply, reason)

    def _answer_in_time(self, reply: Reply, reason: str) -> None:
        session = self._session
        taken = session.services.clock.monotonic() - self._asked_at
        session.answer_after(
            max(0.0, session.connector.settings.auth_tarpit_interval.total_seconds() - taken), reply, reason
        )
