# SPDX-License-Identifier: MIT
"""The one filter grammar of all commands: Exchange's OPATH style, parsed, checked and written. Pure.

    {FromAddress -like '*@contoso.com' -and Size -gt 1MB -and -not (Status -eq 'Suspended')}

Which properties there are is the caller's table (`message_properties`, `queue_properties`). Text is compared without
case; `*` in -like stands for any text. A mistake is told with its place and the nearest right word. Size and depth are
bounded in `mail.limits`. What fits an expression is `filter_match.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final

import msgspec

from bridgehead.mail.limits import FILTER_CHARACTERS, FILTER_COMPARISONS, FILTER_DEPTH
from bridgehead.mail.units import ByteSize, Duration


class Kind(Enum):
    """What a property holds, and with it which values and operators it takes."""

    TEXT = "a text"
    NUMBER = "a number"
    SIZE = "a size such as 10MB"
    SPAN = "a time span such as 2h or 00:10:00"
    TIME = "a time such as 2026-11-23T09:00 (UTC) or '2h ago'"
    CHOICE = "one of its words"
    FLAG = "$true or $false"


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """One name that filters know.

    Attributes:
        get: reads it. Text, or a list of texts of which any may fit; numbers as int or float, spans in seconds, times
            in Unix seconds; None where there is none, which nothing but `-eq $null` and negations fit.
        choices: the words that a CHOICE can be.
    """

    name: str
    kind: Kind
    get: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


class FilterError(ValueError):
    """The filter cannot be understood.

    Attributes:
        position: offset of the mistake in the filter.
        remedy: what was expected, "" where that is said already.
    """

    def __init__(self, text: str, position: int, message: str, remedy: str = "") -> None:
        self.position, self.remedy = position, remedy
        self.message = message
        first = max(0, position - 60)
        marked = f"{text[first : position + 60]}\n{' ' * (position - first)}^"
        super().__init__(f"{message}\n{marked}")


class Comparison(msgspec.Struct, frozen=True):
    """`property operator value`; the property's name as its table spells it, the value converted."""

    property: Property
    operator: str
    value: Any


class Not(msgspec.Struct, frozen=True):
    operand: "Expression"


class Both(msgspec.Struct, frozen=True):
    operands: "tuple[Expression, ...]"


class Either(msgspec.Struct, frozen=True):
    operands: "tuple[Expression, ...]"


Expression = Comparison | Not | Both | Either

