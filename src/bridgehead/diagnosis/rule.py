# SPDX-License-Identifier: MIT
"""What a rule is, and what rules share: picking the attempts that agree and telling of them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from bridgehead.diagnosis.facts import AttemptFacts, Evidence, Finding, Owner

SHOWN_HOSTS = 4


class Rule(NamedTuple):
    """One cause. Rules look at everything known and may find nothing.

    Attributes:
        id: stable name, as `--json` and the manual have it.
        rows: of the table of symptoms in docs/reference/causes.md.
        weight: which of two causes that explain the same sessions is the more particular; the higher counts.
        what: what it recognises, for the manual.
        do: what helps, for the manual.
    """

    id: str
    rows: tuple[int, ...]
    owner: Owner
    weight: int
    test: Callable[[Evidence], Finding | None]
    what: str
    do: str


def pick(attempts: Sequence[AttemptFacts], condition: Callable[[AttemptFacts], bool]) -> list[AttemptFacts]:
    """The attempts that fulfil a condition."""
    return [one for one in attempts if condition(one)]


def found(
    evidence: Evidence,
    agreeing: list[AttemptFacts],
    sentence: str,
    do: str,
    proof: Sequence[str] = (),
    detail: str = "",
) -> Finding:  # fmt: skip
    """What agreeing attempts come to."""
    return Finding(
        sentence=sentence,
        agreeing=sum(one.count for one in agreeing),
        seen=evidence.sessions,
        do=do,
        proof=[*(line for one in agreeing[-3:] for line in _proof(one)), *proof],
        since=min((one.first or one.time for one in agreeing), default=0.0),
        owner_detail=detail,
        attempts=agreeing,
    )


def _proof(one: AttemptFacts) -> list[str]:
    session = f"session {one.session}: " if one.session else ""
    when = f"{times(one.count)}, last {clock(one.time)}" if one.count > 1 else clock(one.time)
    # As it came, where that is known: a status of another class than the code is put right in `reply`.
    said = one.error if one.code and one.error.startswith(str(one.code)) else one.reply or one.error
    return [f"{session}{one.where}: {said} ({when})"]


def hosts_of(attempts: Sequence[AttemptFacts]) -> str:
    """The hosts concerned, each once."""
    names = list(dict.fromkeys(one.where for one in attempts))
    more = f" and {len(names) - SHOWN_HOSTS} more" if len(names) > SHOWN_HOSTS else ""
    return ", ".join(names[:SHOWN_HOSTS]) + more


def connector_name(evidence: Evidence) -> str:
    """The send connector with the place where it is configured."""
    connector = evidence.connector
    place = f" ({connector.origin})" if connector.origin else ""
    return f'send connector "{connector.name}"{place}' if connector.name else ""


def retry(evidence: Evidence) -> str:
    """The command that tries the queue at once."""
    return f"bridgehead queue retry '{evidence.queue}'" if evidence.queue else "bridgehead queue retry --all"


def times(count: int) -> str:
    """ "once", "12 times"."""
    return "once" if count == 1 else f"{count} times"


def clock(time: float) -> str:
    """A time as people read it: "2026-11-21 00:00:12Z"."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}Z"


def day(time: float) -> str:
    """A date: "21 Nov 2026"."""
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment.day} {moment:%b %Y}"


def ip_of(endpoint: str) -> str:
    """The address in "192.0.2.1:25" or "[2001:db8::1]:25"; an address alone stays."""
    if endpoint.startswith("["):
        return endpoint[1:].partition("]")[0]
    return endpoint.rpartition(":")[0] if endpoint.count(":") == 1 else endpoint


def octets(number: int) -> str:
    """ "1 460 bytes", "10.2 MB"."""
    return f"{number:,}".replace(",", " ") + " bytes" if number < 1_000_000 else f"{number / 1_000_000:.1f} MB"
