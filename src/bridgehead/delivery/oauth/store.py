# SPDX-License-Identifier: MIT
"""The token store: refresh tokens in one file under AES-256-GCM (NIST SP 800-38D), replaced as a whole.

The key is named by the setting `token_store_key`, or lies in a file of mode 0600 beside the store that is made at first
use: whoever copies one of the two files has nothing. A store that cannot be read is left as it is, and says so.
"""

import asyncio
import base64
import binascii
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from bridgehead.mail.limits import TOKEN_STORE_BYTES
from bridgehead.mail.secret import Secret
from bridgehead.net.durable_files import create_file, replace_file, sync_folder
from bridgehead.net.secrets import read_secret

STORE_FILE: Final = "oauth-tokens"
KEY_FILE: Final = "oauth-tokens.key"
_MAGIC: Final = b"Bridgehead token store 1\n"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class StoreUnusable(Exception):
    """The store or its key cannot be used. The message says which file, and what to do; it holds no secret."""


class StoredToken(msgspec.Struct, kw_only=True):
    """A refresh token and what it is for.

    Attributes:
        key: identifies connector, account and scope.
        obtained, used: Unix times: of the log-on, and of the last access token had with it.
    """

    key: str
    refresh_token: Secret
    obtained: float
    used: float


class TokenStore:
    """Keeps refresh tokens.

    Args:
        directory: the data directory.
        key_reference: where the key is, "" for the key file.
    """

    def __init__(self, directory: Path, key_reference: str) -> None:
        self.file = directory / STORE_FILE
        self._directory, self._reference = directory, key_reference
        self._tokens: dict[str, StoredToken] | None = None
        self._writing = asyncio.Lock()
        self.trouble = ""
        """Why what is in memory is not on disk, "" where it is."""

    async def get(self, key: str) -> StoredToken | None:
        """The token kept under a key. Raises StoreUnusable."""
        return (await self._all()).get(key)

    async def put(self, token: StoredToken) -> None:
        """Keep a token in place of the former one; on disk when this returns. Raises StoreUnusable; where it was only
        the disk that took nothing, the token is in memory, and `save` tries again."""
        async with self._writing:
            self._tokens = {**(await self._all()), token.key: token}
            await self._save(self._tokens)

    async def save(self) -> None:
        """Bring to disk what could not be written. Raises StoreUnusable."""
        async with self._writing:
            if self.trouble and self._tokens is not None:
                await self._save(self._tokens)

    async def remove(self, key: str) -> bool:
        """Forget a token; whether there was one. Raises StoreUnusable."""
        async with self._writing:
            tokens = dict(await self._all())
            if tokens.pop(key, None) is None:
                return False
            self._tokens = tokens
            await self._save(tokens)
            return True

    async def _all(self) -> dict[str, StoredToken]:
        if self._tokens is None:
            self._tokens = await asyncio.to_thread(self._read)
        return self._tokens

    async def _save(self, tokens: dict[str, StoredToken]) -> None:
        try:
            await asyncio.to_thread(self._write, list(tokens.values()))
        except StoreUnusable as fault:
            self.trouble = str(fault)
            raise
        self.trouble = ""

    # --- in a thread -------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, StoredToken]:
        from cryptography.exceptions import InvalidTag

        try:
            with self.file.open("rb") as opened:
                data = opened.read(TOKEN_STORE_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreUnusable(f"the token store {self.file} cannot be read: {error.strerror}") from None
        try:
            if not data.startswith(_MAGIC) or len(data) > TOKEN_STORE_BYTES:
                raise ValueError
            nonce, sealed = data[len(_MAGIC) :][:_NONCE_BYTES], data[len(_MAGIC) + _NONCE_BYTES :]
            plain = _cipher(self._key(make=False)).decrypt(nonce, sealed, _MAGIC)
            tokens = msgspec.json.decode(plain, type=list[StoredToken], dec_hook=_to_secret)
        except (InvalidTag, ValueError, msgspec.DecodeError):
            raise StoreUnusable(
                f"the token store {self.file} was changed or belongs to another key: bring back the key, or move the "
                "file away and log on again with bridgehead oauth login"
            ) from None
        return {one.key: one for one in tokens}

    def _write(self, tokens: list[StoredToken]) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _cipher(self._key(make=True)).encrypt(nonce, msgspec.json.encode(tokens, enc_hook=_reveal), _MAGIC)
        try:
            replace_file(self.file, _MAGIC + nonce + sealed)
            sync_folder(self._directory)
        except OSError as error:
            raise StoreUnusable(f"the token store {self.file} cannot be written: {error.strerror}") from None

    def _key(self, *, make: bool) -> bytes:
        """The key's 32 octets. Raises StoreUnusable."""
        if self._reference:
            try:
                text = read_secret(self._reference, self._directory).reveal()
            except ValueError as error:
                raise StoreUnusable(f"the key of the token store: {error}") from None
            return _key_octets(text, "token_store_key")
        path = self._directory / KEY_FILE
        try:
            if make and not path.exists() and not self.file.exists():
                create_file(path, base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            with path.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                text = opened.read(200).decode("ascii", "replace")
        except OSError as error:
            raise StoreUnusable(f"the key of the token store, {path}, cannot be read: {error.strerror}") from None
        if mode & 0o077:
            raise StoreUnusable(f"{path} may be read by others than the server: chmod 600 {path}")
        return _key_octets(text, str(path))


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # imported where tokens are kept: 20 ms

    return AESGCM(key)


def _key_octets(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise StoreUnusable(f"{where} holds no key: {_KEY_BYTES} octets in base64, as `openssl rand -base64 32` makes")
    return key


def _reveal(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _to_secret(kind: type, value: object) -> Secret:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError
