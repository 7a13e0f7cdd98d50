# SPDX-License-Identifier: MIT
"""Logging on within a session: from AUTH through challenges to a principal or a refusal (RFC 4954)."""

import base64
import logging
from typing import TYPE_CHECKING

from bridgehead.mail.reply import Reply
from bridgehead.receive import agent_log
from bridgehead.receive.authentication import LogonFailures
from bridgehead.smtp import replies
from bridgehead.smtp.events import Auth
from bridgehead.smtp.sasl import Challenge, Exchange, Failure, Step, Success, VerifyPassword

if TYPE_CHECKING:
    from bridgehead.receive.session import Session

log = logging.getLogger("bridgehead.receive")


class Logon:
    """The logons of one session, one after the other."""

    __slots__ = ("_exchange", "_failures", "_session", "_verified")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._exchange: Exchange | None = None
        self._failures = LogonFailures(session.connector.settings)
        self._verified: str | None = None

    def begin(self, event: Auth) -> None:
        """AUTH: choose the mechanism and take its first step."""
        session = self._session
        exchange = session.services.authenticator.exchange(
            event.mechanism, session.connector.settings, bool(session.tls_info)
        )
        if isinstance(exchange, Reply):
            session.answer(exchange)
            return
        self._exchange = exchange
        self._step(exchange.start(event.initial))

    def go_on(self, response: bytes | None) -> None:
        """The client answered a challenge, or cancelled (None)."""
        assert self._exchange is not None
        self._step(self._exchange.step(response))

    def _step(self, step: Step) -> None:
        match step:
            case Challenge():
                self._session.engine.reply(replies.challenge(base64.b64encode(step.data).decode()))
            case VerifyPassword():
                self._session.wait_for(self._verify(step), self._judge)
            case Success():
                self._succeed(step.name)
            case Failure():
                self._fail(step)

    async def _verify(self, request: VerifyPassword) -> None:
        right = await self._session.services.authenticator.verify(request)
        self._verified = request.name if right else None
        if not right:
            log.warning("logon of %r from %s failed: wrong name or password", request.name, self._session.client_ip)

    def _judge(self) -> None:
        """The password was looked at."""
        if self._verified is None:
            self._refuse()
        else:
            self._succeed(self._verified)
        self._session.go_on()

    def _succeed(self, name: str) -> None:
        session = self._session
        self._exchange = self._verified = None
        principal = session.services.authenticator.principal(name, session.connector.settings)
        if principal is None:
            log.warning("logon of %r from %s refused: no right to submit on this connector", name, session.client_ip)
            self._refuse()
            return
        session.become(principal)
        session.engine.reply(replies.AUTH_OK)
        session.offer_again()

    def _fail(self, failure: Failure) -> None:
        self._exchange = None
        log.warning("logon of %r from %s failed: %s", failure.name, self._session.client_ip, failure.reason)
        if failure.counts:
            self._refuse()
        else:
            self._session.answer(failure.reply)

    def _refuse(self) -> None:
        """The same reply after the same delay, whatever was wrong (AuthTarpitInterval)."""
        session = self._session
        self._exchange = None
        session.connector.counters.logon_failures += 1
        reply = self._failures.add()
        if reply.code == 421:
            session.close_after_answer()
        agent_log.logon_refused(session, reply)
        session.answer_after(session.connector.settings.auth_tarpit_interval.total_seconds(), reply)
