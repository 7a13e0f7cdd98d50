# SPDX-License-Identifier: MIT
"""Server side of GSSAPI, the SASL mechanism of Kerberos (RFC 4752), and of the same exchange with SPNEGO's tokens,
which is what Exchange and .NET mean by AUTH GSSAPI. Sans I/O.

No security layer but "none" is offered: TLS is the layer here. The tokens, and who somebody is, are a `GssContext`'s.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from bridgehead.mail.limits import GSS_ROUNDS, LOGIN_NAME_CHARACTERS
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import Challenge, Exchange, Failure, Pending, Step, Success

_NO_LAYER: Final = 1
"""RFC 4752 §3.3."""
_OFFER: Final = bytes((_NO_LAYER, 0, 0, 0))
"""No layer, and so no octet that could come within one."""


class GssFault(Exception):
    """The context fails. The text is for the log, with what to do about it; `unavailable`: that is nothing of the
    client's, which is to come again; `name`: who the client says it is, where that is known."""

    def __init__(self, reason: str, *, unavailable: bool = False, name: str = "") -> None:
        super().__init__(reason)
        self.unavailable, self.name = unavailable, name


class GssAnswer(msgspec.Struct, frozen=True):
    """What became of a token: octets for the client, and who it is once the context stands, "" before."""

    token: bytes = b""
    principal: str = ""


class GssContext(Protocol):
    """A security context (RFC 2743) that one client establishes. Every method raises GssFault."""

    @property
    def guessable(self) -> bool:
        """Whether the client proves itself by a password."""

    def accept(self, token: bytes) -> Awaitable[GssAnswer]:
        """The client's next token."""

    def wrap(self, message: bytes) -> bytes:
        """A message with its proof, once the context stands."""

    def unwrap(self, token: bytes) -> bytes:
        """The client's message, its proof verified."""


class GssVerdict(msgspec.Struct, frozen=True):
    """Which login a principal is; `name` is "" where it is none, for this reason."""

    name: str = ""
    reason: str = ""


GssJudge = Callable[[str, str], Awaitable[GssVerdict]]
"""(principal "ann@CONTOSO.COM", authorization identity, "" where the client gave none) → verdict. Raises GssFault."""


class Gssapi(Exchange):
    """GSSAPI: tokens until the context stands, then the security layer, then the login."""

    def __init__(self, context: GssContext, judge: GssJudge) -> None:
        self._context, self._judge = context, judge
        self._next: Callable[[bytes], Step] = self._token
        self._rounds = 0
        self._principal = ""

    def answer(self, message: bytes) -> Step:
        return self._next(message)

    def _token(self, token: bytes) -> Step:
        self._rounds += 1
        if not token:
            return self._refused("the client sent no token")
        if self._rounds > GSS_ROUNDS:
            return self._refused("the client does not come to an end")
        return Pending(lambda: self._accept(token))

    async def _accept(self, token: bytes) -> Step:
        try:
            answer = await self._context.accept(token)
        except GssFault as fault:
            return self._failed(fault)
        if not answer.principal:
            return Challenge(answer.token)
        self._principal = answer.principal
        self._next = self._acknowledged
        return Challenge(answer.token) if answer.token else self._acknowledged(b"")

    def _acknowledged(self, message: bytes) -> Step:
        """The client's empty answer to the last token; the layers on offer out."""
        if message:
            return self._refused("something follows the client's last token")
        try:
            offer = self._context.wrap(_OFFER)
        except GssFault as fault:
            return self._failed(fault)
        self._next = self._chosen
        return Challenge(offer)

    def _chosen(self, message: bytes) -> Step:
        """The layer that the client takes, the size that it can receive, which means nothing without one, and as whom
        it wants to act."""
        try:
            choice = self._context.unwrap(message)
        except GssFault as fault:
            return self._failed(fault)
        if len(choice) < len(_OFFER):
            return self._refused("the choice of a security layer is malformed")
        if choice[0] != _NO_LAYER:
            return self._refused("the client wants a security layer of SASL, which is not offered here: let it use TLS")
        try:
            authorization = choice[len(_OFFER) :].decode("utf-8")
        except UnicodeDecodeError:
            return self._refused("the identity to act as is no UTF-8")
        if len(authorization) > LOGIN_NAME_CHARACTERS or (authorization and not authorization.isprintable()):
            return self._refused("the identity to act as is malformed")
        return Pending(lambda: self._judged(authorization))

    async def _judged(self, authorization: str) -> Step:
        try:
            verdict = await self._judge(self._principal, authorization)
        except GssFault as fault:
            return self._failed(fault)
        if not verdict.name:
            return self._refused(verdict.reason)
        return Success(verdict.name, guessable=self._context.guessable)

    def _failed(self, fault: GssFault) -> Failure:
        if fault.unavailable:
            return Failure(replies.AUTH_TEMPORARY, str(fault), self._principal, counts=False, guessable=False)
        return self._refused(str(fault), fault.name)

    def _refused(self, reason: str, name: str = "") -> Failure:
        return Failure(replies.AUTH_FAILED, reason, name or self._principal, guessable=self._context.guessable)
