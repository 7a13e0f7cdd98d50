# SPDX-License-Identifier: MIT
"""A directory in a TOML file: one `[[recipients]]` table for each, its keys the fields of `Recipient`.

Read when it is opened; a reload of the configuration reads it anew. Meant for some hundred recipients that people
edit; more are better kept in the database (`sqlite.py`).
"""

import re
import tomllib
from pathlib import Path

from bridgehead.directory.fields import FieldError, conflicts, dangling_references, nearest, recipient_from
from bridgehead.directory.keys import name_key
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient
from bridgehead.mail.header import clean_text

TABLE = "recipients"
_TABLE_LINE = re.compile(r"\s*\[\[\s*(?:recipients|\"recipients\"|'recipients')\s*\]\]")
_ANY_TABLE = re.compile(r"\s*\[")


class DirectoryFileError(ValueError):
    """The file cannot be used. `problems` has one line for each mistake: "file:line: field: what was expected"."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class FileDirectory(MemoryDirectory):
    """Directory over a TOML file.

    Args:
        path: the file.
        plus_addressing: user+detail@domain finds user@domain unless it is an address of its own.

    Raises DirectoryFileError with every mistake at once; OSError where the file cannot be read.
    """

    def __init__(self, path: str | Path, *, plus_addressing: bool = True) -> None:
        super().__init__(read_recipients(Path(path)), plus_addressing=plus_addressing)


def read_recipients(path: Path) -> list[Recipient]:
    """The recipients in a TOML file. Raises DirectoryFileError, OSError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise DirectoryFileError([f"{path}: UTF-8 was expected: {error.reason} at byte {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise DirectoryFileError([f"{path}: {error}"]) from None
    places = _Places(path, text)
    problems = [
        f'{path}: "{clean_text(key, 64)}" is not known here{nearest(key, [TABLE])}' for key in document if key != TABLE
    ]
    tables = document.get(TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DirectoryFileError([f"{path}: recipients: [[recipients]] tables were expected"])
    recipients: list[Recipient] = []
    positions: list[int] = []
    for position, table in enumerate(tables):
        try:
            recipients.append(recipient_from(table))
            positions.append(position)
        except FieldError as error:
            problems += (places.problem(position, one) for one in error.every)
    problems += _cross_check(recipients, positions, places)
    if problems:
        raise DirectoryFileError(problems)
    return recipients


def _cross_check(recipients: list[Recipient], positions: list[int], places: "_Places") -> list[str]:
    problems = [places.problem(positions[index], error) for index, error in conflicts(recipients)]
    by_name = {name_key(recipient.name): position for recipient, position in zip(recipients, positions, strict=True)}
    problems += (places.problem(by_name[name_key(name)], error) for name, error in dangling_references(recipients))
    return problems


class _Places:
    """Where the tables of a file begin, and where a key stands in one."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._starts = [number for number, line in enumerate(self._lines) if _TABLE_LINE.match(line)]

    def problem(self, position: int, error: FieldError) -> str:
        """One line about a mistake in the table at `position`."""
        where = f"{self._path}:{self._line(position, error.field)}" if position < len(self._starts) else f"{self._path}"
        return f"{where}: {clean_text(error.field, 64)}: {error}"

    def _line(self, position: int, field: str) -> int:
        """The line of a field, else that of its table, counted from 1."""
        start = self._starts[position]
        key = re.compile(rf"\s*[\"']?{re.escape(field)}[\"']?\s*=")
        for number in range(start + 1, len(self._lines)):
            if _ANY_TABLE.match(self._lines[number]) and number in self._starts:
                break
            if key.match(self._lines[number]):
                return number + 1
        return start + 1
