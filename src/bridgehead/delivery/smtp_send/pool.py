# SPDX-License-Identifier: MIT
"""The pool of sessions of one next hop: how many there are, who works, who rests, and when the next hop has failed.

A subclass says how a session is opened. Sessions pull messages (`session.py`).
"""

import asyncio

from bridgehead.delivery.ports import CourierStanding, WorkSource
from bridgehead.delivery.smtp_send.opening import NoHost
from bridgehead.delivery.smtp_send.session import SendSession
from bridgehead.delivery.smtp_send.shared import ConnectionLimiter
from bridgehead.diagnosis.scheduler import Limit
from bridgehead.net.clock import Clock

_CLOSE_SECONDS = 5.0
_NO_GROWTH_SECONDS = 10.0
_BACKLOG_PER_SESSION = 5
"""Messages that each session should find waiting before there are more: a session that sends the next envelope together
with the content before it costs a third of the system calls and half of the round trips."""
_PATIENCE_SECONDS = 0.2
"""How long a smaller backlog may wait for the sessions there are."""


class SessionPoolCourier:
    """Implements `delivery.ports.Courier` over sessions.

    Args:
        limit: sessions at a time.
        limiter: shared with other couriers.
    """

    def __init__(self, source: WorkSource, limit: int, limiter: ConnectionLimiter, clock: Clock) -> None:
        self._source = source
        self._limit = limit
        self._limiter = limiter
        self._clock = clock
        self._sessions: set[SendSession] = set()
        self._idle: list[SendSession] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._no_growth_until = 0.0
        self._closing = False
        self._all_ended: asyncio.Future[None] | None = None
        self._impatient: asyncio.TimerHandle | None = None

    async def _connect(self) -> SendSession:
        """A session with the first host that takes us. Raises NoHost."""
        raise NotImplementedError

    def _session_over(self, session: SendSession, reason: str, *, fruitless: bool) -> None:
        """For the logs, and to remember hosts that are of no use now."""
        raise NotImplementedError

    # --- delivery.ports.Courier -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is work: idle sessions take it, and new ones open where that is not enough."""
        if self._closing:
            return
        while self._idle and self._source.backlog() > 0:
            session = self._idle.pop()
            session.resume()
            if self._idle and self._idle[-1] is session:
                break  # it found nothing to take
        if not self._idle:
            self._limiter.withdraw(self._drop_idle)
        self._grow()

    async def close(self) -> None:
        """Let sessions end what they are at, a few seconds at most; then drop them."""
        self._closing = True
        if self._impatient is not None:
            self._impatient.cancel()
        self._limiter.withdraw(self._drop_idle, self.wake)
        for task in self._opening:
            task.cancel()
        for session in list(self._sessions):
            session.stop()
        if self._sessions:
            self._all_ended = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._all_ended
            except TimeoutError:
                for session in list(self._sessions):
                    session.client.abort("the server is stopping")
        if self._opening:
            await asyncio.gather(*self._opening, return_exceptions=True)

    # --- delivery.situation.Standing ------------------------------------------------------------------------------

    limit_setting = ("delivery", "max_per_domain_outbound_connections")
    """Table and name of the setting that `limit` comes from."""
    resolving = 0
    """Openings that wait for DNS."""

    def standing(self) -> CourierStanding:
        """What it is at."""
        sessions, opening = len(self._sessions), len(self._opening)
        limits = []
        if sessions + opening >= self._limit and sessions and not self._idle:
            table, setting = self.limit_setting
            limits.append(Limit(setting, int(self._limit), sessions, table=table))
        if self._limiter.used >= self._limiter.limit and not self._idle and not opening:
            limits.append(
                Limit("max_outbound_connections", int(self._limiter.limit), self._limiter.used, table="delivery")
            )
        return CourierStanding(
            sessions=sessions,
            connecting=opening - self.resolving,
            resolving=self.resolving,
            limits=tuple(limits),
            pause=max(0.0, self._no_growth_until - self._clock.monotonic()) if sessions else 0.0,
        )

    # --- the pool -----------------------------------------------------------------------------------------------------

    def session_idle(self, session: SendSession) -> None:
        if session not in self._idle:
            self._idle.append(session)
            self._limiter.offer(self._drop_idle)

    def session_ended(self, session: SendSession, reason: str, *, fruitless: bool) -> None:
        if session in self._idle:
            self._idle.remove(session)
            if not self._idle:
                self._limiter.withdraw(self._drop_idle)
        if session in self._sessions:
            self._sessions.discard(session)
            self._limiter.release()
        self._session_over(session, reason, fruitless=fruitless)
        if self._all_ended is not None and not self._sessions and not self._all_ended.done():
            self._all_ended.set_result(None)
        if fruitless:  # 421 to the first MAIL, or a drop: the next message would fare no better there now
            self._failed(NoHost(f"{session.host}: {reason}", "4.4.2"))
        if not self._closing:
            self._grow()

    def _drop_idle(self) -> None:
        """Give up an idle session: another next hop has work and no connection."""
        if self._idle:
            self._idle.pop().client.quit()
        if not self._idle:
            self._limiter.withdraw(self._drop_idle)

    def _grow(self) -> None:
        """Open another session for a backlog that is too large, or waits too long, for those there are and those being
        opened; at most as many at a time as there are, so that a host that takes few is not stormed."""
        if self._closing or self._idle:
            return
        backlog = self._source.backlog()
        if backlog > _BACKLOG_PER_SESSION * (len(self._sessions) + len(self._opening)):
            self._open_for(backlog)
        elif backlog and self._impatient is None:
            self._impatient = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._waited)

    def _waited(self) -> None:
        self._impatient = None
        if self._closing or self._idle:
            return
        self._open_for(self._source.backlog())
        self._grow()

    def _open_for(self, backlog: int) -> None:
        while (
            backlog > len(self._opening) * _BACKLOG_PER_SESSION
            and len(self._sessions) + len(self._opening) < self._limit
            and len(self._opening) < max(1, len(self._sessions))
            and (not self._sessions or self._clock.monotonic() >= self._no_growth_until)
        ):
            if not self._limiter.acquire(self.wake):
                return
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)

    async def _open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        session: SendSession | None = None
        problem: NoHost | None = None
        try:
            session = await self._connect()
        except NoHost as error:
            problem = error
        except Exception as error:  # a fault of ours must not leave the queue without an answer
            problem = NoHost(f"no session could be opened: {type(error).__name__}: {error}", "4.3.0")
        finally:
            self._opening.discard(task)
            if session is None:
                self._limiter.release()
        if session is None:
            self._failed(problem or NoHost("no session could be opened", "4.3.0"))
        elif session.client.is_open:
            self._sessions.add(session)
            session.resume()
            self._grow()
        else:
            self._limiter.release()
            self._session_over(session, "closed at once", fruitless=True)
            self._failed(NoHost(f"{session.host} closed the connection at once", "4.4.2"))

    def _failed(self, problem: NoHost) -> None:
        """No host could be used. With sessions at work that only means: not more of them for now."""
        if self._closing:
            return
        if self._sessions or self._opening:
            self._no_growth_until = self._clock.monotonic() + _NO_GROWTH_SECONDS
            return
        self._source.connection_failed(str(problem), permanent=problem.permanent, status=problem.status)
