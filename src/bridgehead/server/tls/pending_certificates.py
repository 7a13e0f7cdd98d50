# SPDX-License-Identifier: MIT
"""Certificates that an authority issued and that are not in force yet: kept over a refusal or a restart, because
authorities count how many they issue."""

import os
from pathlib import Path
from typing import Final

_FOLDER: Final = "pending"


class PendingCertificates:
    """One pair for each name. All calls block for the disk; what cannot be kept is no error, only ordered again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def read(self, name: str) -> tuple[bytes, bytes] | None:
        """Chain and key."""
        try:
            return self._chain(name).read_bytes(), self._key(name).read_bytes()
        except OSError:
            return None

    def chains(self) -> list[Path]:
        """Files of all that is kept."""
        return sorted(self._folder.glob("*.pem"))

    def keep(self, name: str, chain: bytes, key: bytes) -> None:
        """Replace what is kept."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.forget(name)
            for file, data in ((self._key(name), key), (self._chain(name), chain)):
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as target:
                    target.write(data)
        except OSError:
            self.forget(name)

    def forget(self, name: str) -> None:
        """It is in force, or of no use."""
        for file in (self._chain(name), self._key(name)):
            try:
                file.unlink(missing_ok=True)
            except OSError:
                pass

    def _chain(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def _key(self, name: str) -> Path:
        return self._folder / f"{name}.key"
