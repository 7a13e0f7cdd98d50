# SPDX-License-Identifier: MIT
"""Configurations of the past, as far as connectors and domains go: by which of them was a message received and routed?

Each state of the configuration is one file named by its revision, without anything that holds or names a credential;
`history` says which came into force when. Bounded in number; the oldest go first. What cannot be written is reported,
and stories are then told by the present configuration.
"""

import logging
import re
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from bridgehead.admin.connector.connectors import Connectors
from bridgehead.mail.limits import CONFIGURATION_CHANGES_KEPT, CONFIGURATIONS_KEPT
from bridgehead.mail.units import Duration, decode_hook
from bridgehead.net.durable_files import replace_file
from bridgehead.receive.settings import Device, ReceiveConnector
from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, SendConnector

log = logging.getLogger("bridgehead.admin")

FOLDER_NAME: Final = "configurations"
"""Within the data directory."""
_HISTORY: Final = "history"
_REVISION: Final = re.compile(r"[0-9a-f]{12}|default")
_SECRET: Final = ("authentication_", "password", "secret", "token", "oauth", "key_file")
"""Parts of names of settings that hold or name credentials."""


class PastConnectors(msgspec.Struct, frozen=True):
    """Implements `admin.connector.connectors.Connectors` for a configuration that was in force."""

    accepted_domains: list[AcceptedDomain] = []
    receive_connectors: list[ReceiveConnector] = []
    devices: list[Device] = []
    send_connectors: list[SendConnector] = []
    foreign_connectors: list[ForeignConnector] = []


class Revisions:
    """The folder of them. Methods block for small files; none raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, revision: str, connectors: Connectors, now: float) -> None:
        """A configuration comes into force; `now` in Unix time."""
        if _REVISION.fullmatch(revision) is None:
            return
        tables = {name: _plain(getattr(connectors, name)) for name in PastConnectors.__struct_fields__}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._folder / f"{revision}.json", msgspec.json.encode(tables), durable=False)
            changes = self._changes()
            if not changes or changes[-1][1] != revision:
                changes = [*changes, (now, revision)][-CONFIGURATION_CHANGES_KEPT:]
                history = "".join(f"{when:.3f} {name}\n" for when, name in changes)
                replace_file(self._folder / _HISTORY, history.encode(), durable=False)
            self._forget_oldest()
        except OSError as error:
            log.error("%s: the configuration cannot be kept for traces: %s", self._folder, error.strerror or error)

    def in_force(self, when: float) -> str:
        """The revision in force at a Unix time, "" where that is not known."""
        return next((revision for since, revision in reversed(self._changes()) if since <= when), "")

    def connectors(self, revision: str) -> Connectors | None:
        """What a revision said, None where it is no longer kept."""
        if _REVISION.fullmatch(revision) is None:
            return None
        try:
            tables = msgspec.json.decode((self._folder / f"{revision}.json").read_bytes())
            return msgspec.convert(tables, PastConnectors, dec_hook=decode_hook)
        except OSError:
            return None
        except (msgspec.MsgspecError, ValueError) as error:  # of a version that knew other settings
            log.warning("the configuration %s of the past cannot be read: %s", revision, error)
            return None

    def _changes(self) -> list[tuple[float, str]]:
        """When which revision came into force, the oldest first."""
        try:
            lines = (self._folder / _HISTORY).read_text("ascii", "replace").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            when, _, revision = line.partition(" ")
            if when.replace(".", "", 1).isdecimal() and _REVISION.fullmatch(revision):
                found.append((float(when), revision))
        return found

    def _forget_oldest(self) -> None:
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[CONFIGURATIONS_KEPT:]:
            path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Settings as they may stand in a file, in the form that configuration files have."""
    if isinstance(value, msgspec.Struct):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if not any(part in field.name for part in _SECRET)
        }
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool | float | str | date | None):
        return value
    if isinstance(value, int):
        return int(value)
    return str(value)
