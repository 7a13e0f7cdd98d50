# SPDX-License-Identifier: MIT
"""Subjects are content: who may not read content sees none of them, and cannot find them out by asking for them."""

import re
from typing import Any, Final

import msgspec

MASKED: Final = "(hidden)"
_CONTENT: Final = frozenset({"header", "content"})
"""Fields that hold subjects among other things."""
_ASKED: Final = re.compile("subject", re.IGNORECASE)


def without_subjects(result: Any) -> Any:
    """A result as plain values, in which everything that is or holds a subject is masked."""
    return _masked(msgspec.to_builtins(result))


def asks_about_subjects(params: msgspec.Struct) -> bool:
    """Whether parameters, or a filter among them, choose by subject."""
    return _mentions(msgspec.to_builtins(params))


def is_subject(name: str) -> bool:
    """Whether a field of this name is masked."""
    return "subject" in name.lower() or name.lower() in _CONTENT


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(inner) if is_subject(str(name)) else _masked(inner) for name, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return MASKED if value else value
    if isinstance(value, list):
        return [_hidden(inner) for inner in value]
    return {name: _hidden(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _mentions(value: Any) -> bool:
    if isinstance(value, dict):
        return any((is_subject(str(name)) and inner not in ("", None, [], False)) or _mentions_in(str(name), inner)
                   for name, inner in value.items())  # fmt: skip
    return isinstance(value, list) and any(map(_mentions, value))


def _mentions_in(name: str, value: Any) -> bool:
    """A filter's text is looked through; an identity or an address may hold the word."""
    if isinstance(value, str):
        return "filter" in name.lower() and _ASKED.search(value) is not None
    return _mentions(value)
