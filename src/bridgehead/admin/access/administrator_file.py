# SPDX-License-Identifier: MIT
"""Logins and tokens of the management interface: a JSON file for its owner alone, replaced as a whole under a lock.

Passwords are kept as the salted verifiers of logins for mail (`directory/users.py`). Tokens are 256 random bits, so a
plain hash keeps them safe and costs a call nothing; each is shown once, when it is made. A name that is unknown takes
the time of one with a wrong password.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypedDict

import msgspec
from scramp import ScramException
from scramp.utils import saslprep

from bridgehead.admin.access.ownership import keep_owner
from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.method import Role, role_name
from bridgehead.directory.user_record import canonical_name
from bridgehead.directory.users import ITERATIONS
from bridgehead.mail.limits import ADMINISTRATORS, LOGIN_NAME_CHARACTERS, PASSWORD_CHARACTERS, TOKENS_PER_ADMINISTRATOR
from bridgehead.mail.secret import Secret
from bridgehead.net.durable_files import sync_folder, write_file
from bridgehead.smtp.sasl import ScramCredential, make_credential, password_matches

PASSWORD_CHARACTERS_MIN: Final = 12
TOKEN_PREFIX: Final = "bht_"  # noqa: S105 - it tells secret scanners what the rest is
_SALT_BYTES: Final = 16
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32


class Token(msgspec.Struct, frozen=True):
    """A token as the file has it.

    Attributes:
        id: its public part, by which it is removed.
        digest: SHA-256 of the whole, hexadecimal.
    """

    id: str
    digest: str
    created: datetime
    expires: datetime
    comment: str = ""


class Administrator(msgspec.Struct, frozen=True, kw_only=True):
    """A login as the file has it; `salt` and `stored_key` are base64."""

    name: str
    role: str
    comment: str = ""
    salt: str
    stored_key: str
    iterations: int
    tokens: list[Token] = []

    @property
    def rank(self) -> Role:
        """Its role."""
        return parse_role(self.role)


class _File(msgspec.Struct, frozen=True):
    unknown_name_secret: str
    administrators: list[Administrator] = []


class AdministratorFile:
    """The logins in one file. One that does not exist holds none.

    All methods raise AdminFault on a file that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._content = _File(secrets.token_hex(32))
        self.version = 0
        """Another number after each change that was read."""

    # --- what a log-on asks -------------------------------------------------------------------------------------------

    def with_password(self, name: str, password: Secret) -> Administrator | None:
        """The login with this name and password. Takes milliseconds, known name or not: call it off the event loop."""
        self.refresh()
        found = self._find(name)
        credential = self._credential(found) if found is not None else self._nobodys(name)
        right = password_matches(_prepared(password), credential)
        return found if right else None

    def with_token(self, token: Secret, now: datetime) -> Administrator | None:
        """The login that this token belongs to, unless it has expired."""
        self.refresh()
        digest = _digest(token)
        for one in self._content.administrators:
            for kept in one.tokens:
                if hmac.compare_digest(kept.digest, digest) and now < kept.expires:
                    return one
        return None

    def refresh(self) -> None:
        """Read the file again where it changed."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            stamp = None
        except OSError as error:
            raise self._unreadable(error.strerror) from None
        if stamp != self._seen:
            self._content, self._seen = self._read(), stamp
            self.version += 1

    # --- what administrators of administrators ask ------------------------------------------------------------------

    def list_all(self) -> list[Administrator]:
        """All logins by name."""
        self.refresh()
        return sorted(self._content.administrators, key=lambda one: one.name)

    def add(self, name: str, password: Secret, role: Role, comment: str = "") -> Administrator:
        """Add a login."""
        key = canonical_name(name)
        if not key or len(key) > LOGIN_NAME_CHARACTERS or not key.isprintable() or " " in key or ":" in key:
            expected = f"1 to {LOGIN_NAME_CHARACTERS} printable characters without spaces and colons"
            raise AdminFault(INVALID, f"a name of {expected} was expected")
        if not comment.isprintable():
            raise AdminFault(INVALID, "a comment is one line of printable characters")
        verifier = _verifier(password)
        with self._changing() as held:
            if key in held:
                raise AdminFault(INVALID, f'there is an administrator "{key}" already', "choose another name")
            if len(held) >= ADMINISTRATORS:
                raise AdminFault(INVALID, f"there are {ADMINISTRATORS} administrators already", "remove one")
            held[key] = Administrator(name=key, role=role_name(role), comment=comment, **verifier)
            return held[key]

    def set_password(self, name: str, password: Secret) -> Administrator:
        """Give a login another password. Its tokens stay."""
        verifier = _verifier(password)
        with self._changing() as held:
            key = self._known(held, name)
            held[key] = msgspec.structs.replace(held[key], **verifier)
            return held[key]

    def remove(self, name: str) -> Administrator:
        """Remove a login with its tokens."""
        with self._changing() as held:
            return held.pop(self._known(held, name))

    def add_token(self, name: str, created: datetime, expires: datetime, comment: str = "") -> tuple[Token, Secret]:
        """Make a token that stands for a login; what it is, is known to nobody afterwards."""
        if not comment.isprintable():
            raise AdminFault(INVALID, "a comment is one line of printable characters")
        number = secrets.token_hex(_ID_BYTES)
        secret = Secret(f"{TOKEN_PREFIX}{number}_{secrets.token_urlsafe(_SECRET_BYTES)}")
        token = Token(number, _digest(secret), created, expires, comment)
        with self._changing() as held:
            key = self._known(held, name)
            kept = [one for one in held[key].tokens if created < one.expires]
            if len(kept) >= TOKENS_PER_ADMINISTRATOR:
                message = f"{key} has {TOKENS_PER_ADMINISTRATOR} tokens already"
                raise AdminFault(INVALID, message, "bridgehead administrator revoke TOKEN")
            held[key] = msgspec.structs.replace(held[key], tokens=[*kept, token])
        return token, secret

    def remove_token(self, number: str) -> Administrator:
        """Remove the token with this id; the login it belonged to."""
        with self._changing() as held:
            for key, one in held.items():
                rest = [token for token in one.tokens if token.id != number]
                if len(rest) < len(one.tokens):
                    held[key] = msgspec.structs.replace(one, tokens=rest)
                    return held[key]
        raise AdminFault(NOT_FOUND, f"there is no token {number}", "bridgehead administrator list shows them")

    # --- the file ---------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Administrator | None:
        key = canonical_name(name)
        return next((one for one in self._content.administrators if one.name == key), None)

    def _credential(self, one: Administrator) -> ScramCredential:
        stored = base64.b64decode(one.stored_key)
        return ScramCredential(base64.b64decode(one.salt), one.iterations, stored, stored)

    def _nobodys(self, name: str) -> ScramCredential:
        """A verifier that no password matches and that takes as long."""
        secret = self._content.unknown_name_secret.encode()
        salt = hmac.digest(secret, b"salt\0" + name.encode(), "sha256")[:_SALT_BYTES]
        stored = hmac.digest(secret, b"stored\0" + name.encode(), "sha256")
        return ScramCredential(salt, ITERATIONS, stored, stored)

    def _known(self, held: dict[str, Administrator], name: str) -> str:
        key = canonical_name(name)
        if key not in held:
            message = f'there is no administrator "{key}" in {self.path}'
            raise AdminFault(NOT_FOUND, message, "bridgehead administrator list shows them")
        return key

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Administrator]]:
        """Lock out other writers; the logins, by name, to be changed; then write what became of them."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unreadable(error.strerror) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            former = self._read()
            held = {one.name: one for one in former.administrators}
            yield held
            self._write(_File(former.unknown_name_secret, [held[name] for name in sorted(held)]))
        finally:
            os.close(lock)

    def _read(self) -> _File:
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_File)
            for one in content.administrators:
                parse_role(one.role)
                self._credential(one)
        except FileNotFoundError:
            return _File(secrets.token_hex(32))
        except OSError as error:
            raise self._unreadable(error.strerror) from None
        except (msgspec.DecodeError, ValueError) as error:
            raise self._unreadable(str(error)) from None
        return content

    def _write(self, content: _File) -> None:
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        try:
            write_file(temporary, [msgspec.json.format(msgspec.json.encode(content)), b"\n"])
            keep_owner(self.path.parent, temporary, Path(f"{self.path}.lock"))
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._unreadable(error.strerror) from None

    def _unreadable(self, reason: str | None) -> AdminFault:
        return AdminFault(FAILED, f"{self.path} cannot be used: {reason}", "run the command as the server's account")


