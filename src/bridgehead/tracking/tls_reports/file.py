# SPDX-License-Identifier: MIT
"""Where TLS results and reports outlive a restart: an SQLite file. Every call blocks; call it from threads.

Three tables: counts of sessions by day, domain and kind; reports that are to be sent and what became of them; reports
of others. Each is bounded, and what is older than the settings keep goes.
"""

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import TLS_REPORTED_DOMAINS, TLS_REPORTED_FAILURES, TLS_REPORTS_KEPT
from bridgehead.tracking.tls_reports.port import TlsResult

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS results (
    day INTEGER, domain TEXT, result BLOB, sessions INTEGER, PRIMARY KEY (day, domain, result)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outgoing (
    day INTEGER, domain TEXT, report_id TEXT, state TEXT, attempts INTEGER, due REAL, destinations TEXT, reason TEXT,
    document BLOB, PRIMARY KEY (day, domain)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS received (
    id INTEGER PRIMARY KEY, received_at REAL, sender TEXT, organization TEXT, report_id TEXT, document BLOB,
    UNIQUE (organization, report_id));
"""

Counts = dict[tuple[int, TlsResult], int]


class Outgoing(msgspec.Struct, kw_only=True):
    """A report of ours.

    Attributes:
        day: days since 1970, UTC.
        state: "waiting", "sent", "failed", "nobody" (the domain wants none).
        due: Unix time of the next attempt.
        destinations: URIs, as the domain published them.
        document: gzip.
    """

    day: int
    domain: str
    report_id: str
    state: str = "waiting"
    attempts: int = 0
    due: float = 0.0
    destinations: str = ""
    reason: str = ""
    document: bytes = b""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A report of somebody else's. `document` is its JSON."""

    id: int = 0
    received_at: float
    sender: str
    organization: str
    report_id: str
    document: bytes


class TlsReportFile:
    """Opens the file on first use. Calls raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, check_same_thread=False)
            self._path.chmod(0o600)
            self._database.executescript(_SCHEMA)
        return self._database

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    # --- results ----------------------------------------------------------------------------------------------------

    def add(self, counts: Counts) -> None:
        """Add sessions to what is known, in one transaction. Kinds beyond the bound are counted without details."""
        with self._lock, self._open() as database:
            for (day, result), sessions in counts.items():
                known = database.execute(
                    "SELECT count(*) FROM results WHERE day = ? AND domain = ?", (day, result.domain)
                ).fetchone()[0]
                if not known and self._domains(database, day) >= TLS_REPORTED_DOMAINS:
                    continue
                if known >= TLS_REPORTED_FAILURES:
                    result = _without_details(result)
                database.execute(
                    "INSERT INTO results VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions",
                    (day, result.domain, msgspec.json.encode(result), sessions),
                )

    @staticmethod
    def _domains(database: sqlite3.Connection, day: int) -> int:
        found = database.execute("SELECT count(DISTINCT domain) FROM results WHERE day = ?", (day,))
        return int(found.fetchone()[0])

    def results(self, first: int, last: int, domain: str = "") -> list[tuple[int, TlsResult, int]]:
        """Day, result, sessions; of one domain or of all."""
        with self._lock:
            rows = self._open().execute(
                "SELECT day, result, sessions FROM results WHERE day BETWEEN ? AND ? AND (? = '' OR domain = ?) "
                "ORDER BY day DESC, domain LIMIT 100000", (first, last, domain, domain),
            )  # fmt: skip
            return [(day, msgspec.json.decode(data, type=TlsResult), count) for day, data, count in rows]

    # --- reports of ours --------------------------------------------------------------------------------------------

    def without_report(self, before: int) -> list[tuple[int, str]]:
        """Days that are over, and domains of which there is no report yet."""
        with self._lock:
            return self._open().execute(
                "SELECT DISTINCT day, domain FROM results WHERE day < ? "
                "EXCEPT SELECT day, domain FROM outgoing ORDER BY day, domain LIMIT 10000", (before,),
            ).fetchall()  # fmt: skip

    def put(self, report: Outgoing) -> None:
        """Keep a report, or what became of it."""
        with self._lock, self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(report)
            )

    def due(self, now: float) -> list[Outgoing]:
        """Reports whose next attempt is due."""
        return self._outgoing("state = 'waiting' AND due <= ? ORDER BY due LIMIT 500", (now,))

    def outgoing(self, first: int) -> list[Outgoing]:
        """Reports since a day, the newest first."""
        return self._outgoing("day >= ? ORDER BY day DESC, domain LIMIT 10000", (first,))

    def _outgoing(self, condition: str, values: Iterable[object]) -> list[Outgoing]:
        with self._lock:
            rows = self._open().execute(f"SELECT * FROM outgoing WHERE {condition}", tuple(values))  # noqa: S608 (our own text)
            names = Outgoing.__struct_fields__
            return [Outgoing(**dict(zip(names, row, strict=True))) for row in rows]

    # --- reports of others ------------------------------------------------------------------------------------------

    def keep(self, report: Received) -> bool:
        """Keep a report; False where it is known already."""
        with self._lock, self._open() as database:
            done = database.execute(
                "INSERT OR IGNORE INTO received (received_at, sender, organization, report_id, document) "
                "VALUES (?, ?, ?, ?, ?)",
                (report.received_at, report.sender, report.organization, report.report_id, report.document),
            )
            database.execute("DELETE FROM received WHERE id <= (SELECT max(id) FROM received) - ?", (TLS_REPORTS_KEPT,))
            return done.rowcount > 0

    def received(self, since: float) -> list[Received]:
        """Reports since a Unix time, the newest first."""
        with self._lock:
            rows = self._open().execute(
                "SELECT * FROM received WHERE received_at >= ? ORDER BY id DESC LIMIT 1000", (since,)
            )
            return [Received(**dict(zip(Received.__struct_fields__, row, strict=True))) for row in rows]

    def report(self, number: int) -> Received | None:
        """One report of others."""
        with self._lock:
            row = self._open().execute("SELECT * FROM received WHERE id = ?", (number,)).fetchone()
        return Received(**dict(zip(Received.__struct_fields__, row, strict=True))) if row else None

    def forget(self, day: int) -> None:
        """Delete what is of days before, and reports received before."""
        with self._lock, self._open() as database:
            database.execute("DELETE FROM results WHERE day < ?", (day,))
            database.execute("DELETE FROM outgoing WHERE day < ?", (day,))
            database.execute("DELETE FROM received WHERE received_at < ?", (day * 86400.0,))


def _without_details(result: TlsResult) -> TlsResult:
    return TlsResult(domain=result.domain, policy_type=result.policy_type, result=result.result)
