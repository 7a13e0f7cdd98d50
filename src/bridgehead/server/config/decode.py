# SPDX-License-Identifier: MIT
"""From decoded TOML to typed settings, with every mistake named rather than the first.

The settings' own types say what is allowed: the walk goes over the table and its type side by side. What is wrong is
reported and left out, so that the checks over the whole configuration still see the rest.
"""

import types
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from bridgehead.mail.units import ByteSize, Count, Duration, decode_hook
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings, nearest
from bridgehead.server.config.schema import Configuration

_LEFT_OUT = object()
_LISTED = 30
"""Settings that a remedy lists."""
_WORDS: dict[type, str] = {
    date: "a date such as 2027-03-31",
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def decode(table: dict[str, object], findings: Findings) -> Configuration:
    """Typed settings of what is right in `table`; what is not stands in `findings` afterwards."""
    right = _struct(table, Configuration, (), findings)
    return msgspec.convert(right, Configuration, dec_hook=decode_hook)


def expected(kind: Any) -> str:
    """What a value of this type looks like, in words."""
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) is list:
        return "a list in brackets"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(f'"{member.value}"' for member in kind)
    return "a table"


def found(value: object) -> str:
    """What stands there instead, in words; long values are cut."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _struct(table: dict[str, object], kind: type[msgspec.Struct], path: KeyPath, findings: Findings) -> dict[str, Any]:
    """The part of `table` that fits `kind`; required fields that are missing or wrong get an empty value."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    right: dict[str, Any] = {}
    for key, value in table.items():
        if field := fields.get(key):
            decoded = _value(value, field.type, (*path, key), findings)
            if decoded is not _LEFT_OUT:
                right[key] = decoded
        else:
            _unknown_key(key, fields, path, findings)
    for name, field in fields.items():
        if _is_required(field) and name not in right:
            right[name] = _empty(field.type)
            if name not in table:
                findings.blame(
                    (*path, name),
                    f"the required setting is missing; {expected(field.type)} was expected",
                    f"add `{name} = …`",
                )
    return right


def _unknown_key(key: str, fields: dict[str, FieldInfo], path: KeyPath, findings: Findings) -> None:
    kind = "table" if not path else "setting"
    names = [part for part in path if isinstance(part, str)]
    homes = dict(_homes(key, Configuration, ""))
    if (outer := ".".join(names[:-1])) in homes:
        remedy = f"it is a setting of {homes[outer]}: write it above this table"
    elif homes and path:
        remedy = f"it is a setting of {', '.join(homes.values())}"
    elif guess := nearest(key, fields):
        remedy = f"did you mean `{guess}`?"
    else:
        known = sorted(fields)
        more = ", … (docs/reference/settings.md)" if len(known) > _LISTED else ""
        remedy = f"known here: {', '.join(known[:_LISTED])}{more}"
    findings.blame((*path, key), f"there is no {kind} of this name", remedy)


def _homes(key: str, kind: type[msgspec.Struct], name: str) -> Iterator[tuple[str, str]]:
    """The tables that have a setting of this name: by their path, as they are written."""
    for field in msgspec.structs.fields(kind):
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                here = f"{name}.{field.name}".strip(".")
                if key in inner.__struct_fields__:
                    yield here, f"[[{here}]]" if get_origin(field.type) is list else f"[{here}]"
                yield from _homes(key, inner, here)


def _value(value: object, kind: Any, path: KeyPath, findings: Findings) -> Any:
    """The value if it fits, else `_LEFT_OUT` and a problem."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):  # the schema knows only "X | None"
        kind = next(option for option in get_args(kind) if option is not type(None))
        origin = get_origin(kind)
    if origin is list:
        return _list(value, get_args(kind)[0], path, findings)
    if issubclass(kind, msgspec.Struct):
        if isinstance(value, dict):
            return _struct(value, kind, path, findings)
        findings.blame(
            path, f"a table was expected, not {found(value)}", f"write it as [{path[-1]}] with settings below"
        )
        return _LEFT_OUT
    if issubclass(kind, StrEnum):
        return _member(value, kind, path, findings)
    if issubclass(kind, ByteSize | Count | Duration):
        try:
            kind.parse(value)
        except ValueError as error:
            findings.blame(path, str(error))
            return _LEFT_OUT
        return value
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        findings.blame(path, f"{expected(kind)} was expected, not {found(value)}")
        return _LEFT_OUT
    return value


def _list(value: object, kind: Any, path: KeyPath, findings: Findings) -> Any:
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if not isinstance(value, list):
        example = f"write it as [[{path[-1]}]]" if is_struct else f"write {path[-1]} = [{_quoted(value)}]"
        findings.blame(path, f"a list was expected, not {found(value)}", example)
        return _LEFT_OUT
    elements = [_value(element, kind, (*path, index), findings) for index, element in enumerate(value)]
    if is_struct:  # the index of each table is kept, for the checks that follow
        return [_struct({}, kind, (), Findings({})) if element is _LEFT_OUT else element for element in elements]
    return _LEFT_OUT if _LEFT_OUT in elements else elements


def _member(value: object, kind: type[StrEnum], path: KeyPath, findings: Findings) -> Any:
    words = [member.value for member in kind]
    if value in words:
        return value
    guess = nearest(value, words) if isinstance(value, str) else ""
    findings.blame(path, f"{found(value)} is not {expected(kind)}", f'did you mean "{guess}"?' if guess else "")
    return _LEFT_OUT


def _quoted(value: object) -> str:
    return found(value) if isinstance(value, str | int | float) else "…"


def _is_required(field: FieldInfo) -> bool:
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _empty(kind: Any) -> Any:
    origin = get_origin(kind)
    if origin is list:
        return []
    if issubclass(kind, StrEnum):
        return next(iter(kind)).value
    return date.max if kind is date else kind()
