# SPDX-License-Identifier: MIT
"""What is searched for in tracking logs, and whether an event fits (Get-MessageTrackingLog's parameters, and more).

Everything here is decided on values; where to look is `search.py`. Patterns are matched in linear time.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec

from bridgehead.mail import wildcard
from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.tracking.event_line import FoundEvent, fold, stamp
from bridgehead.tracking.outcomes import DECIDED_BY, Outcome, Status

Fits = Callable[[str], bool]


class CriteriaError(ValueError):
    """A criterion that cannot be understood. The message says what was expected."""


class AskedOf(msgspec.Struct, frozen=True, kw_only=True):
    """Criteria as people give them; all must hold for one event of a message. Case does not matter, `*` stands for any
    text.

    Attributes:
        sender: the header's sender or the reverse-path.
        recipient: any of the recipients, or the address one was expanded or redirected from.
        subject: words that all occur in the subject, in any order; with `*`, a pattern for the whole.
        source_address: client that handed the message in: an address, a pattern, a range (10.2.0.0/16,
            10.0.0.1-10.0.0.9).
        start, end: with time zone; `end` is not included.
        limit: most messages in one answer.
        after: where the page before ended, "" for the first.
    """

    sender: str = ""
    recipient: str = ""
    message_id: str = ""
    network_message_id: str = ""
    internal_message_id: str = ""
    subject: str = ""
    event_id: str = ""
    source: str = ""
    connector: str = ""
    reference: str = ""
    source_address: str = ""
    start: datetime | None = None
    end: datetime | None = None
    limit: int = LIST_RESULTS
    after: str = ""


class Criteria(AskedOf, frozen=True, kw_only=True):
    """What is searched for.

    Attributes:
        any_of: at least one of these occurs as message id, network message id, internal id or reference.
        status: what became of a recipient (of one that `recipient` names, where that is given), in the end.
    """

    any_of: frozenset[str] = frozenset()
    status: Status | None = None


class Matcher:
    """`Criteria` made ready for many events. Raises CriteriaError."""

    def __init__(self, criteria: Criteria) -> None:
        self.criteria = criteria
        self._checks = _checks(criteria)
        self.needles = _needles(criteria)
        """Bytes in lower case of which each line that fits holds at least one of every list."""
        decided_by = DECIDED_BY.get(criteria.status, frozenset()) if criteria.status is not None else frozenset()
        self.deciding = [f",{event_id},".encode() for event_id in sorted(decided_by)]
        """Bytes of which a line of each message holds one whose status fits; none where any message's may."""
        self._start = stamp(criteria.start) if criteria.start else ""
        self._end = stamp(criteria.end) if criteria.end else ""
        self._recipient = fits(criteria.recipient) if criteria.recipient else None

    def event(self, event: FoundEvent) -> bool:
        """Whether an event fits, whatever became of its message."""
        time = event.date_time
        if (self._start and time < self._start) or (self._end and time >= self._end):
            return False
        return all(check(event) for check in self._checks)

    def line_may_fit(self, line: bytes) -> bool:
        """Whether a line's time and bytes leave it possible that it fits."""
        if self._start or self._end:
            time = line[:23].decode("ascii", "replace")
            # A stamp without fraction sorts after those with one, and so is looked at in full.
            if len(time) == 23 and time[19] == "." and (time < self._start[:23] or (self._end and time > self._end)):
                return False
        lowered = line.lower()
        return all(any(needle in lowered for needle in needles) for needles in self.needles)

    def outcomes(self, outcomes: Iterable[Outcome]) -> bool:
        """Whether what became of a message's recipients fits."""
        status = self.criteria.status
        if status is None:
            return True
        wanted = self._recipient
        return any(one.state is status and (wanted is None or wanted(fold(one.recipient))) for one in outcomes)


