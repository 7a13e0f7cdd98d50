# SPDX-License-Identifier: MIT
"""Devices of the running server: their counts over restarts, and the alarm of those that have fallen silent."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.monitoring.keeping import read_state
from bridgehead.monitoring.rules import Verdict
from bridgehead.monitoring.spans import span
from bridgehead.net.durable_files import replace_file
from bridgehead.receive.devices.book import BookState, DeviceBook, DeviceUse
from bridgehead.receive.settings import Device
from bridgehead.tracking.alarms import Severity

DEVICES_FILE: Final = "devices.json"
KEEP_SECONDS: Final = 60.0
"""Counts of so long are lost when the machine is switched off."""
_SILENT: Final = "device_silent"
_PREFIX: Final = "device:"

log = logging.getLogger("bridgehead.server")


class DeviceWatch:
    """What the server knows of its devices.

    Args:
        file: where counts outlive a restart; one that cannot be read is set aside and begun anew.
        told_after: seconds after which a message is known here at the latest.
    """

    def __init__(
        self, settings: Sequence[Device], file: Path, now: Callable[[], float], told_after: float = 0.0
    ) -> None:  # fmt: skip
        self._file, self._now, self._told_after = file, now, told_after
        self.book = DeviceBook(read_state(file, BookState), now())
        self.settings: Sequence[Device] = ()
        self._alarmed: set[str] = set()
        self.reconfigure(settings)

    def reconfigure(self, settings: Sequence[Device]) -> None:
        """Other devices from now on; what was counted of those that stay goes on."""
        self.settings = settings
        for device in settings:
            self.book.use(device.name, self._now())
        self.book.keep_only({device.name for device in settings})

    def known(self, name: str) -> DeviceUse | None:
        """What was counted of a device."""
        return self.book.known(name)

    # --- silence ------------------------------------------------------------------------------------------------------

    def is_timed(self, source: str) -> bool:
        """Whether a source is a device with a time of its own, so that its habit is not asked."""
        name = source.removeprefix(_PREFIX)
        return name != source and any(one.name == name and one.silence_after for one in self.settings)

    def conditions(self) -> Iterator[Verdict]:
        """Each device with `silence_after`: has it been silent for longer?"""
        now, silent = self._now(), set()
        for device in self.settings:
            limit = device.silence_after.total_seconds()
            use = self.book.use(device.name, now)
            if device.enabled and limit and (quiet := use.silent_for(now)) > limit + self._told_after:
                silent.add(device.name)
                owner = f"; {device.owner} answers for it" if device.owner else ""
                yield Verdict(
                    f"{_SILENT}/{device.name}", Severity.WARNING,
                    f"the device {device.name} has sent nothing for {span(quiet)}, at least every {span(limit)} is "
                    f"expected{owner}",
                    f'bridgehead device show "{device.name}"; see whether it is switched on and reaches us',
                )  # fmt: skip
        for name in self._alarmed - silent:
            yield Verdict(f"{_SILENT}/{name}", None)
        self._alarmed = silent

    def last_messages(self) -> dict[str, float]:
        """When each device sent last, Unix times."""
        known = {one.name: self.book.known(one.name) for one in self.settings}
        return {name: use.last_message for name, use in known.items() if use is not None and use.last_message}

    def heard(self, last_messages: Mapping[str, float]) -> None:
        """Another worker took these."""
        configured = {one.name for one in self.settings}
        for name in configured & last_messages.keys():
            self.book.use(name, self._now()).heard(last_messages[name])

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write the counts now and then, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            await asyncio.to_thread(self._write, self._document())

    def save(self) -> None:
        """Write the counts, at the end."""
        self._write(self._document())

    def _document(self) -> bytes:
        return msgspec.json.encode(self.book.state(self._now()))

    def _write(self, document: bytes) -> None:
        try:
            replace_file(self._file, document)
        except OSError as error:
            log.warning("%s cannot be written; a restart will forget counts of devices: %s", self._file, error)
