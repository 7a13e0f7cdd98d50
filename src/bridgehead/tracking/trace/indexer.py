# SPDX-License-Identifier: MIT
"""Making the trace index from the logs: the oldest lines first, a segment in each transaction.

Works on files only and may be ended at any moment: what a transaction did not finish is done again. Whatever is wrong
with the index file, it is thrown away and made anew.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Final

from bridgehead.tracking.log import log_files
from bridgehead.tracking.message_tracking import KIND
from bridgehead.tracking.trace.index import (
    SCHEMA,
    CoveredFile,
    IndexDamaged,
    check_identity,
    covered_files,
    index_files,
    still_true,
)
from bridgehead.tracking.trace.log_scan import NO_FIELDS
from bridgehead.tracking.trace.log_text import BOM, LogFolder, LogText
from bridgehead.tracking.trace.segment import Groups, read_rows
from bridgehead.tracking.trace.segments import Segments

_PROBLEMS_PER_FILE: Final = 20
_SEGMENT_BYTES: Final = 2 * 1024 * 1024
"""The process takes some eight times as much in memory for one, beside mail."""
_PAGE_BYTES: Final = 16_384
"""Parts of segments are large."""
_JOURNAL_PAGES: Final = 2048
"""Pages of journal before they are put into the file: each such step waits for the disk."""
_logger = logging.getLogger("bridgehead.trace")


class Indexer:
    """Keeps one index up to date; one process only.

    Args:
        path: the index; made where it is not there.
        folder: the tracking logs.
        max_size: octets on disk; where they are reached, the oldest logs are left out.
        least: octets at the end of the newest log that are not worth a segment yet.

    Methods raise OSError and sqlite3.OperationalError where the disk does not work.
    """

    def __init__(self, path: Path, folder: Path, max_size: int, least: int = 1) -> None:
        self.path, self._folder, self._max_size, self._least = path, folder, max_size, least
        self._connection = self._open()

    def close(self) -> None:
        """Close the index."""
        self._connection.close()

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
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_PAGES}")
            connection.execute("PRAGMA cache_size = -4096")
            if new:
                connection.executescript("BEGIN;" + SCHEMA + "COMMIT;")
            check_identity(connection)
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
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
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
        oldest, newest = min(rows, default=0), len(folder.files) - 1
        for number, file in enumerate(folder.files):
            known = rows.get(number)
            pending = file.size - (known.covered if known is not None else 0)
            if pending < (self._least if number == newest else 1):
                continue
            if number < oldest:
                if self._used() + file.size > self._max_size:
                    continue  # it would have to go at once
            elif self._used() >= self._max_size:
                if oldest == number or not rows:
                    return False
                self._forget(rows[oldest])
                return True
            if self._index_some(folder, number, known, rows):
                return True
        return False

    def _used(self) -> int:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def _index_some(
        self, folder: LogFolder, number: int, known: CoveredFile | None, rows: dict[int, CoveredFile]
    ) -> bool:
        """Index the next part of one file; False where it holds no whole line more."""
        file = folder.use(number)
        start = known.covered if known is not None else 0
        end, groups, problems = self._read(file, start)
        if end == start:
            return False
        covered = known or self._new_file(file)
        rows[number] = covered
        if groups:
            Segments(self._connection, {row.id: index for index, row in rows.items()}).put(covered.id, start, groups)
        self._connection.execute(
            "UPDATE file SET covered = ?, size = ?, modified = ?, print = ?, events = ? WHERE id = ?",
            (
                end, file.size, file.modified, file.print_at(end), covered.events + sum(map(len, groups.values())),
                covered.id,
            ),
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO unreadable SELECT ?, ?, ? WHERE (SELECT count(*) FROM unreadable WHERE file = ?) < ?",
            [(covered.id, line, what, covered.id, _PROBLEMS_PER_FILE) for line, what in problems],
        )
        return True

    def _read(self, file: LogText, start: int) -> tuple[int, Groups, list[tuple[int, str]]]:
        """The end of the next part, its events by message, and what cannot be read."""
        problems: list[tuple[int, str]] = []
        if file.format is None:
            # A header may still be on its way; nothing is looked for in files without.
            return (file.size, {}, [(0, NO_FIELDS)]) if file.size >= 4096 else (start, {}, [])
        data = _whole_lines(file, start)

        def report(offset: int, what: str) -> None:
            if len(problems) < _PROBLEMS_PER_FILE:
                problems.append((file.read(0, start + offset).count(b"\n") + 1, what))

        skipped = len(BOM) if start == 0 and data.startswith(BOM) else 0
        return start + len(data), read_rows(file.format, data, skipped, report), problems

    # --- files --------------------------------------------------------------------------------------------------------

    def _new_file(self, file: LogText) -> CoveredFile:
        cursor = self._connection.execute("INSERT INTO file VALUES (NULL, ?, 0, 0, 0, x'', 0)", (file.path.name,))
        return CoveredFile(cursor.lastrowid or 0, file.path.name, 0, 0, 0, b"", 0)

    def _forget(self, row: CoveredFile) -> None:
        """Forget a file's events."""
        Segments(self._connection, {}).forget(row.id)
        self._connection.execute("DELETE FROM file WHERE id = ?", (row.id,))
        self._connection.execute("DELETE FROM unreadable WHERE file = ?", (row.id,))


def _whole_lines(file: LogText, start: int) -> bytes:
    """The lines of the next segment, all of a file of about one size; none where no line is whole. Raises OSError."""
    left = file.size - start
    size = -(-left // max(1, round(left / _SEGMENT_BYTES)))
    while True:
        data = file.read(start, min(start + size, file.size))
        whole = data.rfind(b"\n") + 1
        if whole or start + len(data) >= file.size or not data:
            return data[:whole]
        size *= 4  # one line longer than a segment


def _is_damage(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _delete(path: Path) -> None:
    for one in index_files(path):
        one.unlink(missing_ok=True)
