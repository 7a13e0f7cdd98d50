# SPDX-License-Identifier: MIT
"""From a request's path, query and body to a method's parameters, each text taken for what its type says."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from bridgehead.admin.calls.channel import UNREADABLE
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.mail.header import clean_text

_QUERY_FIELDS: Final = 200

Fields = Mapping[str, Any]
"""Types by name."""


def field_types(params: type[msgspec.Struct]) -> Fields:
    """The parameters of a method."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(params)}


def from_query(query: bytes, known: Fields) -> dict[str, Any]:
    """Values from a query; a list is written by repeating its name. Raises AdminFault."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS
        )  # fmt: skip
    except ValueError:
        raise AdminFault(INVALID, "the query is no text in UTF-8, or has too many parts") from None
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        texts.setdefault(name, []).append(text)
    require_known(texts, known)
    return {name: _from_texts(name, values, known[name]) for name, values in texts.items()}


def from_text(name: str, text: str, kind: Any) -> Any:
    """A text as a value of a type: itself where that is a kind of text, else JSON. Raises AdminFault."""
    try:
        return msgspec.to_builtins(msgspec.convert(text, kind))
    except msgspec.ValidationError as error:
        fault = error
    try:
        return msgspec.to_builtins(msgspec.json.decode(text, type=kind))
    except UNREADABLE as error:
        why = str(error if isinstance(error, msgspec.ValidationError) else fault)
        raise AdminFault(INVALID, f"{name}: {clean_text(why)}") from None


def from_body(body: bytes, known: Fields) -> dict[str, msgspec.Raw]:
    """The values of a JSON object, undecoded; of no body, none. Raises AdminFault."""
    if not body:
        return {}
    try:
        values = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE as error:
        raise AdminFault(INVALID, f"the body is no JSON object: {clean_text(str(error))}") from None
    require_known(values, known)
    return values


def require_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises AdminFault with the nearest right word for a name that is not known."""
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
            raise AdminFault(INVALID, f"there is no parameter {clean_text(name, 100)!r}", remedy)


def _from_texts(name: str, texts: list[str], kind: Any) -> Any:
    if _is_list(kind):
        inner = kind.__args__[0]
        return [from_text(name, text, inner) for text in texts]
    if len(texts) > 1:
        raise AdminFault(INVALID, f"{name} is given {len(texts)} times", "give it once")
    return from_text(name, texts[0], kind)


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) in (list, tuple)
