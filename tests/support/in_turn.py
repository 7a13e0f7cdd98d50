# SPDX-License-Identifier: MIT
"""Several objects of which each call goes to the next: what they share must make them one."""

from collections.abc import Collection
from itertools import cycle
from typing import Any


class InTurn:
    """Calls of methods go round, those named in `to_all` to all of them; what else is asked is the first one's."""

    def __init__(self, *objects: Any, to_all: Collection[str] = ()) -> None:
        self._objects, self._round, self._to_all = objects, cycle(objects), to_all

    def __getattr__(self, name: str) -> Any:
        if not callable(found := getattr(self._objects[0], name)):
            return found
        if name in self._to_all:
            return lambda *args, **named: [getattr(one, name)(*args, **named) for one in self._objects].pop()
        return getattr(next(self._round), name)
