# SPDX-License-Identifier: MIT
"""What went wrong below the store, in the port's three words: full, unreadable, fault."""

import errno
import sqlite3

from bridgehead.queues.store import StoreFault, StoreFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SQLITE_FULL, _SQLITE_CORRUPT, _SQLITE_NOTADB = 13, 11, 26
_CONNECTION_SUSPECT = {8, 10, 11, 14, 26}
"""READONLY, IOERR, CORRUPT, CANTOPEN, NOTADB: what this connection believes about the files may be wrong."""


class ContentDamaged(StoreFault):
    """Among these contents are some that lie in damaged pages."""

    def __init__(self, contents: list[int], error: Exception) -> None:
        super().__init__(f"reading content: {error}")
        self.contents = contents


def store_fault(error: Exception, doing: str) -> StoreFault:
    """The fault to report for an error of SQLite or the operating system while `doing` something."""
    if isinstance(error, StoreFault):
        return error
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    text = f"{doing}: {error} ({name})"
    if isinstance(error, OSError):
        return StoreFull(text) if error.errno in _FULL else StoreFault(text)
    return StoreFull(text) if primary_code(error) == _SQLITE_FULL else StoreFault(text)


def primary_code(error: Exception) -> int:
    """SQLite's primary result code, 0 where the error carries none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


def is_damage(error: Exception) -> bool:
    """The database's own pages are damaged."""
    return primary_code(error) in (_SQLITE_CORRUPT, _SQLITE_NOTADB)


def needs_new_connection(error: Exception) -> bool:
    """The writer opens its connection anew before it goes on."""
    return primary_code(error) in _CONNECTION_SUSPECT


def is_about_one_transaction(error: Exception) -> bool:
    """The cause lies in the data of one transaction, so the others of its batch deserve a try without it."""
    if isinstance(error, StoreFault):
        return not isinstance(error, StoreFull)
    if not isinstance(error, sqlite3.Error | OSError):
        return True  # its data could not even be handed to SQLite
    about_data = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError)
    return about_data or is_damage(error)
