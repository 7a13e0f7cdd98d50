# SPDX-License-Identifier: MIT
"""The embedded directory: an SQLite file with point look-ups behind a bounded cache.

The server reads, the commands write; each is a process of its own. A change by another process is noticed within
half a second (`PRAGMA data_version`), a file put in the place of the old one as well. A row holds one recipient as
JSON, so that the file can be read with any SQLite tool.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.directory.cache import NOBODY, Answer, LookupCache
from bridgehead.directory.keys import DirectoryConflict, address_keys, as_address, name_key, without_detail
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import Mailbox

CHECK_SECONDS: Final = 0.5
"""How soon a change by another process is noticed."""
SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 0.2

_SCHEMA: Final = """
CREATE TABLE recipients (
    id INTEGER PRIMARY KEY,
    name_key TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
);
CREATE TABLE addresses (
    address_key TEXT PRIMARY KEY,
    recipient_id INTEGER NOT NULL REFERENCES recipients(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX addresses_by_recipient ON addresses(recipient_id);
"""
_BY_ADDRESS: Final = (
    "SELECT record FROM recipients WHERE id = (SELECT recipient_id FROM addresses WHERE address_key = ?)"
)
_BY_NAME: Final = "SELECT record FROM recipients WHERE name_key = ?"


class SqliteDirectory:
    """Directory over an SQLite file, which is made where there is none.

    Args:
        path: the database file; its folder must exist.
        plus_addressing: user+detail@domain finds user@domain unless it is an address of its own.
        monotonic: the clock by which changes are looked for.
        busy_seconds: how long a writer waits for another one.

    Raises DirectoryUnavailable where the file cannot be opened or is no directory of ours.
    """

    def __init__(
        self, path: str | Path, *, plus_addressing: bool = True, monotonic: Callable[[], float] = time.monotonic,
        busy_seconds: float = _BUSY_SECONDS,
    ) -> None:  # fmt: skip
        self._path = Path(path)
        self._plus_addressing = plus_addressing
        self._monotonic = monotonic
        self._busy_seconds = busy_seconds
        self._cache = LookupCache()
        self._records = msgspec.json.Decoder(Recipient)
        self._connection: sqlite3.Connection | None = None
        self._data_version = 0
        self._file: tuple[int, int] = (0, 0)
        self._next_check = 0.0
        self._open(create=True)

    # --- the port --------------------------------------------------------------------------------------------------

    def find(self, address: Mailbox) -> Recipient | None:
        """The recipient that owns a proxy address. Raises DirectoryUnavailable."""
        key = address.key
        found = self._answer(key, _BY_ADDRESS)[0]
        if found is None and self._plus_addressing and "+" in address.local_part:
            plain = without_detail(address)
            return self._answer(plain.key, _BY_ADDRESS)[0] if plain else None
        return found

    def find_by_name(self, name: str) -> Recipient | None:
        """The recipient with this unique name, or with this address. Raises DirectoryUnavailable."""
        found = self._answer("=" + name_key(name), _BY_NAME)[0]
        if found is None and (address := as_address(name)):
            return self._answer(address.key, _BY_ADDRESS)[0]
        return found

    def __len__(self) -> int:
        """How many recipients there are. Raises DirectoryUnavailable."""
        try:
            return int(self._opened().execute("SELECT count(*) FROM recipients").fetchone()[0])
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def __iter__(self) -> Iterator[Recipient]:
        """All recipients by name, for listings. Raises DirectoryUnavailable."""
        try:
            for (record,) in self._opened().execute("SELECT record FROM recipients ORDER BY name_key"):
                yield self._records.decode(record)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise self._unavailable(error) from error

    # --- changes ---------------------------------------------------------------------------------------------------

    def add(self, recipient: Recipient) -> None:
        """Add a recipient. Raises DirectoryConflict (and changes nothing), DirectoryUnavailable."""
        self.add_all((recipient,))

    def add_all(self, recipients: Iterable[Recipient], *, replace: bool = False) -> None:
        """Add many, all or none. Raises DirectoryConflict, DirectoryUnavailable.

        `replace`: recipients with names that exist already take the place of those.
        """
        self._change(lambda connection: self._insert(connection, recipients, replace=replace))

    def update(self, recipient: Recipient) -> None:
        """Replace the recipient of the same name. Raises DirectoryConflict, DirectoryUnavailable, KeyError."""

        def replace(connection: sqlite3.Connection) -> None:
            _delete(connection, recipient.name)
            self._insert(connection, (recipient,), replace=False)

        self._change(replace)

    def remove(self, name: str) -> None:
        """Remove a recipient. Raises DirectoryUnavailable, KeyError where there is none of this name."""
        self._change(lambda connection: _delete(connection, name))

    def flush_cache(self) -> None:
        """Forget what can be read again."""
        self._cache.clear()

    def close(self) -> None:
        """Release the file. A later look-up opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- within ----------------------------------------------------------------------------------------------------

    def _answer(self, key: str, query: str) -> Answer:
        now = self._monotonic()
        if now >= self._next_check:
            self._notice_changes(now)
        answer = self._cache.get(key)
        if answer is None:
            answer = self._look_up(key, query)
            self._cache.put(key, answer)
        return answer

    def _look_up(self, key: str, query: str) -> Answer:
        try:
            row = self._opened().execute(query, (key.removeprefix("="),)).fetchone()
            return NOBODY if row is None else (self._records.decode(row[0]),)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise self._unavailable(error) from error

    def _notice_changes(self, now: float) -> None:
        """Forget what was remembered where another process has written, or the file is another one. Opens anew
        after a fault, so that a directory that comes back is found without a restart."""
        try:
            if _identity(self._path) != self._file:
                self.close()
            version = self._opened().execute("PRAGMA data_version").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error
        if version != self._data_version:
            self._data_version = version
            self._cache.clear()
        self._next_check = now + CHECK_SECONDS

    def _opened(self) -> sqlite3.Connection:
        return self._connection or self._open()

    def _open(self, *, create: bool = False) -> sqlite3.Connection:
        """Open the file. Raises DirectoryUnavailable.

        Only the first opening makes a new one: a file that is gone or emptied later on is a fault, for an empty
        directory in its place would have all mail refused for good.
        """
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=self._busy_seconds)
            try:
                _prepare(connection, create=create)
                self._data_version = connection.execute("PRAGMA data_version").fetchone()[0]
            except BaseException:
                connection.close()
                raise
            self._file = _identity(self._path)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error
        self._cache.clear()
        self._connection = connection
        return connection

    def _unavailable(self, error: Exception) -> DirectoryUnavailable:
        """The fault in words; the next look-up opens the file again."""
        self.close()
        self._next_check = 0.0
        return DirectoryUnavailable(f"{self._path}: {error}")

    def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Run a change in a transaction of its own."""
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                change(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        self._cache.clear()

    def _insert(self, connection: sqlite3.Connection, recipients: Iterable[Recipient], *, replace: bool) -> None:
        encode = msgspec.json.Encoder().encode
        if replace:  # all of them first, since addresses may move from one to another
            recipients = list(recipients)
            keys = ((name_key(recipient.name),) for recipient in recipients)
            connection.executemany("DELETE FROM recipients WHERE name_key = ?", keys)
        for recipient in recipients:
            try:
                added = connection.execute(
                    "INSERT INTO recipients (name_key, record) VALUES (?, ?)",
                    (name_key(recipient.name), encode(recipient).decode()),
                )
            except sqlite3.IntegrityError:
                raise DirectoryConflict(f'there is a recipient named "{recipient.name}" already') from None
            for address in address_keys(recipient):
                try:
                    connection.execute("INSERT INTO addresses VALUES (?, ?)", (address, added.lastrowid))
                except sqlite3.IntegrityError:
                    owner = self._records.decode(connection.execute(_BY_ADDRESS, (address,)).fetchone()[0]).name
                    raise DirectoryConflict(f'the address {address} belongs to "{owner}" already') from None


def _delete(connection: sqlite3.Connection, name: str) -> None:
    if not connection.execute("DELETE FROM recipients WHERE name_key = ?", (name_key(name),)).rowcount:
        raise KeyError(name)


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection, *, create: bool) -> None:
    """Set the connection up; make the tables in a new file. Raises sqlite3.DatabaseError for a foreign one."""
    connection.execute("PRAGMA foreign_keys = ON")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})")
    if not create:
        raise sqlite3.DatabaseError("the directory was emptied; put it back, or restart to begin with an empty one")
    connection.execute("PRAGMA journal_mode = WAL")
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        if cursor.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was faster
            if cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise sqlite3.DatabaseError("this is a database of something else, not a directory")
            for statement in _SCHEMA.split(";"):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        cursor.execute("COMMIT")
