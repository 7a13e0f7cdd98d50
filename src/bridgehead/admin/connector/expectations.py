# SPDX-License-Identifier: MIT
"""Expectations of a connector: what must hold, in words, one line each, and whether it does.

    expect = ["starttls required", "certificate name mail.contoso.com", "relay denied from 198.51.100.1"]

`FORMS` is the grammar. Whether an expectation holds is `expectation_judgement.py`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.address import AddressError, domain_key, parse_domain, parse_mailbox
from bridgehead.mail.units import ByteSize
from bridgehead.net.ip_range import parse_ip

SEND: Final = "send"
RECEIVE: Final = "receive"
KEYWORDS: Final = {
    "pipelining": "pipelining", "8bitmime": "eight_bit_mime", "binarymime": "binary_mime", "chunking": "chunking",
    "smtputf8": "smtputf8", "dsn": "dsn",
}  # fmt: skip


class ExpectationError(ValueError):
    """The text is no expectation. `remedy` names the form that was perhaps meant."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Form(NamedTuple):
    """One form of expectation.

    Attributes:
        name: how it is written; words in capitals stand for values.
        pattern: for the whole text, in lower case.
        kinds: of connectors that can have it.
        wants: its values by position: checked when the configuration is read.
    """

    name: str
    pattern: str
    kinds: tuple[str, ...]
    wants: tuple[str, ...] = ()


_BOTH: Final = (SEND, RECEIVE)
FORMS: Final = (
    Form("reachable", r"reachable", _BOTH),
    Form("starttls offered", r"starttls offered", _BOTH),
    Form("starttls not offered", r"starttls not offered", _BOTH),
    Form("starttls required", r"starttls required", _BOTH),
    Form("tls at least VERSION", r"tls at least (\S+)", _BOTH, ("version",)),
    Form("certificate name NAME", r"certificate name (\S+)", _BOTH, ("name",)),
    Form("certificate valid", r"certificate valid", _BOTH),
    Form("certificate valid for N days", r"certificate valid for (\S+) days?", _BOTH, ("days",)),
    Form("auth offered", r"auth offered", _BOTH),
    Form("auth not offered", r"auth not offered", _BOTH),
    Form("auth not offered in clear", r"auth not offered in clear", _BOTH),
    Form("auth MECHANISM offered", r"auth (\S+) offered", _BOTH),
    Form("auth succeeds", r"auth succeeds", (SEND,)),
    Form("size at least SIZE", r"size at least (.+)", _BOTH, ("size",)),
    Form("KEYWORD offered", rf"({'|'.join(KEYWORDS)}) offered", _BOTH),
    Form("domain NAME", r"domain (\S+)", (SEND,), ("name",)),
    Form("recipient ADDRESS accepted", r"recipient (\S+) (accepted)", _BOTH, ("address",)),
    Form("recipient ADDRESS refused", r"recipient (\S+) (refused)", _BOTH, ("address",)),
    Form("relay denied from IP", r"relay (denied) from (\S+)", (RECEIVE,), ("", "ip")),
    Form("relay allowed from IP", r"relay (allowed) from (\S+)", (RECEIVE,), ("", "ip")),
    Form("chosen for IP", r"chosen for (\S+)", (RECEIVE,), ("ip",)),
)
"""What each means stands in docs/howto/test-connectors.md; a test compares the two."""


class Expectation(msgspec.Struct, frozen=True):
    """One expectation: as written, its form's name and its values."""

    text: str
    form: str
    values: tuple[str, ...]


def parse_expectation(text: str, kind: str) -> Expectation:
    """Read one. Raises ExpectationError."""
    plain = " ".join(text.lower().split())
    for form in FORMS:
        match = re.fullmatch(form.pattern, plain)
        if match and kind in form.kinds:
            for value, wanted in zip(match.groups(), form.wants, strict=False):
                _check_value(text, value, wanted)
            return Expectation(text, form.name, match.groups())
        if match:
            raise ExpectationError(
                f'"{text}" can be expected of a {form.kinds[0]} connector only', f"write {_examples(kind)}"
            )
    raise ExpectationError(f'"{text}" is no expectation', _nearest(plain, kind))


def _nearest(text: str, kind: str) -> str:
    names = {form.name.lower(): form.name for form in FORMS if kind in form.kinds}
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    return f'did you mean "{names[close[0]]}"?' if close else f"write {_examples(kind)}"


def _examples(kind: str) -> str:
    names = [form.name for form in FORMS if kind in form.kinds]
    return "one of: " + ", ".join(names)


def _check_value(text: str, value: str, wanted: str) -> None:
    check = _VALUES.get(wanted)
    if check is None:
        return
    try:
        check(value)
    except (ValueError, AddressError) as error:
        raise ExpectationError(f'"{text}": {error}', "") from None


def _version(value: str) -> None:
    if value.removeprefix("tlsv") not in ("1.2", "1.3"):
        raise ValueError(f'1.2 or 1.3 was expected, not "{value}"')


def _days(value: str) -> None:
    if not value.isdigit() or not 0 < int(value) < 10_000:
        raise ValueError(f'a number of days was expected, not "{value}"')


def _ip(value: str) -> None:
    try:
        parse_ip(value)
    except ValueError:
        raise ValueError(f'an IP address such as 198.51.100.1 was expected, not "{value}"') from None


_VALUES: Final[dict[str, Callable[[str], object]]] = {
    "version": _version, "days": _days, "ip": _ip, "size": ByteSize.parse, "address": parse_mailbox,
    "name": lambda value: parse_domain(value.removeprefix("*.")),
}  # fmt: skip


def parse_all(texts: Sequence[str], kind: str) -> list[Expectation]:
    """Those of a connector whose configuration was checked. Raises ExpectationError."""
    return [parse_expectation(text, kind) for text in texts]


def domain_wanted(expectations: Iterable[Expectation]) -> str:
    """The domain that a send connector's expectations name, "" for none."""
    for one in expectations:
        if one.form == "domain NAME":
            return domain_key(one.values[0])
    return ""


def recipients_wanted(expectations: Iterable[Expectation]) -> list[str]:
    """The recipients that they name."""
    return [one.values[0] for one in expectations if one.form.startswith("recipient ")]
