# SPDX-License-Identifier: MIT
"""Scripts of SMTP conversations: the language and its parser, and what judges replies. No sockets here.

One step a line:

    C: TEXT           the client sends TEXT and CR LF
    C-bytes: TEXT     the client sends TEXT alone, with the escapes \\r \\n \\0 \\t \\\\ \\xNN
    C-fill: N         the client sends lines of text that make up N octets, CR LF included
    S: PATTERN        a whole reply comes: its last line, code and text, matches (* for any text)
    S-has: PATTERN    some line of the reply just read matches, without its code
    S-lacks: PATTERN  none does
    S-closed          the server closes the connection
    TLS               the TLS handshake takes place
    SCRAM: USER PASSWORD   a SCRAM-SHA-256 exchange up to, not including, the server's last reply
    T: EVENT NAME=PATTERN ...   once the conversation is over, such a line comes into the tracking log
    T-none: EVENT NAME=PATTERN ...   and such a line does not

A line "connector: NAME" in front says whom to talk to; "# " begins a comment. In C:, S: and T: lines {id} stands for a
text unique to this run of the script and {b64:TEXT} for TEXT, with the same escapes, in base64.
"""

import base64
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

KINDS = {"C", "C-bytes", "C-fill", "S", "S-has", "S-lacks", "S-closed", "TLS", "SCRAM", "T", "T-none"}
_WITHOUT_ARGUMENT = {"TLS", "S-closed"}
_BASE64 = re.compile(r"\{b64:([^}]*)\}")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES = {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}


class ScriptError(ValueError):
    """The script is malformed; the message names file and line."""


@dataclass(frozen=True)
class Step:
    """One line of a script; `text` is still without substitutions."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Script:
    """A conversation with the connector named."""

    name: str
    connector: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class ReplyLines:
    """A reply as read: code and the lines' texts."""

    code: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"{self.code} {line}" for line in self.lines)

    def matches(self, pattern: str) -> bool:
        return _like(f"{self.code} {self.lines[-1]}".rstrip(), pattern)

    def has(self, pattern: str) -> bool:
        return any(_like(line, pattern) for line in self.lines)


def _like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def parse(text: str, name: str = "script") -> Script:
    """Read a script. Raises ScriptError."""
    connector, steps = "", []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        kind, colon, rest = line.partition(":")
        kind = kind.strip()
        if kind == "connector":
            connector = rest.strip()
        elif kind not in KINDS:
            raise ScriptError(f"{name}:{number}: {kind!r} is none of {', '.join(sorted(KINDS))}")
        elif (kind in _WITHOUT_ARGUMENT) == bool(colon):
            raise ScriptError(f"{name}:{number}: {kind} takes {'no' if colon else 'an'} argument")
        else:
            argument = rest.removeprefix(" ") if kind in {"C", "C-bytes"} else rest.strip()
            steps.append(Step(kind, argument, number))
    if not connector:
        raise ScriptError(f'{name}: no "connector: NAME" line')
    return Script(name, connector, tuple(steps))


def load(file: Path) -> Script:
    """Read a script from a file. Raises ScriptError."""
    return parse(file.read_text(), file.name)


def unescape(text: str) -> bytes:
    """The octets that a text with escapes stands for. Raises ScriptError."""

    def character(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x" and len(code) == 3:
            return chr(0xDC00 + int(code[1:], 16)) if int(code[1:], 16) > 127 else chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise ScriptError(f"\\{code} is no escape")
        return _ESCAPES[code]

    return _ESCAPE.sub(character, text).encode("utf-8", "surrogateescape")


def substitute(text: str, unique: str) -> str:
    """Put in {id} and {b64:...}."""
    text = text.replace("{id}", unique)
    return _BASE64.sub(lambda match: base64.b64encode(unescape(match[1])).decode(), text)


def fill(octets: int) -> bytes:
    """Text of exactly so many octets, in lines of at most 78 with CR LF; at least 2."""
    lines, rest = divmod(octets, 78)
    if rest in (1,):
        lines, rest = lines - 1, rest + 78
    tail = b"y" * (rest - 2) + b"\r\n" if rest else b""
    return (b"x" * 76 + b"\r\n") * lines + tail


def event_condition(text: str) -> tuple[str, dict[str, str]]:
    """ "RECEIVE message-id=<x> source=SMTP" as event id and columns."""
    event_id, *columns = text.split()
    return event_id, dict(column.split("=", 1) for column in columns)


def event_matches(line: dict[str, str], event_id: str, columns: dict[str, str]) -> bool:
    """True when a tracking line is such an event."""
    return line["event-id"] == event_id and all(_like(line[name], pattern) for name, pattern in columns.items())
