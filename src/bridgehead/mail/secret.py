# SPDX-License-Identifier: MIT
"""A password or key that cannot be printed by accident."""

from typing import Final

_HIDDEN: Final = "Secret(hidden)"


class Secret:
    """Holds a secret text. Every way to show it shows a fixed word; `reveal` is what code that needs it calls."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be stored")
