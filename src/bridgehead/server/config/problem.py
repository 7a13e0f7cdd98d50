# SPDX-License-Identifier: MIT
"""What can be wrong with a configuration, and how it is told: file, line, key path, what was expected, remedy."""

import difflib
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.server.config.positions import KeyPath, shown

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One error or warning.

    Attributes:
        file: the file as it was given; "" where no single file is to blame.
        line: from 1; 0 where unknown.
        path: key path as shown to people, "" for the whole.
        message: what is wrong and what was expected.
        remedy: what to do.
    """

    severity: Severity
    message: str
    file: str = ""
    line: int = 0
    path: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        what = f"{self.path}: {self.message}" if self.path else self.message
        text = f"{where}{self.severity}: {what}"
        return clean_text(f"{text} — {self.remedy}" if self.remedy else text)


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` holds every error and warning found, errors first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.severity != Severity.ERROR)
        super().__init__("\n".join(map(str, self.problems)))


class Location(msgspec.Struct, frozen=True):
    """Where a key stands."""

    file: Path
    line: int


class Findings:
    """Collects problems and knows on which line each key path stands."""

    def __init__(self, locations: dict[KeyPath, Location], fallback: str = "") -> None:
        self._locations = locations
        self._fallback = fallback
        self.problems: list[Problem] = []
        self._blamed: set[KeyPath] = set()

    def error(self, path: KeyPath, message: str, remedy: str = "") -> None:
        """An error, unless something at, above or below this path has been found wrong already."""
        if not self._is_blamed(path):
            self._add(Severity.ERROR, path, message, remedy)

    def warning(self, path: KeyPath, message: str, remedy: str = "") -> None:
        if not self._is_blamed(path):
            self._add(Severity.WARNING, path, message, remedy)

    def blame(self, path: KeyPath, message: str, remedy: str = "") -> None:
        """An error of form: what later checks find at this path is its consequence and is left out."""
        self._add(Severity.ERROR, path, message, remedy)
        self._blamed.add(path)

    @property
    def has_errors(self) -> bool:
        return any(problem.severity == Severity.ERROR for problem in self.problems)

    def where(self, path: KeyPath) -> str:
        """Where a setting stands, "bridgehead.toml:41"; "" where no file sets it."""
        location = self._locations.get(path)
        return f"{location.file.name}:{location.line}" if location is not None else ""

    def _is_blamed(self, path: KeyPath) -> bool:
        return any(blamed[: len(path)] == path or path[: len(blamed)] == blamed for blamed in self._blamed)

    def _add(self, severity: Severity, path: KeyPath, message: str, remedy: str) -> None:
        location = self._location(path)
        problem = Problem(
            severity=severity,
            message=message,
            remedy=remedy,
            path=shown(path),
            file=str(location.file) if location else self._fallback,
            line=location.line if location else 0,
        )
        if problem not in self.problems:
            self.problems.append(problem)

    def _location(self, path: KeyPath) -> Location | None:
        """The line of the key, or of the nearest table around it."""
        while path:
            if location := self._locations.get(path):
                return location
            path = path[:-1]
        return None


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant, or "". Exchange's own spelling finds its snake case."""
    words = list(known)
    folded = {candidate.lower().replace("_", ""): candidate for candidate in words}
    plain = word.lower().replace("_", "").replace("-", "").replace(" ", "")
    if plain in folded:
        return folded[plain]
    snake = _CAPITAL.sub("_", word).lower().replace("-", "_")
    for candidate in (word, snake):
        if close := difflib.get_close_matches(candidate, words, n=1, cutoff=0.6):
            return close[0]
    if close := difflib.get_close_matches(plain, folded, n=1, cutoff=0.6):
        return folded[close[0]]
    return ""
