# SPDX-License-Identifier: MIT
"""The filter grammar: what it understands, what it refuses and how it says so; by properties and by examples."""

import operator
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.admin.queue.filter import (
    Both,
    Comparison,
    Either,
    Expression,
    FilterError,
    Kind,
    Not,
    Property,
    parse_filter,
    required,
    written,
)
from bridgehead.admin.queue.filter_match import compiled, like
from bridgehead.mail.limits import FILTER_CHARACTERS, FILTER_COMPARISONS, FILTER_DEPTH

NOW = 1_800_000_000.0


def _table(*properties: Property) -> dict[str, Property]:
    return {one.name.lower(): one for one in properties}


PROPERTIES = _table(
    Property(name="FromAddress", kind=Kind.TEXT, get=lambda it: it.get("from")),
    Property(name="Recipients", kind=Kind.TEXT, get=lambda it: it.get("to")),
    Property(name="Size", kind=Kind.SIZE, get=lambda it: it.get("size")),
    Property(name="RetryCount", kind=Kind.NUMBER, get=lambda it: it.get("retries")),
    Property(name="MessageLatency", kind=Kind.SPAN, get=lambda it: it.get("latency")),
    Property(name="DateReceived", kind=Kind.TIME, get=lambda it: it.get("received")),
    Property(name="Status", kind=Kind.CHOICE, get=lambda it: it.get("status"), choices=("Ready", "Retry", "Suspended")),
    Property(name="InDoubt", kind=Kind.FLAG, get=lambda it: it.get("doubt")),
)
MESSAGE: dict[str, Any] = {
    "from": "Ann@Contoso.com", "to": ["bob@fabrikam.com", "eve@tailspin.com"], "size": 2 * 1024**2, "retries": 3,
    "latency": 7200.0, "received": NOW - 7200, "status": "Retry", "doubt": False,
}  # fmt: skip


def fits(text: str, subject: dict[str, Any] = MESSAGE) -> bool:
    return compiled(parse_filter(text, PROPERTIES, NOW))(subject)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{FromAddress -like '*@contoso.com' -and Size -gt 1MB -and -not (Status -eq 'Suspended')}", True),
        ("fromaddress -eq ann@contoso.com", True),
        ("FROMADDRESS -EQ 'ann@contoso.com' -AND size -GE 2mb", True),
        ("FromAddress -ne 'ann@contoso.com'", False),
        ("FromAddress -notlike '*@contoso.com'", False),
        ("FromAddress -contains 'contoso'", True),
        ("FromAddress -like 'contoso'", False),
        ("Recipients -eq 'eve@tailspin.com'", True),
        ("Recipients -notlike '*@tailspin.com'", False),
        ('Recipients -like "*@FABRIKAM.com"', True),
        ("Size -lt '1 GB' -and Size -ge 2097152", True),
        ("Size -gt 2MB", False),
        ("RetryCount -gt 2", True),
        ("MessageLatency -ge 2h -and MessageLatency -lt 02:00:01", True),
        ("DateReceived -lt '1h ago' -and DateReceived -gt '3h ago'", True),
        ("DateReceived -gt 2020-01-31T12:00+02:00", True),
        ("Status -eq retry -or Status -eq Suspended", True),
        ("Status -ne Retry -or InDoubt -eq $true", False),
        ("!(Status -eq Retry)", False),
        ("-not -not Status -eq Retry", True),
        ("Status -eq Suspended -or Status -eq Retry -and Size -gt 1GB", False),
        ("(Status -eq Suspended -or Status -eq Retry) -and Size -gt 1MB", True),
        ("FromAddress -eq $null", False),
        ("FromAddress -ne $null", True),
    ],
)
def test_what_filters_mean(text: str, expected: bool) -> None:
    assert fits(text) is expected


def test_what_is_not_there_fits_only_negations() -> None:
    assert not fits("RetryCount -ge 0", {})
    assert fits("RetryCount -ne 3", {})
    assert fits("FromAddress -eq $null", {})


