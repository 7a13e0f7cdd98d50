# SPDX-License-Identifier: MIT
"""Making the trace index from the logs: the newest lines first, a batch in each transaction.

Works on files only and may be ended at any moment: what a transaction did not finish is done again. Whatever is wrong
with the index file, it is thrown away and made anew.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Final

from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.log import log_files
from bridgehead.tracking.log_scan import NO_FIELDS, Region, chunks, parsed
from bridgehead.tracking.log_text import LogFolder, LogText
from bridgehead.tracking.message_tracking import KIND
from bridgehead.tracking.trace_document import Stored, pack, unpack
from bridgehead.tracking.trace_index import (
    SCHEMA,
    CoveredFile,
    IndexDamaged,
    check_identity,
    covered_files,
    index_files,
    still_true,
)
from bridgehead.tracking.trace_rows import MessageRows

_PROBLEMS_PER_FILE: Final = 20
_JOURNAL_PAGES: Final = 8192
"""Pages of journal before they are put into the file: each such step waits for the disk."""
_logger = logging.getLogger("bridgehead.trace")


class Indexer:
    """Keeps one index up to date; one process only.

    Args:
        path: the index; made where it is not there.
        folder: the tracking logs.
        max_size: octets on disk; where they are reached, the oldest logs are left out.

    Methods raise OSError and sqlite3.OperationalError where the disk does not work.
    """

    def __init__(self, path: Path, folder: Path, max_size: int) -> None:
        self.path, self._folder, self._max_size = path, folder, max_size
        self._removed = 0
        self._connection = self._open()
        self._messages = MessageRows(self._connection)

    def close(self) -> None:
        """Close the index."""
        self._connection.close()

    def pending(self) -> int:
        """Octets of log that are not indexed yet."""
        covered = {row.name: row.covered for row in covered_files(self._connection)}
        files = LogFolder(log_files(self._folder, KIND.prefix)).files
        return sum(max(0, file.size - covered.get(file.path.name, 0)) for file in files)

    def prune(self) -> None:
        """Forget files that are gone."""
        gone = {row.name for row in covered_files(self._connection)}
        gone -= {name.path.name for name in log_files(self._folder, KIND.prefix)}
        for _ in gone:
            self.step()

    def step(self) -> bool:
        """Do one batch: forget files that are gone or changed, then index some lines. False when nothing is left."""
        try:
            return self._step()
        except (sqlite3.DatabaseError, IndexDamaged) as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise
            self.rebuild(str(error))
            return True

    def rebuild(self, reason: str) -> None:
        """Throw the index away and begin anew."""
        _logger.warning("the trace index is made anew: %s", reason)
        self._connection.close()
        _delete(self.path)
        self._connection = self._open()
        self._messages = MessageRows(self._connection)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (sqlite3.DatabaseError, IndexDamaged) as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise
            _logger.warning("the trace index is made anew: %s", error)
        _delete(self.path)
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        new = not self.path.exists() or self.path.stat().st_size == 0
        connection = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_PAGES}")
            connection.execute("PRAGMA cache_size = -65536")
            if new:
                connection.executescript("BEGIN;" + SCHEMA + "COMMIT;")
            check_identity(connection)
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise IndexDamaged(sound)
        except BaseException:
            connection.close()
            raise
        return connection

    # --- one batch ----------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        folder = LogFolder(log_files(self._folder, KIND.prefix))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                worked = self._batch(folder)
                self._connection.execute("COMMIT")
            except BaseException:
                self._messages.forget_numbers()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            if self._removed > 50_000:
                self._clean()
            return worked
        finally:
            folder.close()

    def _batch(self, folder: LogFolder) -> bool:
        by_name = {file.path.name: (number, file) for number, file in enumerate(folder.files)}
        rows: dict[int, CoveredFile] = {}
        for row in covered_files(self._connection):
            number, file = by_name.get(row.name, (-1, None))
            if file is None or not still_true(row, folder.use(number)):
                self._forget(row)
                return True
            rows[number] = row
        for number in range(len(folder.files) - 1, -1, -1):
            known = rows.get(number)
            if known is not None and known.covered >= folder.files[number].size:
                continue
            if self._is_full() and not self._make_room(rows, number):
                return False
            if self._index_some(folder, number, known, rows):
                return True
        return False

    def _is_full(self) -> bool:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size) >= self._max_size

    def _make_room(self, rows: dict[int, CoveredFile], number: int) -> bool:
        """Leave the oldest indexed file out for one that is newer."""
        oldest = min(rows, default=number)
        if oldest >= number:
            return False
        self._forget(rows.pop(oldest))
        self._removed = max(self._removed, 1)
        self._clean_words()
        return True

    def _index_some(
        self, folder: LogFolder, number: int, known: CoveredFile | None, rows: dict[int, CoveredFile]
    ) -> bool:
        """Index the next chunk of one file; False where it holds no whole line more."""
        file = folder.use(number)
        start = known.covered if known is not None else 0
        end, groups, problems, events = self._read(file, start)
        if end == start:
            return False
        covered = known or self._new_file(file)
        rows[number] = covered
        numbers = {row.id: index for index, row in rows.items()}
        placed = {
            key: [(Stored(covered.id, at, one.milliseconds), one) for at, one in found] for key, found in groups.items()
        }
        self._messages.put(placed, folder, numbers)
        times = [one.milliseconds for found in groups.values() for _, one in found]
        first = min([covered.first or 2**62, *times])
        self._connection.execute(
            "UPDATE file SET covered = ?, size = ?, modified = ?, print = ?, first = ?, last = ?, events = ? "
            "WHERE id = ?",
            (
                end, file.size, file.modified, file.print_at(end), first, max([covered.last, *times]),
                covered.events + events, covered.id,
            ),
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO unreadable SELECT ?, ?, ? WHERE (SELECT count(*) FROM unreadable WHERE file = ?) < ?",
            [(covered.id, line, what, covered.id, _PROBLEMS_PER_FILE) for line, what in problems],
        )
        return True

    def _read(
        self, file: LogText, start: int
    ) -> tuple[int, dict[str, list[tuple[int, FoundEvent]]], list[tuple[int, str]], int]:
        """The end of the next chunk, its events by message, what cannot be read, and how many events."""
        groups: dict[str, list[tuple[int, FoundEvent]]] = {}
        problems: list[tuple[int, str]] = []
        if file.format is None:
            # A header may still be on its way; nothing is looked for in files without.
            return (file.size, {}, [(0, NO_FIELDS)], 0) if file.size >= 4096 else (start, {}, [], 0)
        data, base = next(chunks(file, Region(0, start, file.size)), (b"", start))
        data = data[: data.rfind(b"\n") + 1]

        def report(offset: int, what: str) -> None:
            if len(problems) < _PROBLEMS_PER_FILE:
                problems.append((file.read(0, offset).count(b"\n") + 1, what))

        count = 0
        for offset, event in parsed(file, data, base, report):
            groups.setdefault(event.key, []).append((offset, event))
            count += 1
        return base + len(data), groups, problems, count

    # --- files --------------------------------------------------------------------------------------------------------

    def _new_file(self, file: LogText) -> CoveredFile:
        cursor = self._connection.execute("INSERT INTO file VALUES (NULL, ?, 0, 0, 0, x'', 0, 0, 0)", (file.path.name,))
        return CoveredFile(cursor.lastrowid or 0, file.path.name, 0, 0, 0, b"", 0, 0, 0)

    def _forget(self, row: CoveredFile) -> None:
        """Forget a file's events; messages that have none left go."""
        rows = self._connection.execute(
            "SELECT id, places FROM message WHERE first <= ? AND last >= ?", (row.last, row.first)
        ).fetchall()
        for number, places in rows:
            stored = unpack(places)
            kept = [place for place in stored if place.file != row.id]
            if len(kept) == len(stored):
                continue
            if kept:
                first, last = min(place.time for place in kept), max(place.time for place in kept)
                self._connection.execute(
                    "UPDATE message SET first = ?, last = ?, places = ?, states = ? WHERE id = ?",
                    (first, last, pack(kept), _ANY_STATE, number),
                )
            else:
                self._connection.execute("DELETE FROM message WHERE id = ?", (number,))
                self._connection.execute("DELETE FROM subject WHERE message = ?", (number,))
                self._removed += 1
        self._connection.execute("DELETE FROM file WHERE id = ?", (row.id,))
        self._connection.execute("DELETE FROM unreadable WHERE file = ?", (row.id,))

    def _clean(self) -> None:
        """Drop what nobody refers to any more, once in a while."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._clean_words()
        self._connection.execute("COMMIT")

    def _clean_words(self) -> None:
        execute = self._connection.execute
        execute("DELETE FROM recipient WHERE message NOT IN (SELECT id FROM message)")
        execute("DELETE FROM identifier WHERE message NOT IN (SELECT id FROM message)")
        execute("DELETE FROM address WHERE id NOT IN (SELECT address FROM recipient)")
        for kind in ("sender", "origin", "facet"):
            execute(
                f"DELETE FROM word WHERE kind = ? AND id NOT IN (SELECT {kind} FROM message)",  # noqa: S608
                (kind,),
            )
        self._messages.forget_numbers()
        self._removed = 0


_ANY_STATE: Final = 2**16 - 1
"""What became of a message whose first events are gone: to be seen from those that are left."""


def _is_damage(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _delete(path: Path) -> None:
    for one in index_files(path):
        one.unlink(missing_ok=True)
