# SPDX-License-Identifier: MIT
"""On which line each key of a TOML document stands (TOML 1.0).

`tomllib` reads values but forgets where they stood. This scanner goes over text that `tomllib` has accepted and notes
the line of every key, table and array element; it judges nothing.
"""

import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""Keys and array indexes from the top: `("receive_connectors", 1, "bindings", 0)`."""

_BARE_KEY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_BLANK = " \t"
_SPACE = " \t\r\n"


def shown(path: KeyPath) -> str:
    """A key path as people write it: `receive_connectors[1].bindings[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line, counted from 1, of each key path in a valid TOML document."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(i + 1 for i, character in enumerate(text) if character == "\n")]
        self._lines: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_space():
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)
        return self._lines

    def _note(self, path: KeyPath) -> None:
        self._lines.setdefault(path, bisect_right(self._starts, self._at))

    def _skip_space(self) -> bool:
        """Go past white space and comments; False at the end of the text."""
        text = self._text
        while self._at < len(text):
            if text[self._at] in _SPACE:
                self._at += 1
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return True
        return False

    def _skip_blank(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANK:
            self._at += 1

    def _header(self, brackets: int) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the key path that the following pairs belong to."""
        self._at += brackets
        keys = self._key()
        path: KeyPath = ()
        for number, key in enumerate(keys, 1):
            path += (key,)
            self._note(path)
            if number == len(keys) and brackets == 2:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path += (self._tables[path] - 1,)
        self._note(path)
        self._at += brackets
        return path

    def _key(self) -> list[str]:
        """A dotted key, up to and not including what follows it."""
        keys: list[str] = []
        while True:
            self._skip_blank()
            start = self._at
            if self._text[start] in "\"'":
                self._string()
                keys.append(str(tomllib.loads(f"k = {self._text[start : self._at]}")["k"]))
            else:
                while self._at < len(self._text) and self._text[self._at] in _BARE_KEY:
                    self._at += 1
                keys.append(self._text[start : self._at])
            self._skip_blank()
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return keys
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for key in self._key():
            path += (key,)
            after, self._at = self._at, start
            self._note(path)
            self._at = after
        self._at += 1  # the equals sign
        self._skip_blank()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._string()
        elif opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip_space() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note((*path, index))
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_space() and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
            else:
                self._pair(path)
        self._at += 1

    def _string(self) -> None:
        """Go past a string of any of the four kinds."""
        text, quote = self._text, self._text[self._at]
        triple = quote * 3
        if text.startswith(triple, self._at):
            self._at += 3
            while not text.startswith(triple, self._at):
                self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
            self._at += 3
            while text[self._at : self._at + 1] == quote:  # up to two quotes may stand before the closing ones
                self._at += 1
            return
        self._at += 1
        while text[self._at] != quote:
            self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
        self._at += 1
