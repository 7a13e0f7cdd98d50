# SPDX-License-Identifier: MIT
"""Patterns in which `*` stands for any text, and nothing else is special."""

from collections.abc import Callable


def fits(pattern: str) -> Callable[[str], bool]:
    """Whether a whole text fits, letter by letter and in one pass; who compares without case folds both."""
    first, *rest = pattern.split("*")
    if not rest:
        return first.__eq__
    *middle, last = rest

    def fit(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        position, end = len(first), len(text) - len(last)
        for part in middle:
            position = text.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True

    return fit