def test_a_quotation_mark_is_doubled() -> None:
    assert fits("FromAddress -eq 'o''hara@contoso.com'", {"from": "o'hara@contoso.com"})


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("FromAdress -eq 'x'", 0, "did you mean FromAddress?"),
        ("Size -greater 1MB", 5, "there is no operator"),
        ("Size -like '1*'", 5, "does not apply"),
        ("Status -eq Suspnded", 11, "did you mean Suspended?"),
        ("Size -gt huge", 9, "a size such as 10MB"),
        ("DateReceived -gt soon", 17, "a time such as"),
        ("(Size -gt 1MB", 13, "parenthesis is not closed"),
        ("{Size -gt 1MB", 13, "brace"),
        ("Size -gt 1MB Status -eq Retry", 13, "-and, -or or the end"),
        ("FromAddress -eq 'x", 16, "not closed"),
        ("", 0, "name of a property"),
        ("Size -gt", 8, "was expected after -gt"),
        ("Size -gt 1MB -and", 17, "name of a property"),
        ("RetryCount -gt nan", 15, "a number"),
        ("RetryCount -gt 99999999999999999999999", 15, "a number"),
        ("Size -gt 99999999999999999999999", 9, "not"),
        ("InDoubt -eq maybe", 12, "$true or $false"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_right_word(text: str, position: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text, PROPERTIES, NOW)
    assert caught.value.position == position
    assert words in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    "text",
    [
        "Size -gt 1 -and " * (FILTER_COMPARISONS + 1) + "Size -gt 1",
        "(" * (FILTER_DEPTH + 1) + "Size -gt 1" + ")" * (FILTER_DEPTH + 1),
        "-not " * (FILTER_DEPTH + 1) + "Size -gt 1",
        "x" * (FILTER_CHARACTERS + 1),
    ],
)
def test_size_and_depth_are_bounded(text: str) -> None:
    with pytest.raises(FilterError, match="at most"):
        parse_filter(text, PROPERTIES, NOW)


def test_a_hostile_pattern_takes_one_pass() -> None:
    assert not like("*a" * 500 + "b")("a" * 100_000)


@given(st.text(alphabet="aB*?.[ß", max_size=12), st.text(alphabet="aB?.[ß", max_size=12))
def test_like_agrees_with_a_plain_reading_of_the_star(pattern: str, value: str) -> None:
    plain = ".*".join(re.escape(part) for part in pattern.casefold().split("*"))
    assert like(pattern)(value) is bool(re.fullmatch(plain, value.casefold(), re.DOTALL))


@given(st.text(max_size=80))
def test_any_text_is_understood_or_refused_with_a_place_in_it(text: str) -> None:
    position = 0
    try:
        parse_filter(text, PROPERTIES, NOW)
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)


_comparisons = st.one_of(
    st.builds(
        lambda value, sign: Comparison(PROPERTIES["fromaddress"], sign, value),
        st.text(max_size=10), st.sampled_from(["-eq", "-ne", "-like", "-notlike", "-contains"]),
    ),
    st.builds(
        lambda value, sign: Comparison(PROPERTIES["retrycount"], sign, value),
        st.integers(0, 9), st.sampled_from(["-eq", "-ne", "-gt", "-ge", "-lt", "-le"]),
    ),
    st.builds(lambda value: Comparison(PROPERTIES["indoubt"], "-eq", value), st.booleans()),
)  # fmt: skip
_expressions: st.SearchStrategy[Expression] = st.recursive(
    _comparisons,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda many: Both(tuple(many))),
        st.lists(inner, min_size=2, max_size=3).map(lambda many: Either(tuple(many))),
    ),
    max_leaves=8,
)
_subjects = st.fixed_dictionaries(
    {}, optional={"from": st.text(max_size=10), "retries": st.integers(0, 9), "doubt": st.booleans()}
)


@given(_expressions, _subjects)
def test_what_is_written_reads_back_and_means_the_same(expression: Expression, subject: dict[str, Any]) -> None:
    again = parse_filter(written(expression), PROPERTIES, NOW)
    assert written(again) == written(expression)
    assert compiled(again)(subject) is compiled(expression)(subject) is _meaning(expression, subject)


@given(_expressions, _subjects)
def test_what_fits_fits_every_required_part(expression: Expression, subject: dict[str, Any]) -> None:
    if compiled(expression)(subject):
        assert all(compiled(part)(subject) for part in required(expression))


def _meaning(expression: Expression, subject: dict[str, Any]) -> bool:
    """The same, said by plain Python over values that are there."""
    match expression:
        case Not(operand):
            return not _meaning(operand, subject)
        case Both(operands):
            return all(_meaning(one, subject) for one in operands)
        case Either(operands):
            return any(_meaning(one, subject) for one in operands)
    value, wanted = expression.property.get(subject), expression.value
    name = expression.operator
    if value is None:
        return name in ("-ne", "-notlike")
    if isinstance(wanted, str):
        text, wanted = value.casefold(), wanted.casefold()
        pattern = re.compile(".*".join(map(re.escape, wanted.split("*"))), re.DOTALL)
        return {
            "-eq": text == wanted, "-ne": text != wanted, "-contains": wanted in text,
            "-like": bool(pattern.fullmatch(text)), "-notlike": not pattern.fullmatch(text),
        }[name]  # fmt: skip
    return bool(getattr(operator, name[1:])(value, wanted))