_EQUALITY: Final = ("-eq", "-ne")
_TEXTUAL: Final = (*_EQUALITY, "-like", "-notlike", "-contains")
_ORDERED: Final = (*_EQUALITY, "-gt", "-ge", "-lt", "-le")
OPERATORS: Final = {
    Kind.TEXT: _TEXTUAL, Kind.CHOICE: _TEXTUAL, Kind.FLAG: _EQUALITY, Kind.NUMBER: _ORDERED, Kind.SIZE: _ORDERED,
    Kind.SPAN: _ORDERED, Kind.TIME: _ORDERED,
}  # fmt: skip
_ALL_OPERATORS: Final = (*_TEXTUAL, "-gt", "-ge", "-lt", "-le")
_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[(){}])|(?P<word>-[A-Za-z]+(?![^\s(){}'"]))|(?P<not>!)|(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
    r"""|(?P<bare>[^\s(){}'"]+))"""
)
_AGO = re.compile(r"(.+?)\s+ago", re.IGNORECASE)


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    position: int


def parse_filter(text: str, properties: Mapping[str, Property], now: float) -> Expression:
    """The filter as an expression.

    Args:
        properties: by name in lower case.
        now: Unix time, for "2h ago".

    Raises FilterError.
    """
    return _Parser(text, properties, now).parse()


def required(expression: Expression) -> Iterator[Comparison]:
    """Comparisons that hold for everything that fits: what may be asked of an index beforehand."""
    if isinstance(expression, Comparison):
        yield expression
    elif isinstance(expression, Both):
        for operand in expression.operands:
            yield from required(operand)


def written(expression: Expression) -> str:
    """The filter in its plainest form; `parse_filter` reads it back."""
    match expression:
        case Comparison(property=one, operator=operator, value=value):
            return f"{one.name} {operator} {_value_text(one.kind, value)}"
        case Not(operand):
            return f"-not ({written(operand)})"
        case Both(operands):
            return " -and ".join(_grouped(one) for one in operands)
        case Either(operands):
            return " -or ".join(_grouped(one) for one in operands)


def _grouped(expression: Expression) -> str:
    return f"({written(expression)})" if isinstance(expression, Both | Either) else written(expression)


def _value_text(kind: Kind, value: Any) -> str:
    if value is None:
        return "$null"
    if isinstance(value, bool):
        return "$true" if value else "$false"
    if kind is Kind.TIME:
        return f"'{datetime.fromtimestamp(value, UTC).isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


# --- parsing --------------------------------------------------------------------------------------------------------


class _Parser:
    """A filter and the place reached in it."""

    def __init__(self, text: str, properties: Mapping[str, Property], now: float) -> None:
        self._text, self._properties, self._now = text, properties, now
        self._comparisons = 0
        if len(text) > FILTER_CHARACTERS:
            raise FilterError(text, FILTER_CHARACTERS, f"a filter has at most {FILTER_CHARACTERS} characters")
        self._tokens = list(self._scan())
        self._next = 0

    def _scan(self) -> Iterator[_Token]:
        position, text = 0, self._text
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                raise FilterError(text, start, "a quotation mark is opened and not closed")
            kind = match.lastgroup or ""
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()

    def parse(self) -> Expression:
        braced = self._take_mark("{")
        expression = self._either(0)
        if braced and not self._take_mark("}"):
            raise self._error('the brace opened at the start is not closed: "}" was expected')
        if self._peek() is not None:
            raise self._error("-and, -or or the end of the filter was expected")
        return expression

    def _either(self, depth: int) -> Expression:
        operands = [self._both(depth)]
        while self._take_word("-or"):
            operands.append(self._both(depth))
        return operands[0] if len(operands) == 1 else Either(tuple(operands))

    def _both(self, depth: int) -> Expression:
        operands = [self._operand(depth)]
        while self._take_word("-and"):
            operands.append(self._operand(depth))
        return operands[0] if len(operands) == 1 else Both(tuple(operands))

    def _operand(self, depth: int) -> Expression:
        if depth >= FILTER_DEPTH:
            raise self._error(f"a filter is nested at most {FILTER_DEPTH} deep")
        if self._take_word("-not") or self._take_kind("not"):
            return Not(self._operand(depth + 1))
        if self._take_mark("("):
            inner = self._either(depth + 1)
            if not self._take_mark(")"):
                raise self._error('a parenthesis is not closed: ")" was expected')
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > FILTER_COMPARISONS:
            raise self._error(f"a filter has at most {FILTER_COMPARISONS} comparisons")
        found = self._property()
        operator = self._operator(found)
        token = self._peek()
        if token is None or token.kind not in ("bare", "quoted"):
            raise self._error(f"{found.kind.value} was expected after {operator}", _values_of(found))
        self._next += 1
        return Comparison(found, operator, self._value(found, operator, token))

    def _property(self) -> Property:
        token = self._peek()
        if token is None or token.kind != "bare":
            raise self._error("the name of a property was expected", f"one of {self._names()}")
        found = self._properties.get(token.text.lower())
        if found is None:
            names = {one.name.lower(): one.name for one in self._properties.values()}
            raise self._error(f'there is no property "{token.text}"', _nearest(token.text, names, self._names()))
        self._next += 1
        return found

    def _operator(self, subject: Property) -> str:
        token = self._peek()
        known = {one: one for one in _ALL_OPERATORS}
        if token is None or token.kind != "word":
            allowed = ", ".join(OPERATORS[subject.kind])
            raise self._error(f"an operator was expected after {subject.name}", f"one of {allowed}")
        operator = token.text.lower()
        if operator not in known:
            raise self._error(f'there is no operator "{token.text}"', _nearest(operator, known, ", ".join(known)))
        if operator not in OPERATORS[subject.kind]:
            allowed = ", ".join(OPERATORS[subject.kind])
            raise self._error(f"{subject.name} is {subject.kind.value}: {operator} does not apply", f"use {allowed}")
        self._next += 1
        return operator

    def _value(self, subject: Property, operator: str, token: _Token) -> Any:
        text = token.text
        if token.kind == "quoted":
            mark = text[0]
            text = text[1:-1].replace(mark * 2, mark)
        elif text.lower() == "$null" and operator in _EQUALITY:
            return None
        try:
            return self._converted(subject, operator, text)
        except (ValueError, OverflowError, KeyError):
            message = f'{subject.name} is {subject.kind.value}, not "{text[:80]}"'
            raise FilterError(self._text, token.position, message, _values_of(subject, text)) from None

    def _converted(self, subject: Property, operator: str, text: str) -> Any:
        match subject.kind:
            case Kind.TEXT:
                return text
            case Kind.CHOICE if operator in _EQUALITY:
                folded = text.replace("_", "").casefold()
                return {word.casefold(): word for word in subject.choices}[folded]
            case Kind.CHOICE:
                return text
            case Kind.NUMBER:
                return _number(text)
            case Kind.SIZE:
                return _stored(int(ByteSize.parse(int(text) if text.isdecimal() else text)))
            case Kind.SPAN:
                return Duration.parse(float(text) if text.isdecimal() else text).total_seconds()
            case Kind.TIME:
                return _time(text, self._now)
            case Kind.FLAG:
                return {"$true": True, "true": True, "$false": False, "false": False}[text.lower()]

    # --- tokens ---

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take_kind(self, kind: str) -> bool:
        token = self._peek()
        taken = token is not None and token.kind == kind
        self._next += taken
        return taken

    def _take_mark(self, mark: str) -> bool:
        token = self._peek()
        return token is not None and token.text == mark and self._take_kind("mark")

    def _take_word(self, word: str) -> bool:
        token = self._peek()
        return token is not None and token.text.lower() == word and self._take_kind("word")

    def _error(self, message: str, remedy: str = "") -> FilterError:
        token = self._peek()
        return FilterError(self._text, len(self._text) if token is None else token.position, message, remedy)

    def _names(self) -> str:
        return ", ".join(sorted({one.name for one in self._properties.values()}))


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("no finite number")
    return _stored(int(value)) if value.is_integer() else value


def _stored(value: int) -> int:
    """A number that a store can hold. Raises ValueError."""
    if not -(2**63) <= value < 2**63:
        raise ValueError("more than 64 bits")
    return value


def _time(text: str, now: float) -> float:
    if ago := _AGO.fullmatch(text):
        return now - Duration.parse(ago[1]).total_seconds()
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


def _values_of(subject: Property, given: str = "") -> str:
    """What the property can be, for people."""
    if not subject.choices:
        return ""
    words = {word.lower(): word for word in subject.choices}
    return _nearest(given, words, ", ".join(subject.choices)) if given else f"one of {', '.join(subject.choices)}"


def _nearest(given: str, names: Mapping[str, str], everything: str) -> str:
    close = get_close_matches(given.lower(), names, n=1)
    return f"did you mean {names[close[0]]}?" if close else f"one of {everything}"
