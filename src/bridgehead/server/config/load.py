# SPDX-License-Identifier: MIT
"""Reads `bridgehead.toml` and `conf.d/*.toml` beside it into one `Configuration`.

Tables of several files merge, arrays of tables append in the order of file names, and the same setting in two files
is an error that names both. Errors of form are collected, never only the first; what settings mean together is
`check`'s matter.
"""

import re
import tomllib
from pathlib import Path

import msgspec

from bridgehead.server.config.decode import decode
from bridgehead.server.config.positions import KeyPath, key_lines, shown
from bridgehead.server.config.problem import ConfigurationError, Findings, Location, Problem, Severity
from bridgehead.server.config.schema import Configuration

_SYNTAX_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_FILE_BYTES = 16 * 1024 * 1024


class Loaded(msgspec.Struct, kw_only=True):
    """A configuration and where each part of it came from.

    Attributes:
        configuration: the settings, with an absolute data directory; incomplete where `findings` has errors.
        files: what was read, the main file first; empty for the embedded default.
        findings: problems so far, and the place that collects further ones.
        data_directory: absolute; everything relative in the settings lies within.
    """

    configuration: Configuration
    files: list[Path]
    findings: Findings
    data_directory: Path

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.findings.problems if problem.severity == Severity.WARNING]

    def within(self, path: str) -> Path:
        """A path of the settings as an absolute one: relative ones lie within the data directory."""
        return self.data_directory / path


def load(path: Path) -> Loaded:
    """Read the file and its `conf.d`. Raises ConfigurationError with every error of form that was found."""
    loaded = read(path)
    if loaded.findings.has_errors:
        raise ConfigurationError(loaded.findings.problems)
    return loaded


def read(path: Path) -> Loaded:
    """As `load`, with what could be understood in spite of errors, so that all can be told at once.

    Raises ConfigurationError only where nothing can be said beyond: a file that cannot be read or is no TOML.
    """
    files = [path, *sorted((path.parent / "conf.d").glob("*.toml"))]
    problems: list[Problem] = []
    parsed: list[tuple[Path, str, dict[str, object]]] = []
    for file in files:
        try:
            text = _text_of(file)
            parsed.append((file, text, tomllib.loads(text)))
        except tomllib.TOMLDecodeError as error:
            problems.append(_syntax_problem(file, error, text))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append(Problem(severity=Severity.ERROR, file=str(file), message=f"cannot be read: {reason}"))
    if problems:
        raise ConfigurationError(problems)
    return assemble(parsed)


def assemble(parsed: list[tuple[Path, str, dict[str, object]]], files: list[Path] | None = None) -> Loaded:
    """Merge decoded files (path, text, table) and give them their types."""
    merged: dict[str, object] = {}
    locations: dict[KeyPath, Location] = {}
    findings = Findings(locations, fallback=str(parsed[0][0]))
    for file, text, table in parsed:
        lines = key_lines(text)
        merge = _Merge(file, lines, locations, findings)
        merge.tables(merged, table, (), ())
    configuration = decode(merged, findings)
    if not configuration.server.data_directory:
        findings.blame(("server", "data_directory"), "there is no data directory", "name a folder")
    directory = Path(configuration.server.data_directory).expanduser()
    if not directory.is_absolute():
        directory = parsed[0][0].absolute().parent / directory
    server = msgspec.structs.replace(configuration.server, data_directory=str(directory))
    return Loaded(
        configuration=msgspec.structs.replace(configuration, server=server),
        files=[file for file, _, _ in parsed] if files is None else files,
        findings=findings,
        data_directory=directory,
    )


class _Merge:
    """Adds one file to what was read before it."""

    def __init__(
        self, file: Path, lines: dict[KeyPath, int], locations: dict[KeyPath, Location], findings: Findings
    ) -> None:
        self._file = file
        self._lines = lines
        self._locations = locations
        self._findings = findings

    def tables(self, into: dict[str, object], table: dict[str, object], path: KeyPath, own: KeyPath) -> None:
        """Merge `table`, which stands at `own` in its file, into the one at `path` of the whole."""
        for key, value in table.items():
            here, there = (*path, key), (*own, key)
            present = into.get(key)
            if isinstance(value, dict) and isinstance(present, dict):
                self.tables(present, value, here, there)
            elif _is_tables(value) and _is_tables(present):
                assert isinstance(present, list)
                assert isinstance(value, list)
                for index, element in enumerate(value):
                    self._note(element, (*here, len(present)), (*there, index))
                    present.append(element)
            elif key in into:
                self._twice(here, there)
            else:
                self._note(value, here, there)
                into[key] = value

    def _note(self, value: object, path: KeyPath, own: KeyPath) -> None:
        """Remember where a value and everything in it stands."""
        if line := self._lines.get(own):
            self._locations.setdefault(path, Location(self._file, line))
        if isinstance(value, dict):
            for key, inner in value.items():
                self._note(inner, (*path, key), (*own, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._note(inner, (*path, index), (*own, index))

    def _twice(self, path: KeyPath, own: KeyPath) -> None:
        first = self._locations.get(path)
        where = f"{self._file}:{self._lines.get(own, 0)}"
        self._findings.blame(
            path,
            f"is set here and again in {where}" if first else f"is set twice, also in {where}",
            f"keep one of the two lines that set {shown(path)}",
        )


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _text_of(file: Path) -> str:
    """The file's text. Raises OSError, or ValueError where it is too large or no UTF-8."""
    with file.open("rb") as source:
        data = source.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise ValueError(f"it is larger than {_FILE_BYTES // 1024**2} MB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8: byte {error.start}") from None


def _syntax_problem(file: Path, error: tomllib.TOMLDecodeError, text: str) -> Problem:
    message = str(error)
    line = text.count("\n") + 1
    if match := _SYNTAX_POSITION.search(message):
        message = message[: match.start()]
        line = int(match[1] or line)
    return Problem(
        severity=Severity.ERROR,
        file=str(file),
        line=line,
        message=f"this is no TOML: {message[:1].lower()}{message[1:]}",
        remedy='text stands in quotes ("…"), lists in brackets, and a section begins with [name] or [[name]]',
    )
