# SPDX-License-Identifier: MIT
"""A bounded memory of look-ups, "nobody of that name" included.

Two generations: what is asked for again survives, what is not is forgotten by the thousand at no cost for each.
"""

from typing import Final

from bridgehead.directory.recipient import Recipient

CACHED_LOOKUPS: Final = 50_000
"""Look-ups kept in all. Random names that a dictionary attack asks for push each other out."""

Answer = tuple[Recipient | None]
"""A remembered answer; being a tuple, it differs from "not remembered" even where nobody was found."""
NOBODY: Final[Answer] = (None,)


class LookupCache:
    """Answers by key.

    Args:
        limit: most look-ups kept.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, limit: int = CACHED_LOOKUPS) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[str, Answer] = {}
        self._old: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        """The answer for `key`, None where it is not remembered."""
        answer = self._young.get(key)
        if answer is None and (answer := self._old.get(key)) is not None:
            self.put(key, answer)
        return answer

    def put(self, key: str, answer: Answer) -> None:
        """Remember an answer."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = answer

    def clear(self) -> None:
        """Forget everything: the directory has changed."""
        self._young, self._old = {}, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
