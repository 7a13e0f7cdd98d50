# SPDX-License-Identifier: MIT
"""SQL statements over many rows at once.

The `sqlite3` module gives up the GIL and takes it back around every step of a statement. With a busy event loop
beside it each of these costs far more than the work itself, hence one statement for up to 64 rows.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

ROWS_PER_STATEMENT: Final = 64

Row = tuple[Any, ...]


def pieces(count: int, largest: int = ROWS_PER_STATEMENT) -> Iterator[int]:
    """`count` as a sum of powers of two, so that few different statements exist and stay prepared."""
    while count >= largest:
        yield largest
        count -= largest
    while count:
        size = 1 << (count.bit_length() - 1)
        yield size
        count -= size


@lru_cache(maxsize=256)
def _with_values(statement: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return statement + ",".join([row] * rows)


@lru_cache(maxsize=256)
def _with_list(statement: str, count: int) -> str:
    return statement.replace("(ids)", "(" + ",".join("?" * count) + ")")


def insert_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Run `statement`, which ends in VALUES, for all rows."""
    position = 0
    for size in pieces(len(rows)):
        part = rows[position : position + size]
        values = part[0] if size == 1 else tuple(chain.from_iterable(part))
        connection.execute(_with_values(statement, len(part[0]), size), values)
        position += size


def for_ids(connection: sqlite3.Connection, statement: str, ids: Iterable[int], *first: object) -> list[Row]:
    """Run `statement`, in which `(ids)` stands for a list, for all ids; the rows it gives. `first` is bound before."""
    wanted = tuple(ids)
    found: list[Row] = []
    position = 0
    for size in pieces(len(wanted)):
        part = wanted[position : position + size]
        found += connection.execute(_with_list(statement, size), first + part if first else part).fetchall()
        position += size
    return found
