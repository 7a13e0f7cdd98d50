# SPDX-License-Identifier: MIT
"""One access token that all sessions of a connector share: asked for once, renewed before it expires.

While a request is under way everybody waits for that one. After a failure the next request waits, longer each time;
a secret that was exchanged ends the wait.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.oauth.provider import Token
from bridgehead.mail.secret import Secret
from bridgehead.net.clock import Clock

RENEW_FROM, RENEW_WITHIN = 0.7, 0.2
"""A token is renewed after 70 to 90 % of its life: not by everybody at the same time."""
MARGIN_SECONDS: Final = 60.0
"""So long before its end a token is not used any more; of short-lived ones a tenth of their life."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds between failed requests, doubled each time."""
FORCED_APART: Final = 300.0
"""A smart host that refuses fresh tokens brings about one request in this time, in seconds."""


class Holding:
    """A token and how the next is had.

    Args:
        ask: asks the provider. Raises TokenFault.
        fingerprint: of the credentials that `ask` uses.
        random: gives floats from 0 up to 1.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[Token]], fingerprint: Callable[[], bytes], clock: Clock,
        random: Callable[[], float],
    ) -> None:  # fmt: skip
        self._ask, self._fingerprint, self._clock, self._random = ask, fingerprint, clock, random
        self._token: Token | None = None
        self._obtained = 0.0
        self._renew_at = 0.0
        self._forced = -FORCED_APART
        self._wait_until = 0.0
        self._failures = 0
        self._failed_with = b""
        self._task: asyncio.Task[None] | None = None
        self.fault: TokenFault | None = None
        """Why the last request failed, None where it did not."""
        self.failing_since = 0.0
        """Unix time of the first of the failures, 0 while all is well."""
        self.obtained_at = self.expires_at = 0.0
        """Unix times of the token held, 0 without."""
        self.requests = 0
        self._used = False

    async def get(self) -> Secret:
        """A token that is good for a while. Raises TokenFault."""
        token = self._usable()
        if token is None:
            return await self._new()
        self._used = True
        self.tend()
        return token.access

    async def renewed(self, refused: Secret) -> Secret | None:
        """Another token in place of one that a smart host refused; None where that was tried a short while ago.
        Raises TokenFault."""
        token = self._usable()
        if token is not None and token.access is not refused:
            return token.access  # somebody else was refused before us
        if self._task is None and self._clock.monotonic() - self._forced < FORCED_APART:
            return None
        return await self.force()

    async def force(self) -> Secret:
        """A new token whatever is held, at once. Raises TokenFault."""
        if self._task is None:
            self._forced = self._clock.monotonic()
            self._wait_until = 0.0
        return await self._new()

    def tend(self) -> None:
        """Renew the token in the background where it is time and it was used."""
        now = self._clock.monotonic()
        if self._token is None or not self._used or now < self._renew_at or self._task is not None:
            return
        if now >= self._wait_until or self._exchanged():
            self._begin()

    def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()

    def _usable(self) -> Token | None:
        token = self._token
        if token is None:
            return None
        margin = min(MARGIN_SECONDS, token.seconds / 10)
        return token if self._clock.monotonic() < self._obtained + token.seconds - margin else None

    async def _new(self) -> Secret:
        if self._task is None:
            if self.fault is not None and self._clock.monotonic() < self._wait_until and not self._exchanged():
                raise self.fault.again()
            self._begin()
        assert self._task is not None
        await asyncio.shield(self._task)
        if self.fault is not None:
            raise self.fault.again()
        assert self._token is not None
        self._used = True
        return self._token.access

    def _exchanged(self) -> bool:
        return self._failures > 0 and self._fingerprint() != self._failed_with

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._request())

    async def _request(self) -> None:
        """Ask; what comes of it stands in `_token` or `fault`."""
        self.requests += 1
        try:
            token = await self._ask()
        except TokenFault as fault:
            self._failed(fault)
        else:
            self._token, self._used = token, False
            self._obtained, self.obtained_at = self._clock.monotonic(), self._clock.now()
            self.expires_at = self.obtained_at + token.seconds
            self._renew_at = self._obtained + token.seconds * (RENEW_FROM + RENEW_WITHIN * self._random())
            self.fault, self._failures, self.failing_since, self._wait_until = None, 0, 0.0, 0.0
        finally:
            self._task = None

    def _failed(self, fault: TokenFault) -> None:
        self._failures += 1
        self._failed_with = self._fingerprint()
        self.failing_since = self.failing_since or self._clock.now()
        wait = min(FIRST_WAIT * 2 ** min(self._failures - 1, 10), LONGEST_WAIT) * (0.75 + 0.5 * self._random())
        self._wait_until = self._clock.monotonic() + max(wait, fault.retry_after)
        self.fault = fault
