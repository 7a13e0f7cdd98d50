# SPDX-License-Identifier: MIT
"""Server side of OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's and Microsoft's predecessor of it). Sans I/O.

Whose token it is, somebody else finds out (`TokenJudge`), for it may take a request to the issuer. A refused client is
told why in JSON and has one more line to say, as both protocols want it, before the logon fails.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS, TOKEN_BYTES
from bridgehead.mail.secret import Secret
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import Challenge, Exchange, Failure, Pending, Step, Success

_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 §2.1."""
_GS2_HEADER: Final = re.compile(rb"[ny],(?:a=((?:[^,=\0\x01]|=2C|=3D)+))?,")


class TokenVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of a token.

    Attributes:
        name: the login that it is for; "" where it is refused.
        reason: why it is refused, for the log; never holds the token.
        status: "invalid_token" or "insufficient_scope" (RFC 6750 §3.1).
        scope: what would have sufficed.
        configuration: where the issuer describes itself.
        unavailable: nobody can tell for now; the client is to come again.
    """

    name: str = ""
    reason: str = ""
    status: str = "invalid_token"
    scope: str = ""
    configuration: str = ""
    unavailable: bool = False


TokenJudge = Callable[[Secret, str], Awaitable[TokenVerdict]]
"""(token, login that the client says it is, "" where it does not) → verdict."""


class _TokenExchange(Exchange):
    """What the two mechanisms share."""

    def __init__(self, judge: TokenJudge) -> None:
        self._judge = judge
        self._refusal: Failure | None = None

    def step(self, response: bytes | None) -> Step:
        if self._refusal is not None:  # the client's last word, whatever it is, or its cancellation
            return self._refusal
        return super().step(response)

    def answer(self, message: bytes) -> Step:
        found = self._parsed(message)
        if found is None:
            return self._refused(TokenVerdict(reason="the message is malformed", status="invalid_request"), "")
        name, token = found
        if len(name) > LOGIN_NAME_CHARACTERS or not name.isprintable():
            return self._refused(TokenVerdict(reason="the name is malformed"), "")
        return Pending(lambda: self._judged(name, token))

    def _parsed(self, message: bytes) -> tuple[str, Secret] | None:
        """Who the client says it is, and the token."""
        raise NotImplementedError

    def _error(self, verdict: TokenVerdict) -> dict[str, str]:
        raise NotImplementedError

    async def _judged(self, name: str, token: Secret) -> Step:
        verdict = await self._judge(token, name)
        if verdict.unavailable:
            return Failure(replies.AUTH_TEMPORARY, verdict.reason, name, counts=False, guessable=False)
        return Success(verdict.name, guessable=False) if verdict.name else self._refused(verdict, name)

    def _refused(self, verdict: TokenVerdict, name: str) -> Step:
        self._refusal = Failure(replies.AUTH_FAILED, verdict.reason, name, guessable=False)
        return Challenge(json.dumps({key: value for key, value in self._error(verdict).items() if value}).encode())


class OAuthBearer(_TokenExchange):
    """OAUTHBEARER: GS2 header, then key-value pairs between octets 0x01."""

    def _parsed(self, message: bytes) -> tuple[str, Secret] | None:
        header = _GS2_HEADER.match(message)
        if header is None:
            return None
        name = (header[1] or b"").replace(b"=2C", b",").replace(b"=3D", b"=")
        return _name_and_token(name, message[header.end() :].removeprefix(b"\x01"))

    def _error(self, verdict: TokenVerdict) -> dict[str, str]:
        return {
            "status": verdict.status, "scope": verdict.scope, "openid-configuration": verdict.configuration,
        }  # fmt: skip


class XOAuth2(_TokenExchange):
    """XOAUTH2: `user=` and `auth=`, each ended by an octet 0x01, and one more."""

    def _parsed(self, message: bytes) -> tuple[str, Secret] | None:
        user, found, rest = message.partition(b"\x01")
        if not found or not user.startswith(b"user="):
            return None
        return _name_and_token(user.removeprefix(b"user="), rest)

    def _error(self, verdict: TokenVerdict) -> dict[str, str]:
        status = "403" if verdict.status == "insufficient_scope" else "401"
        return {"status": status, "schemes": "bearer", "scope": verdict.scope}


def _name_and_token(name: bytes, pairs: bytes) -> tuple[str, Secret] | None:
    """The token of `auth=Bearer TOKEN` among pairs that end with two octets 0x01."""
    if not pairs.endswith(b"\x01\x01"):
        return None
    values = [pair.removeprefix(b"auth=") for pair in pairs[:-2].split(b"\x01") if pair.startswith(b"auth=")]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or len(token) > TOKEN_BYTES or not _TOKEN.fullmatch(token):
        return None
    try:
        return name.decode("utf-8"), Secret(token.decode("ascii"))
    except UnicodeDecodeError:
        return None
