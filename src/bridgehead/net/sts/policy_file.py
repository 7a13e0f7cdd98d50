# SPDX-License-Identifier: MIT
"""Keeps what was learned about recipient domains over a restart: MTA-STS policies, the best TLS seen.

An SQLite file of named values; what is in memory counts, the file only follows: changes are written together, in a
thread, a moment later. A file that cannot be read or written is told and does not stop mail; who keeps policies in it
asks `is_whole` before it takes "not known" for "none".
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridgehead.mail.limits import POLICY_DOMAINS

_DELAY_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, name))
WITHOUT ROWID
"""


class PolicyFile:
    """One file.

    Args:
        fault: told what is wrong with the file, and "" when it is well again.
    """

    def __init__(self, path: Path, fault: Callable[[str], None]) -> None:
        self._path = path
        self._fault = fault
        self._changes: dict[tuple[str, str], bytes | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self.is_whole = True
        """Everything that was written before is known. False after a file that could not be read."""

    def load(self, kind: str) -> dict[str, bytes]:
        """All values of a kind; those that there are where the file cannot be read. Blocks."""
        try:
            with self._open() as connection:
                rows = connection.execute(
                    "SELECT name, value FROM entry WHERE kind = ? LIMIT ?", (kind, POLICY_DOMAINS)
                ).fetchall()
        except (sqlite3.Error, OSError) as error:
            self.is_whole = False
            self._set_aside()
            self._fault(f"{self._path} cannot be read: {error}")
            return {}
        return {name: bytes(value) for name, value in rows}

    def put(self, kind: str, name: str, value: bytes | None) -> None:
        """Keep a value, or forget it (None). On the event loop; written a moment later."""
        self._changes[kind, name] = value
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._begin)

    async def close(self) -> None:
        """Write what is still to be written."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        if self._changes:
            changes, self._changes = self._changes, {}
            try:
                await asyncio.to_thread(self._write, changes)
            except (sqlite3.Error, OSError) as error:
                self._fault(f"{self._path} cannot be written: {error}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._timer = None
        self._writing = asyncio.ensure_future(self._save())

    async def _save(self) -> None:
        changes, self._changes = self._changes, {}
        try:
            await asyncio.to_thread(self._write, changes)
        except (sqlite3.Error, OSError) as error:
            self._fault(f"{self._path} cannot be written: {error}")
            self._changes = {**changes, **self._changes}
            self._timer = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._begin)
        else:
            self._fault("")
            if self._changes and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._begin)

    def _write(self, changes: dict[tuple[str, str], bytes | None]) -> None:
        with self._open() as connection:
            for (kind, name), value in changes.items():
                if value is None:
                    connection.execute("DELETE FROM entry WHERE kind = ? AND name = ?", (kind, name))
                else:
                    connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", (kind, name, value))

    def _open(self) -> "_Connection":
        return _Connection(self._path)

    def _set_aside(self) -> None:
        """Keep a damaged file for whoever wants to look, and begin a new one."""
        try:
            if self._path.is_file():
                self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        except OSError:
            return  # told already by who could not read it


class _Connection:
    """A connection that commits at the end and is closed whatever happens."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=10)

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()