def parse_role(text: str) -> Role:
    """ "help-desk", "viewer", "operator" or "administrator" as a role. Raises AdminFault."""
    for role in Role:
        if role_name(role) == text:
            return role
    raise AdminFault(INVALID, f"there is no role {text!r}", f"one of {', '.join(map(role_name, Role))}")


class _Verifier(TypedDict):
    salt: str
    stored_key: str
    iterations: int


def _verifier(password: Secret) -> _Verifier:
    text = password.reveal()
    if not PASSWORD_CHARACTERS_MIN <= len(text) <= PASSWORD_CHARACTERS:
        message = f"a password of {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS} characters was expected"
        raise AdminFault(INVALID, message)
    try:
        prepared = saslprep(text).encode()
    except ScramException as error:
        raise AdminFault(INVALID, f"the password holds a character that is not allowed: {error.args[0]}") from None
    made = make_credential(prepared, secrets.token_bytes(_SALT_BYTES), ITERATIONS)
    return {
        "salt": base64.b64encode(made.salt).decode(),
        "stored_key": base64.b64encode(made.stored_key).decode(),
        "iterations": made.iterations,
    }


def _prepared(password: Secret) -> bytes:
    try:
        return str(saslprep(password.reveal())).encode()
    except (ScramException, UnicodeError):
        return b"\0"


def _digest(token: Secret) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()
