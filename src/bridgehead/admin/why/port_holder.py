# SPDX-License-Identifier: MIT
"""Who listens on a TCP port of this machine (Linux' /proc); for "Address already in use"."""

import os
import re
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"


def port_in(text: str) -> int:
    """The port that an error about listening names, 0 for none."""
    found = re.search(r"[\d\]*.]:(\d{1,5})\b", text)
    return int(found[1]) if found and 0 < int(found[1]) < 65536 else 0


def holder_of(port: int) -> str:
    """ "process 812 (postfix)"; "" where nobody listens or it cannot be known. Other accounts' need root."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in _PROC.iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            return f"process {process.name} ({_name(process)})"
    return "a process of another account"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (_PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    return inodes


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir())
    except OSError:  # gone meanwhile, or another account's
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "unknown"
