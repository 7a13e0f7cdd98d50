# SPDX-License-Identifier: MIT
"""Logins: a TOML file of names, their addresses and salted SCRAM-SHA-256 verifiers (RFC 5802 §3, RFC 7677).

One verifier serves SCRAM and passwords in clear text; the password itself is nowhere. The file is for its owner alone
(mode 0600), replaced as a whole under a lock, and read again when it changes. A name that is unknown or disabled
looks from outside like one with a wrong password: same salt each time, same work.

    unknown_user_secret = "…"
    [users."scanner"]
    addresses = ["scanner@contoso.com"]
    send_as = ["*@printers.contoso.com"]
    salt = "…"
    iterations = 16384
    stored_key = "…"
    server_key = "…"
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from scramp import ScramException
from scramp.utils import saslprep

from bridgehead.directory.user_record import (
    User,
    UserFileError,
    UserRecords,
    canonical_name,
    from_record,
    line_of,
    problem_with,
    record_table,
)
from bridgehead.mail.limits import PASSWORD_CHARACTERS
from bridgehead.mail.secret import Secret
from bridgehead.smtp.sasl import ScramCredential, make_credential, password_matches

log = logging.getLogger("bridgehead.directory")

ITERATIONS: Final = 16384
"""PBKDF2 rounds: about ten milliseconds a log-on. RFC 7677 §4 asks for 4096 at least."""
_SALT_BYTES: Final = 16
_NOTHING_SEEN: Final = (-1, -1, -1)
_OUT_OF_REACH: Final = (-2, -2, -2)
"""The stamp of a file that may be there and cannot be looked at: no reason to believe that there are no logins."""
_HEADING: Final = "# Logins with salted password verifiers. Written by `bridgehead user`; comments are not kept.\n"


class UserFile:
    """The logins in one file. A file that does not exist holds none.

    Raises UserFileError on a file that is there but unusable. One that becomes unusable later is logged, and what was
    read before stays in force.
    """

    def __init__(self, path: Path, iterations: int = ITERATIONS) -> None:
        self._path = path
        self._iterations = iterations
        self._users: dict[str, User] = {}
        self._credentials: dict[str, ScramCredential] = {}
        self._secret = secrets.token_bytes(32)
        self._fake_iterations = iterations
        self._seen: tuple[int, int, int] | None = None
        self._load()

    # --- what a log-on asks -----------------------------------------------------------------------------------------

    def find(self, name: str) -> User | None:
        """The enabled login with this name."""
        self._refresh()
        user = self._users.get(canonical_name(name))
        return user if user is not None and user.enabled else None

    def holds(self, name: str) -> bool:
        """Whether there is such a login, disabled or not: then it is nobody else's."""
        self._refresh()
        return canonical_name(name) in self._users

    def find_by_certificate(self, identities: Collection[str]) -> list[User]:
        """The enabled logins that a client's certificate is for, by what it carries (`User.certificates`)."""
        self._refresh()
        return self._found_by(self._by_certificate, identities)

    def find_by_address(self, address: str) -> list[User]:
        """The enabled logins whose own this address is."""
        self._refresh()
        return self._found_by(self._by_address, (address.lower(),))

    def _found_by(self, index: dict[str, list[str]], keys: Collection[str]) -> list[User]:
        names = dict.fromkeys(name for key in keys for name in index.get(key, ()))
        return [user for name in names if (user := self._users[name]).enabled]

    def credential(self, name: str) -> ScramCredential:
        """The verifier of a login; of an unknown or disabled one, a verifier that no password matches."""
        self._refresh()
        key = canonical_name(name)
        # Both are always worked out, so that the time taken tells nothing.
        salt = hmac.digest(self._secret, b"salt\0" + key.encode(), "sha256")[:_SALT_BYTES]
        stored = hmac.digest(self._secret, b"stored\0" + key.encode(), "sha256")
        fake = ScramCredential(salt, self._fake_iterations, stored, stored)
        user = self._users.get(key)
        return self._credentials[key] if user is not None and user.enabled else fake

    def verify(self, name: str, password: Secret) -> bool:
        """Whether this is the password of an enabled login. Takes milliseconds: call it away from the event loop."""
        try:
            prepared = saslprep(password.reveal()).encode()
        except (ScramException, UnicodeError):
            prepared = b"\0"
        return password_matches(prepared, self.credential(name))

    # --- what administrators ask --------------------------------------------------------------------------------------

    def list_users(self) -> list[User]:
        """All logins by name, disabled ones too."""
        self._refresh()
        return [self._users[name] for name in sorted(self._users)]

    def add(
        self, name: str, password: Secret, *, addresses: Sequence[str] = (), send_as: Sequence[str] = (),
        send_on_behalf: Sequence[str] = (), certificates: Sequence[str] = (), comment: str = "",
    ) -> User:  # fmt: skip
        """Add a login. Raises UserFileError where the name is taken or anything is malformed."""
        key = canonical_name(name)
        user = User(
            name=key, addresses=tuple(addresses), send_as=tuple(send_as), send_on_behalf=tuple(send_on_behalf),
            certificates=tuple(certificates), comment=comment,
        )  # fmt: skip
        problem = problem_with(user)
        if problem:
            raise UserFileError(problem)
        with self._changing():
            if key in self._users:
                raise UserFileError(f'there is a login "{key}" already; change it, or choose another name')
            self._users[key], self._credentials[key] = user, self._derive(password)
        return user

    def update(
        self, name: str, *, addresses: Sequence[str] | None = None, send_as: Sequence[str] | None = None,
        send_on_behalf: Sequence[str] | None = None, certificates: Sequence[str] | None = None,
        comment: str | None = None, enabled: bool | None = None,
    ) -> User:  # fmt: skip
        """Change what is given of a login. Raises UserFileError."""
        with self._changing():
            former = self._users[self._known(name)]
            user = User(
                name=former.name,
                enabled=former.enabled if enabled is None else enabled,
                comment=former.comment if comment is None else comment,
                addresses=former.addresses if addresses is None else tuple(addresses),
                send_as=former.send_as if send_as is None else tuple(send_as),
                send_on_behalf=former.send_on_behalf if send_on_behalf is None else tuple(send_on_behalf),
                certificates=former.certificates if certificates is None else tuple(certificates),
            )
            if problem := problem_with(user):
                raise UserFileError(problem)
            self._users[user.name] = user
        return user

    def set_password(self, name: str, password: Secret) -> None:
        """Give a login another password. Raises UserFileError."""
        with self._changing():
            self._credentials[self._known(name)] = self._derive(password)

    def remove(self, name: str) -> None:
        """Remove a login. Raises UserFileError where there is none."""
        with self._changing():
            key = self._known(name)
            del self._users[key], self._credentials[key]

    def _known(self, name: str) -> str:
        key = canonical_name(name)
        if key not in self._users:
            raise UserFileError(f'there is no login "{key}" in {self._path}')
        return key

    def _derive(self, password: Secret) -> ScramCredential:
        text = password.reveal()
        try:
            prepared = saslprep(text)
        except ScramException as error:
            raise UserFileError(f"the password holds a character that SASLprep forbids: {error.args[0]}") from None
        if not prepared or len(prepared) > PASSWORD_CHARACTERS:
            raise UserFileError(f"a password of 1 to {PASSWORD_CHARACTERS} characters was expected")
        return make_credential(prepared.encode(), secrets.token_bytes(_SALT_BYTES), self._iterations)

    # --- the file ---------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Read the file again where it changed."""
        if self._stamp() == self._seen:
            return
        try:
            self._load()
        except UserFileError as error:
            self._seen = self._stamp()
            log.error("%s; the logins read before stay in force", error)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return _OUT_OF_REACH
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> None:
        stamp = self._stamp()
        try:
            text = self._path.read_text("utf-8") if stamp is not None else ""
            read = msgspec.convert(tomllib.loads(text), UserRecords)
            if stamp is not None and self._path.stat().st_mode & 0o077:
                log.warning("%s can be read by others; it holds password verifiers: chmod 600 it", self._path)
        except OSError as error:
            raise UserFileError(f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserFileError(f"{self._path} is no UTF-8 text (octet {error.start})") from error
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise UserFileError(f"{self._path}: {error}") from error
        users, credentials = {}, {}
        for name, record in read.users.items():
            where = f"{self._path}, line {line_of(text, name)}, login {name!r}"
            user, credentials[user.name] = from_record(where, name, record)
            if user.name in users:
                raise UserFileError(f"{where}: the name is used twice (case does not matter)")
            users[user.name] = user
        if read.unknown_user_secret:
            self._secret = hashlib.sha256(read.unknown_user_secret.encode()).digest()
        self._users, self._credentials, self._seen = users, credentials, stamp
        self._by_certificate = _index(users, lambda user: (one.lower() for one in user.certificates))
        self._by_address = _index(users, lambda user: (one.lower() for one in user.addresses))
        counts = [credential.iterations for credential in credentials.values()]
        self._fake_iterations = max(set(counts), key=counts.count) if counts else self._iterations

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Lock out other writers, read what is there now, and write what the body made of it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserFileError(f"{self._path}.lock cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._keep_owner(lock)
            self._load()
            yield
            self._write()
        finally:
            self._seen = _NOTHING_SEEN  # whatever the body did, the next look reads the file
            os.close(lock)

    def _write(self) -> None:
        secret = self._file_secret()
        tables = [_HEADING, f"unknown_user_secret = {json.dumps(secret)}\n"]
        tables += [record_table(self._users[name], self._credentials[name]) for name in sorted(self._users)]
        temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write("".join(tables).encode())
                self._keep_owner(descriptor)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserFileError(f"{self._path} cannot be written: {error.strerror}") from error

    def _file_secret(self) -> str:
        """The secret that the file has already, else a new one."""
        try:
            kept = tomllib.loads(self._path.read_text("utf-8")).get("unknown_user_secret")
        except FileNotFoundError:
            kept = None
        return kept if isinstance(kept, str) and kept else secrets.token_hex(32)

    def _keep_owner(self, descriptor: int) -> None:
        """What root writes stays readable for the server's account: that of the old file, else of the folder."""
        if os.geteuid() == 0:
            like = self._path if self._path.exists() else self._path.parent
            found = like.stat()
            os.fchown(descriptor, found.st_uid, found.st_gid)


def _index(users: dict[str, User], keys: Callable[[User], Iterable[str]]) -> dict[str, list[str]]:
    """Names of logins by a key that several may share."""
    found: dict[str, list[str]] = {}
    for name, user in users.items():
        for key in keys(user):
            found.setdefault(key, []).append(name)
    return found
