# SPDX-License-Identifier: MIT
"""How a question to a server with several workers is put to them, and how their answers become one: declared with each
method, done by the supervisor. Ways of joining that concern one subject stand with its methods."""

from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, Final

import msgspec

Join = Callable[[Sequence[Any], Any], Any]
"""(what each worker answered, parameters) → the answer."""


class Ask(Enum):
    """Whom to ask."""

    FIRST = "first"
    """The first worker: it does this for all, or all would say the same."""
    ALL = "all"
    """Every worker; one that cannot answer is a fault."""
    KNOWING = "knowing"
    """Every worker; those that know nothing of what is named are left out, as long as one does."""
    WORKING = "working"
    """Every worker that works at the moment; what is wrong with the others is added to the answer."""
    ONE = "one"
    """One after the other until one knows what is named."""
    TOGETHER = "together"
    """The supervisor, by the same code as a single process, on what all workers have (`server/workers/together.py`)."""
    SUPERVISOR = "supervisor"
    """The supervisor itself."""
    NOBODY = "nobody"
    """It was not said, and a test asks for it."""


class Merge(msgspec.Struct, frozen=True):
    """One way.

    Attributes:
        join: makes one answer of several; the first one's where there is none.
        troubled: adds what is wrong with workers that do not work (`Ask.WORKING`).
        before, also: names of methods that the other workers are asked first, and afterwards.
        names_queue: the parameter that names a queue, which is found among those of all workers first.
    """

    ask: Ask
    join: Join | None = None
    troubled: Callable[[Any, Sequence[str]], Any] | None = None
    before: str = ""
    also: str = ""
    names_queue: str = ""


UNDECLARED: Final = Merge(Ask.NOBODY)
FIRST: Final = Merge(Ask.FIRST)
ONE: Final = Merge(Ask.ONE)
TOGETHER: Final = Merge(Ask.TOGETHER)


def in_order(
    key: Callable[[Any], Any], ask: Ask = Ask.ALL, *, reverse: bool = False, names_queue: str = ""
) -> Merge:  # fmt: skip
    """Lists become one, sorted; no longer than `limit` of the parameters."""

    def join(answers: Sequence[list[Any]], params: Any) -> list[Any]:
        joined = sorted((one for answer in answers for one in answer), key=key, reverse=reverse)
        return joined[: getattr(params, "limit", len(joined))]

    return Merge(ask, join, names_queue=names_queue)


def by_identity(
    key: Callable[[Any], Hashable], together: Callable[[Sequence[Any]], Any], items: list[Any]
) -> list[Any]:
    """Items with one identity become one, where the first of them stood."""
    found: dict[Hashable, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return [parts[0] if len(parts) == 1 else together(parts) for parts in found.values()]


def summed(parts: Sequence[Any], *fields: str) -> dict[str, Any]:
    """Fields added up: numbers, and numbers by key."""
    sums: dict[str, Any] = {}
    for field in fields:
        values = [getattr(part, field) for part in parts]
        sums[field] = added(values) if isinstance(values[0], dict) else sum(values)
    return sums


def added(counts: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    """Numbers by key, added up."""
    total: dict[Any, Any] = {}
    for one in counts:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    return total
