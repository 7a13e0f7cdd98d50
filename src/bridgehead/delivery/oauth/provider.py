# SPDX-License-Identifier: MIT
"""What is said to an identity provider and what it answers (RFC 6749 §3.2, §5; RFC 8628 §3.1, §3.2).

A refusal becomes a sentence with the remedy, from the table in `diagnosis.replies_identity`. Whatever the provider
says, no secret that was sent to it is repeated.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from bridgehead.delivery.oauth.faults import StillWaiting, TokenFault
from bridgehead.diagnosis.facts import How
from bridgehead.diagnosis.replies import advice
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, RETRY_AFTER_SECONDS_MAX, TOKEN_CHARACTERS, TOKEN_SECONDS_MAX
from bridgehead.mail.secret import Secret
from bridgehead.net.https import HttpAnswer, HttpFault, HttpsClient

Form = Mapping[str, "str | Secret"]
_LIFETIME: Final = 3600.0
"""Of a token whose provider does not say (RFC 6749 §5.1 recommends that it does)."""
_SKEW_TOLD: Final = 30.0
_POLLS: Final = (5.0, 1800.0)
"""Least seconds between two questions after a code, and the most that a code is good for."""
_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Token(msgspec.Struct, frozen=True):
    """An access token. `seconds`: how long it lives; `refresh`: what the next is had with, None where none came."""

    access: Secret
    seconds: float
    refresh: Secret | None = None


class DeviceCode(msgspec.Struct, frozen=True):
    """What a person is to do: open `url`, enter `user_code`. `device_code` is ours to ask with."""

    device_code: Secret
    user_code: str
    url: str
    seconds: float
    interval: float


class Provider:
    """Speaks for one connector.

    Args:
        connector: its name, for remedies.
        now: Unix time, to see whether the clocks differ.
    """

    def __init__(self, client: HttpsClient, connector: str, now: float) -> None:
        self._client, self._connector, self._now = client, connector, now

    async def token(self, url: str, form: Form) -> Token:
        """Ask for a token. Raises TokenFault, StillWaiting."""
        host, document = await self._ask(url, form)
        access, kind = _token(document.get("access_token")), document.get("token_type", "Bearer")
        if access is None:
            raise TokenFault(f"{host} gives a token that is none", How.SILENT)
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise TokenFault(f"{host} gives a token of type {clean_text(str(kind), 40)}, not Bearer", How.SILENT)
        seconds = min(_seconds(document.get("expires_in"), _LIFETIME), TOKEN_SECONDS_MAX)
        return Token(access, seconds, _token(document.get("refresh_token")))

    async def device_code(self, url: str, form: Form) -> DeviceCode:
        """Begin a log-on by code. Raises TokenFault."""
        host, document = await self._ask(url, form)
        code, user_code = _token(document.get("device_code")), document.get("user_code")
        page = document.get("verification_uri") or document.get("verification_url")  # Google's name for it
        if code is None or not isinstance(user_code, str) or not isinstance(page, str):
            raise TokenFault(f"{host} gives no code to log on with", How.SILENT)
        return DeviceCode(
            code, clean_text(user_code, 40), clean_text(page, 200),
            min(_seconds(document.get("expires_in"), 900.0), _POLLS[1]),
            max(_seconds(document.get("interval"), 5.0), 1.0),
        )  # fmt: skip

    async def _ask(self, url: str, form: Form) -> tuple[str, dict[str, Any]]:
        host = urlsplit(url).hostname or url
        plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}
        try:
            answer = await self._client.post(url, urlencode(plain).encode("ascii"), _HEADERS)
        except HttpFault as fault:
            raise TokenFault(f"no token: {fault}", How.SILENT) from None
        document = _decoded(answer.body)
        if answer.status == 200 and document is not None and "error" not in document:
            return host, document
        secrets = [value.reveal() for value in form.values() if isinstance(value, Secret)]
        raise self._refusal(host, answer, document or {}, secrets)

    def _refusal(
        self, host: str, answer: HttpAnswer, document: Mapping[str, Any], secrets: list[str]
    ) -> Exception:  # fmt: skip
        error, description = document.get("error"), document.get("error_description")
        if error in ("authorization_pending", "slow_down") and answer.status == 400:
            return StillWaiting(slower=error == "slow_down")
        parts = [part for part in (error, description) if isinstance(part, str)]
        words = " ".join([f"HTTP {answer.status}", *parts])
        for secret in secrets:
            words = words.replace(secret, "****")
        line = clean_text(" ".join(words.split()), DIAGNOSTIC_TEXT)
        says, remedy = advice(line, connector=self._connector, who=host)
        reason = f"{host} gives no token: {line}{self._skew(answer)}"
        if says:
            reason = f"{reason} ({says} → {remedy})"
        is_answer = error is not None or answer.status in (429, 503)
        return TokenFault(
            reason, How.REPLY if is_answer else How.SILENT, answer=line, remedy=remedy,
            retry_after=_retry_after(answer), gone=error == "invalid_grant",
        )  # fmt: skip

    def _skew(self, answer: HttpAnswer) -> str:
        """How far the clocks differ, where that matters."""
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            return ""
        difference = self._now - theirs
        if abs(difference) < _SKEW_TOLD:
            return ""
        return f"; our clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the provider's"


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


def _token(value: object) -> Secret | None:
    """A token, None for what is none: printable ASCII without blanks (RFC 6750 §2.1), and not too long, so that
    nothing in it ends a SASL message."""
    if not isinstance(value, str) or not value or len(value) > TOKEN_CHARACTERS:
        return None
    return Secret(value) if value.isascii() and value.isprintable() and " " not in value else None


def _seconds(value: object, default: float) -> float:
    """Google and others write numbers as text here and there."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return default
    return seconds if 0 < seconds < float("inf") else default


def _retry_after(answer: HttpAnswer) -> float:
    """Retry-After in seconds; a date is as good as none to whose clock differs."""
    value = answer.headers.get("retry-after", "")
    return min(float(value[:9]), RETRY_AFTER_SECONDS_MAX) if value.isascii() and value.isdigit() else 0.0
