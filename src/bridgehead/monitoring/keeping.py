# SPDX-License-Identifier: MIT
"""Small state files, read with care. Called off the event loop's thread. They are written by `net.durable_files`."""

import logging
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
