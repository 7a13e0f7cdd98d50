# SPDX-License-Identifier: MIT
"""A short name for the state of the configuration files, by which a decision is told from what would be decided now."""

import hashlib

from bridgehead.server.config.load import Loaded

_DIGITS = 12


def revision(loaded: Loaded) -> str:
    """Twelve hexadecimal digits over all files, "default" for the embedded configuration. Same files, same revision."""
    if not loaded.files:
        return "default"
    digest = hashlib.sha256()
    for file in loaded.files:
        try:
            data = file.read_bytes()
        except OSError:
            data = b""
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:_DIGITS]
