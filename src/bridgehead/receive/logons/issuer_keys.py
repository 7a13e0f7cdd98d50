# SPDX-License-Identifier: MIT
"""The keys that an OpenID provider signs tokens with (OpenID Connect Discovery 1.0 §4, RFC 7517), fetched and kept.

Keys are fetched when the first token comes, then at intervals, and once for a key id that is not known, but never more
often than MIN_SECONDS: nobody can make us ask by inventing key ids. While the provider cannot be reached the last keys
serve until `max_key_age`; after that nobody can tell, which is a temporary failure and never a yes or a no.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bridgehead.mail.limits import ISSUER_DOCUMENT_BYTES, TOKEN_KEYS
from bridgehead.receive.logons.settings import AuthServer

if TYPE_CHECKING:
    from joserfc.jwk import Key

MIN_SECONDS: Final = 30.0
"""Between two attempts to fetch keys."""
_KINDS: Final = frozenset({"RSA", "EC", "OKP"})
"""Key pairs. A shared secret that a provider publishes is no secret ("oct"), and verifies nothing here."""
RSA_BITS: Final = 2048
"""Shorter keys verify nothing (RFC 7518 §3.3)."""
_UNUSED: Final = frozenset({"x5c", "x5t", "x5t#S256", "x5u"})

log = logging.getLogger("bridgehead.receive")

Fetch = Callable[[str], Awaitable[bytes]]
"""The document at an https address. Raises IssuerFault."""


class IssuerFault(Exception):
    """The provider cannot be asked, or answers with nothing of use. The message says why."""


class IssuerKeys:
    """The keys of one provider.

    Args:
        monotonic: seconds.
        told: is told of a fault, and with "" that there is none any more.
    """

    def __init__(
        self, settings: AuthServer, fetch: Fetch, monotonic: Callable[[], float], told: Callable[[str], None]
    ) -> None:
        self._settings, self._fetch, self._monotonic, self._told = settings, fetch, monotonic, told
        self._keys: list[Key] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._fault = "its keys were not fetched yet"
        self._task: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, kind: str) -> "Key | None":
        """The key with this id and type; without an id the only one of the type. None where there is none.

        Raises IssuerFault where the keys are too old to say so.
        """
        if not self._are_fresh(self._settings.max_key_age.total_seconds()):
            await self._refresh()
            if not self._are_fresh(self._settings.max_key_age.total_seconds()):
                raise IssuerFault(self._fault)
        found = self._look_up(key_id, kind)
        if found is None:
            await self._refresh()
            found = self._look_up(key_id, kind)
        elif not self._are_fresh(self._settings.key_refresh_interval.total_seconds()):
            self._begin()  # what is known serves meanwhile
        return found

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _are_fresh(self, seconds: float) -> bool:
        return self._monotonic() - self._fetched_at <= seconds

    def _look_up(self, key_id: str | None, kind: str) -> "Key | None":
        found = [key for key in self._keys if key.key_type == kind and key_id in (None, key.kid)]
        return found[0] if len(found) == 1 else None

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried just now; who comes meanwhile waits for the same answer."""
        self._begin()
        if self._task is not None:
            await asyncio.shield(self._task)

    def _begin(self) -> None:
        if self._task is None and self._monotonic() - self._tried_at >= MIN_SECONDS:
            self._tried_at = self._monotonic()
            self._task = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        try:
            self._keys = await self._fetched()
            self._fetched_at, self._fault = self._monotonic(), ""
        except IssuerFault as fault:
            self._fault = f"the keys of {self._settings.name} cannot be fetched: {fault}"
            log.warning("%s", self._fault)
        finally:
            self._task = None
        self._told(self._fault)

    async def _fetched(self) -> "list[Key]":
        settings = self._settings
        metadata = _document(await self._fetch(settings.metadata_url), settings.metadata_url)
        if metadata.get("issuer") != settings.issuer_identifier:
            raise IssuerFault(f"{settings.metadata_url} describes another issuer than issuer_identifier")
        address = metadata.get("jwks_uri")
        if not isinstance(address, str) or urlsplit(address).scheme != "https":
            raise IssuerFault(f"{settings.metadata_url} names no https address of its keys")
        published = _document(await self._fetch(address), address).get("keys")
        if not isinstance(published, list):
            raise IssuerFault(f"{address} holds no keys")
        keys = [key for one in published[:TOKEN_KEYS] if (key := _usable(one)) is not None]
        if not keys:
            raise IssuerFault(f"{address} holds no key that verifies signatures")
        return keys


def _document(data: bytes, address: str) -> dict[str, Any]:
    if len(data) > ISSUER_DOCUMENT_BYTES:
        raise IssuerFault(f"{address} is larger than {ISSUER_DOCUMENT_BYTES} octets")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise IssuerFault(f"{address} is no JSON object")
    return found


def _usable(published: object) -> "Key | None":
    """A published key that may verify signatures."""
    from joserfc.errors import JoseError  # where tokens log in only: it takes 60 ms
    from joserfc.jwk import import_key

    if not isinstance(published, dict) or published.get("kty") not in _KINDS:
        return None
    if published["kty"] == "RSA" and len(str(published.get("n"))) * 6 < RSA_BITS:
        return None
    if published.get("use", "sig") != "sig" or "verify" not in published.get("key_ops", ["verify"]):
        return None
    try:
        return import_key({name: value for name, value in published.items() if name not in _UNUSED})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