def _checks(criteria: Criteria) -> list[Callable[[FoundEvent], bool]]:
    checks: list[Callable[[FoundEvent], bool]] = []

    def check(pattern: str, values: Callable[[FoundEvent], Iterable[str]]) -> None:
        if pattern:
            fit = fits(pattern)
            checks.append(lambda event: any(fit(fold(value)) for value in values(event)))

    check(criteria.network_message_id, lambda event: (event.network_message_id,))
    check(criteria.message_id.strip("<>"), lambda event: (event.message_id.strip("<>"),))
    check(criteria.sender, senders)
    check(criteria.recipient, recipients)
    check(criteria.internal_message_id, lambda event: (event.internal_message_id,))
    check(criteria.event_id, lambda event: (event.event_id,))
    check(criteria.source, lambda event: (event.source,))
    check(criteria.connector, connector_names)
    check(criteria.reference, lambda event: (event.reference,))
    if criteria.source_address:
        within = address_fits(criteria.source_address)
        checks.append(lambda event: within(event.origin))
    if "*" in criteria.subject:
        check(criteria.subject, lambda event: (event.message_subject,))
    elif words := fold(criteria.subject).split():
        checks.append(lambda event: all(word in fold(event.message_subject) for word in words))
    if criteria.any_of:
        wanted = frozenset(map(fold, criteria.any_of))
        checks.append(lambda event: not wanted.isdisjoint(map(fold, identifiers(event))))
    return checks


def senders(event: FoundEvent) -> tuple[str, str]:
    """Texts that `sender` is compared with."""
    return (event.sender_address, event.return_path)


def recipients(event: FoundEvent) -> list[str]:
    """Texts that `recipient` is compared with."""
    related = event.related_recipient_address
    return [*event.recipient_address, related] if related else event.recipient_address


def connector_names(event: FoundEvent) -> tuple[str, ...]:
    r"""Texts that `connector` is compared with: "Server\Connector" whole, and the connector's name alone."""
    return (event.connector_id, event.connector_id.rpartition("\\")[2])


def identifiers(event: FoundEvent) -> tuple[str, str, str, str]:
    """Texts that `any_of` is compared with."""
    return (event.network_message_id, event.message_id, event.internal_message_id, event.reference)


@lru_cache(maxsize=256)
def fits(pattern: str) -> Fits:
    """Whether a folded text fits a pattern in which only `*` is special."""
    return wildcard.fits(fold(pattern))


@lru_cache(maxsize=16)
def address_fits(text: str) -> Fits:
    """Whether a client's address is the one wanted, or within the range. Raises CriteriaError."""
    if "*" in text:
        return fits(text)
    try:
        version, low, high = _range(text)
    except (ValueError, TypeError):
        message = f'"{text}" is neither an IP address nor a range such as 10.2.0.0/16 or 10.0.0.1-10.0.0.9'
        raise CriteriaError(message) from None

    @lru_cache(maxsize=4096)
    def within(address: str) -> bool:
        try:
            one = ipaddress.ip_address(address)
        except ValueError:
            return False
        return one.version == version and low <= int(one) <= high

    return within


def _range(text: str) -> tuple[int, int, int]:
    """IP version, lowest and highest address as numbers. Raises ValueError."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    if dash:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
        if low.version != high.version:
            raise ValueError(text)
        return low.version, int(low), int(high)
    network = ipaddress.ip_network(first, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _needles(criteria: Criteria) -> list[list[bytes]]:
    subject = [criteria.subject] if "*" in criteria.subject else criteria.subject.split()
    patterns = [
        criteria.network_message_id, criteria.message_id.strip("<>"), criteria.recipient, criteria.sender,
        criteria.reference, criteria.connector, *subject,
    ]  # fmt: skip
    cells = [criteria.internal_message_id, criteria.event_id, criteria.source]
    alternatives = [[needle(text) for text in criteria.any_of]]
    alternatives += [[needle(text)] for text in patterns]
    alternatives += [[needle(text) if "*" in text else _cell(text)] for text in cells]
    return [needles for needles in alternatives if needles and all(needles)]


_SEPARATORS: Final = re.compile(r"[^ !#-)+-~]")


def needle(text: str) -> bytes:
    """The longest part of a pattern that stands in a line as it is: ASCII, no `*`, no quotation mark."""
    return max(_SEPARATORS.split(fold(text)), key=len).encode()


def _cell(text: str) -> bytes:
    """A number or word that is a cell of its own and never quoted."""
    return f",{fold(text)},".encode() if text.isascii() and text.isalnum() else needle(text)
