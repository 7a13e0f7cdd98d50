# SPDX-License-Identifier: MIT
"""Small state files: read with care, replaced as a whole. Called off the event loop's thread."""

import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger("bridgehead.alarms")

_State = TypeVar("_State")


def read_state(path: Path, kind: "type[_State]") -> _State | None:
    """What was kept; None where nothing was, or where it cannot be read, which is logged: the file is kept beside."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.error("%s cannot be used and is begun anew: %s", path, error)
    try:
        path.replace(path.with_suffix(".bad"))
    except OSError:
        pass
    return None


def write_state(path: Path, data: bytes) -> None:
    """Replace a file so that a crash leaves the old or the new one. Raises OSError."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
