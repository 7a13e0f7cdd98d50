#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/reference/settings.md from the settings themselves: names, types, defaults, bounds, docstrings."""

import re
import sys
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

sys.path.insert(0, str(Path(__file__).parent))

from settings_texts import EXCHANGE_NAMES, OWN, TABLES, TEXTS

from bridgehead.mail.units import ByteSize, Count, Duration
from bridgehead.server.config.bounds import BOUNDS
from bridgehead.server.config.reloaded import AT_START
from bridgehead.server.config.schema import Configuration

MANUAL = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

HEAD = """\
# Settings

<!-- Written by `make docs` from the settings themselves. Change those, not this page. -->

Bridgehead reads `bridgehead.toml` and every `conf.d/*.toml` beside it. Tables of several files merge, `[[arrays]]`
append, and the same setting in two files is an error. `bridgehead check` names every mistake with its line;
`bridgehead reload` applies changes to new sessions, all of them or none; settings with † take effect when the server is
started again, and each reload until then names those that were changed.

Sizes are written `"36 MB"`, `"64KB"` or in bytes; units count by 1024. Times are written `"00:10:00"`,
`"1.00:00:00"` (one day), `"10m"` or in seconds. `"unlimited"` is a value where it is listed. Relative paths lie within
`server.data_directory`. Secrets are never written here: `"file:PATH"`, `"env:NAME"` or `"credential:NAME"`
(systemd) says where they are.

The last column of each table is the parameter of the Exchange cmdlet that the setting is named after; — marks
settings of our own.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for table, kind, is_array in tables():
        heading, cmdlet, text = TABLES[table]
        brackets = f"[[{table}]]" if is_array else f"[{table}]"
        parts.append(f"\n## {heading}: `{brackets}`\n\n{text}\n")
        parts.append(f"\n| Setting | Values | Default | Meaning | {cmdlet or 'Exchange'} |\n|---|---|---|---|---|\n")
        parts += [row(table, kind, field) for field in msgspec.structs.fields(kind) if not _is_table(field)]
    return "".join(parts)


def tables() -> Iterator[tuple[str, type[msgspec.Struct], bool]]:
    """Each table of the file, in the manual's order: its name, type, and whether it is an array."""
    kinds = {field.name: field for field in msgspec.structs.fields(Configuration)}
    for table in TABLES:
        name, _, inner = table.partition(".")
        outermost = kinds[name].type
        if inner:
            fields = msgspec.structs.fields(_struct(outermost))
            outermost = next(field.type for field in fields if field.name == inner)
        yield table, _struct(outermost), get_origin(outermost) is list


def row(table: str, kind: type[msgspec.Struct], field: FieldInfo) -> str:
    cells = (
        f"`{field.name}`{' †' if field.name in AT_START.get(table, ()) else ''}",
        values(kind, field),
        default(field),
        meaning(kind, field.name),
        exchange_name(kind, field.name),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def values(kind: type[msgspec.Struct], field: FieldInfo) -> str:
    """Type, members or range."""
    bound = BOUNDS.get(kind, {}).get(field.name)
    return bound.shown(field.type) if bound else _type_name(field.type)


def _type_name(kind: Any) -> str:
    if get_origin(kind) is list:
        inner = get_args(kind)[0]
        listed = isinstance(inner, type) and issubclass(inner, StrEnum)
        return f"list of {_type_name(inner)}" if listed else f"list of {_type_name(inner)}s"
    if get_origin(kind) is UnionType:
        return _type_name(get_args(kind)[0])
    if issubclass(kind, StrEnum):
        return ", ".join(f'`"{member.value}"`' for member in kind)
    names: dict[type, str] = {
        str: "text", bool: "`true`, `false`", int: "whole number", float: "number", ByteSize: "size", Count: "count",
        Duration: "time", date: "date",
    }  # fmt: skip
    return names[kind]


def default(field: FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "*required*"
    if value is msgspec.NODEFAULT:
        assert callable(field.default_factory)
        value = field.default_factory()
    return f"`{_written(value)}`" if value is not None else "unset"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_written(element) for element in value) + "]"
    if isinstance(value, Count) and str(value).isdigit():
        return str(value)
    if isinstance(value, str | ByteSize | Count | Duration):
        return f'"{value}"'
    return str(value)


def meaning(kind: type[msgspec.Struct], name: str) -> str:
    """From the texts, else from the struct's docstring. KeyError where neither has it."""
    text = TEXTS.get(kind.__name__, {}).get(name) or described(kind)[name]
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def described(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring of a struct says of its fields: "name, name: text; name: text"."""
    _, _, section = (kind.__doc__ or "").partition("Attributes")
    entries: dict[str, str] = {}
    known = {field.name for field in msgspec.structs.fields(kind)}
    names: list[str] = []
    for line in section.partition("\n")[2].splitlines():
        found = re.match(r" {8}([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)", line)
        if found and set(found[1].split(", ")) <= known:
            names, text = found[1].split(", "), found[2]
        elif names and line.startswith(" " * 12):
            text = line.strip()
        else:
            continue
        for name in names:
            entries[name] = f"{entries[name]} {text}" if name in entries else text
    for text in list(entries.values()):  # "mail from inside; max_receive_size: mail from outside"
        for name in known - entries.keys():
            if found := re.search(rf"; {name}: ([^;]*)", text):
                entries[name] = found[1]
    return {name: re.sub(r"; [a-z_]+_[a-z_]+: .*", "", text) for name, text in entries.items()}


def exchange_name(kind: type[msgspec.Struct], name: str) -> str:
    if name in OWN.get(kind.__name__, ()):
        return "—"
    return EXCHANGE_NAMES.get(name) or "".join(
        {"ip": "IP", "dsn": "Dsn", "tls": "Tls"}.get(part, part.capitalize()) for part in name.split("_")
    )


def _struct(kind: Any) -> type[msgspec.Struct]:
    struct = get_args(kind)[0] if get_origin(kind) is list else kind
    assert issubclass(struct, msgspec.Struct)
    return struct  # type: ignore[no-any-return]


def _is_table(field: FieldInfo) -> bool:
    """A table of its own in the file, or several."""
    inner = get_args(field.type)[0] if get_origin(field.type) is list else field.type
    return isinstance(inner, type) and issubclass(inner, msgspec.Struct)


if __name__ == "__main__":
    MANUAL.parent.mkdir(parents=True, exist_ok=True)
    MANUAL.write_text(render())
