# SPDX-License-Identifier: MIT
"""A bounded memory of look-ups, "nobody of that name" included.

Two generations: what is asked for again survives, what is not is forgotten by the thousand at no cost for each.
"""

from typing import Final

from bridgehead.directory.recipient import Recipient

CACHED_LOOKUPS: Final = 50_000
"""Look-ups kept in all. Random names that a dictionary attack asks for push each other out."""


class LookupCache:
    """Recipients by key; None is remembered as well.

    Args:
        limit: most look-ups kept.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, limit: int = CACHED_LOOKUPS) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[str, Recipient | None] = {}
        self._old: dict[str, Recipient | None] = {}

    def get(self, key: str, missing: Recipient) -> Recipient | None:
        """What was put for `key`, `missing` where it is not remembered."""
        found = self._young.get(key, missing)
        if found is missing and self._old:
            found = self._old.get(key, missing)
            if found is not missing:
                self.put(key, found)
        return found

    def put(self, key: str, found: Recipient | None) -> None:
        """Remember an answer."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = found

    def clear(self) -> None:
        """Forget everything: the directory has changed."""
        self._young, self._old = {}, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
