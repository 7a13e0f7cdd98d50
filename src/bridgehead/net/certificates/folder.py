# SPDX-License-Identifier: MIT
"""Certificates that the server keeps itself: bound by an administrator or fetched by ACME.

    certificates/mail.contoso.com/current → 20261123T090000Z-5f2c
    certificates/mail.contoso.com/20261123T090000Z-5f2c/chain.pem, key.pem

A version is complete on disk before `current` names it by one rename, so certificate and key change together or not at
all, also where the power fails. Some versions before stay.
"""

import os
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.durable_files import create_file, sync_folder

FOLDER: Final = "certificates"
"""Below the data directory."""
_NAME: Final = re.compile(r"(?:_wildcard\.)?[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?")
_VERSION: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")
_CURRENT: Final = "current"
_CHAIN, _KEY = "chain.pem", "key.pem"
_VERSIONS_KEPT: Final = 4


class CertificateFolder:
    """The folder of one server. All calls block for the disk."""

    def __init__(self, data_directory: Path) -> None:
        self._folder = data_directory / FOLDER

    def names(self) -> list[str]:
        """What is kept, sorted."""
        try:
            found = [one.name for one in self._folder.iterdir() if _NAME.fullmatch(one.name)]
        except OSError:
            return []
        return sorted(name for name in found if (self._folder / name / _CURRENT / _CHAIN).exists())

    def pairs(self) -> list[CertificatePair]:
        """The current pair of each name."""
        return [self.pair(name) for name in self.names()]

    def pair(self, name: str) -> CertificatePair:
        """Where the current pair lies, whether there is one or not. Raises CertificateError for a bad name."""
        folder = self._of(name) / _CURRENT
        return CertificatePair(folder / _CHAIN, folder / _KEY)

    def name_of(self, pair: CertificatePair) -> str:
        """Under which name a pair is kept here, "" for one that is not."""
        parts = pair.certificate.parts
        own = self._folder.parts
        is_ours = parts[: len(own)] == own and len(parts) == len(own) + 3 and parts[-2] == _CURRENT
        return parts[len(own)] if is_ours else ""

    def install(self, name: str, chain: bytes, key: bytes, now: float) -> CertificatePair:
        """Keep a pair under a name and make it the current one. Raises CertificateError, OSError."""
        home = self._of(name)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        version = _new_version(now, [self._current(home), *self._versions(home)])
        place = home / version
        place.mkdir(mode=0o700)
        create_file(place / _KEY, key)
        create_file(place / _CHAIN, chain)
        sync_folder(place)
        self._switch(home, version)
        self._forget_old(home)
        return self.pair(name)

    def previous(self, name: str) -> CertificatePair | None:
        """The pair before the current one, to be brought back."""
        home = self._of(name)
        earlier = [one for one in self._versions(home) if one < self._current(home)]
        return CertificatePair(home / earlier[-1] / _CHAIN, home / earlier[-1] / _KEY) if earlier else None

    def _of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise CertificateError(f"{name[:100]!r} is no name for a certificate: write a host name")
        return self._folder / name

    @staticmethod
    def _current(home: Path) -> str:
        try:
            return os.readlink(home / _CURRENT)
        except OSError:
            return ""

    @staticmethod
    def _versions(home: Path) -> list[str]:
        try:
            return sorted(one.name for one in home.iterdir() if _VERSION.fullmatch(one.name))
        except OSError:
            return []

    @staticmethod
    def _switch(home: Path, version: str) -> None:
        temporary = home / ".current"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(version)
        temporary.replace(home / _CURRENT)
        sync_folder(home)

    def _forget_old(self, home: Path) -> None:
        current = self._current(home)
        for version in [one for one in self._versions(home) if one != current][:-_VERSIONS_KEPT]:
            shutil.rmtree(home / version, ignore_errors=True)


def _new_version(now: float, known: list[str]) -> str:
    """An id that sorts behind those known, also within one second."""
    latest = max(known, default="")
    while True:
        version = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        if version > latest:
            return version
        now += 1


def folder_name(host: str) -> str:
    """The name under which a certificate for a host is kept; "*.contoso.com" is "_wildcard.contoso.com"."""
    name = host.rstrip(".").lower()
    return f"_wildcard.{name[2:]}" if name.startswith("*.") else name
