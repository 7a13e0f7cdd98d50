# SPDX-License-Identifier: MIT
"""What fits a filter: an expression of `filter.py` as a function of whatever its properties read. Pure.

Text is compared without case; a value of several texts fits where any of them does. No pattern takes more than one pass
over a value.
"""

from collections.abc import Callable
from typing import Any

from bridgehead.admin.queue.filter import Both, Comparison, Either, Expression, Not
from bridgehead.mail import wildcard

Predicate = Callable[[Any], bool]


def compiled(expression: Expression) -> Predicate:
    """The expression as a function of whatever its properties read."""
    match expression:
        case Comparison():
            return _compare(expression)
        case Not(operand):
            inner = compiled(operand)
            return lambda subject: not inner(subject)
        case Both(operands):
            every = tuple(map(compiled, operands))
            return lambda subject: all(one(subject) for one in every)
        case Either(operands):
            some = tuple(map(compiled, operands))
            return lambda subject: any(one(subject) for one in some)


def _compare(one: Comparison) -> Predicate:
    get, operator = one.property.get, one.operator
    negated = operator in ("-ne", "-notlike")
    positive = {"-ne": "-eq", "-notlike": "-like"}.get(operator, operator)
    if one.value is None:
        return (lambda subject: get(subject) not in (None, "")) if negated else lambda s: get(s) in (None, "")
    test = _text_test(positive, one.value) if isinstance(one.value, str) else _order_test(positive, one.value)

    def fits(subject: Any) -> bool:
        value = get(subject)
        if value is None:
            return negated
        found = any(map(test, value)) if isinstance(value, list) else test(value)
        return found is not negated

    return fits


def _text_test(operator: str, wanted: str) -> Predicate:
    folded = wanted.casefold()
    if operator == "-eq":
        return lambda value: value.casefold() == folded
    if operator == "-contains":
        return lambda value: folded in value.casefold()
    return like(wanted)


def _order_test(operator: str, wanted: Any) -> Predicate:
    tests: dict[str, Predicate] = {
        "-eq": lambda value: value == wanted,
        "-gt": lambda value: value > wanted,
        "-ge": lambda value: value >= wanted,
        "-lt": lambda value: value < wanted,
        "-le": lambda value: value <= wanted,
    }
    return tests[operator]


def like(pattern: str) -> Predicate:
    """Whether a text fits a pattern in which `*` stands for any text, in one pass and without case."""
    fits = wildcard.fits(pattern.casefold())
    return lambda value: fits(value.casefold())
