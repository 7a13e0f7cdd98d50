# SPDX-License-Identifier: MIT
"""The lock-out table of the running server: kept over restarts, watched for guessing, shown and lifted."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.directory.user_record import canonical_name
from bridgehead.net.durable_files import replace_file
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.receive.logons.lockout import Lockout, LockoutTable
from bridgehead.receive.logons.settings import LockoutSettings
from bridgehead.receive.logons.shared_lockout import SharedLockoutTable
from bridgehead.tracking.alarms import Alarms, Severity

LOOK_SECONDS: Final = 10.0
_ALARM: Final = "password_guessing"

log = logging.getLogger("bridgehead.server")


class Lockouts:
    """Failed logons of the server.

    Args:
        file: where locks outlive a restart. One that cannot be read is told and left out.
        told: logons of other workers, which have the same table.
        keeps: it is we who write the file.
    """

    def __init__(
        self, settings: LockoutSettings, file: Path, alarms: Alarms, now: Callable[[], float],
        told: SharedJournal | None = None, keeps: bool = True,
    ) -> None:  # fmt: skip
        self.table = LockoutTable(settings) if told is None else SharedLockoutTable(settings, told, now)
        self._keeps = keeps
        self._file, self._alarms, self._now = file, alarms, now
        self._alarmed: set[str] = set()
        try:
            self.table.restore(file.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read, nobody is locked out at the start: %s", file, error)

    def reconfigure(self, settings: LockoutSettings) -> None:
        """Other thresholds from now on."""
        self.table.configure(settings)

    def locked(self) -> list[Lockout]:
        """Every lock that holds."""
        return self.table.locked(self._now())

    def lift(self, account: str = "", source: str = "") -> int:
        """Forget failed logons; how many accounts and sources that concerned. Raises ValueError for what is no
        address."""
        return self.table.lift(canonical_name(account) if account else "", source)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()
            if self.table.changed:
                self.table.changed = False
                await asyncio.to_thread(self._write, self.table.dump(self._now()))

    def look(self) -> None:
        """Raise or clear the alarm of each source that guesses."""
        guessing = {one.source: one.accounts for one in self.table.guessing(self._now())}
        for source, accounts in guessing.items():
            self._alarms.raise_(
                f"{_ALARM}/{source}", Severity.WARNING,
                f"logons of {accounts} accounts failed from {source}: somebody may be guessing passwords",
                "bridgehead lockout list; keep the address away at the firewall, or find the device",
            )  # fmt: skip
        for source in self._alarmed - guessing.keys():
            self._alarms.clear(f"{_ALARM}/{source}")
        self._alarmed = set(guessing)

    def save(self) -> None:
        """Write what holds, at the end."""
        self._write(self.table.dump(self._now()))

    def _write(self, data: bytes) -> None:
        """A torn or lost file costs locks, not mail: no sync."""
        if not self._keeps:
            return
        try:
            replace_file(self._file, data, durable=False)
        except OSError as error:
            log.warning("%s cannot be written; a restart will forget locks: %s", self._file, error)
