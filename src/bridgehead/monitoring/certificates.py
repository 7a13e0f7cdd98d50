# SPDX-License-Identifier: MIT
"""When the certificates that this server shows expire. Files are read anew only when they changed."""

from collections.abc import Mapping
from pathlib import Path

from bridgehead.monitoring.rules import Certificate


class CertificateDates:
    """Reads expiry dates, off the event loop's thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], float]] = {}

    def read(self, files: Mapping[Path, str]) -> list[Certificate]:
        """Those of `files` (path → what for) that can be read; the others are the concern of who uses them."""
        found = []
        for file, used_by in files.items():
            try:
                expires = self._expiry(file)
            except (OSError, ValueError):
                continue
            found.append(Certificate(file=str(file), used_by=used_by, expires=expires))
        return found

    def _expiry(self, file: Path) -> float:
        """Unix time at which the first certificate of a PEM file expires. Raises OSError, ValueError."""
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            from cryptography import x509  # imported in the thread that needs it: it takes 50 ms

            leaf = x509.load_pem_x509_certificates(file.read_bytes())[0]
            known = self._known[file] = (stamp, leaf.not_valid_after_utc.timestamp())
        return known[1]
