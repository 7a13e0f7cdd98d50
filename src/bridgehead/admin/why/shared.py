# SPDX-License-Identifier: MIT
"""Verdicts of several queues that wait for one and the same thing of ours, told as one.

Where no resolver answers, hundreds of queues wait for the same step of the administrator: one verdict says so and which
they are. What the far sides or the network cause stays apart, queue by queue.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.why.verdict import State, Verdict
from bridgehead.admin.why.waiting import queue_headline
from bridgehead.diagnosis.facts import Owner

_NAMED: Final = 5
"""Queues that a headline names."""


def told_once(verdicts: Sequence[Verdict], now: float) -> list[Verdict]:
    """Stuck queues with one cause and remedy of ours as one verdict, at the place of the first; others as they are."""
    groups: dict[object, list[Verdict]] = {}
    for number, one in enumerate(verdicts):
        ours = one.cause and one.owner == Owner.YOU.value and one.state is State.STUCK
        groups.setdefault((one.cause, one.do, one.owner_detail) if ours else number, []).append(one)
    return [group[0] if len(group) == 1 else _together(group, now) for group in groups.values()]


def _together(group: list[Verdict], now: float) -> Verdict:
    names = ", ".join(one.about for one in group[:_NAMED])
    more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
    messages = sum(one.messages for one in group)
    oldest, next_try = _first(one.oldest for one in group), _first(one.next_try for one in group)
    agreeing, seen = sum(one.sessions_agreeing for one in group), sum(one.sessions_seen for one in group)
    headline = queue_headline(
        f"{len(group)} queues ({names}{more})", messages, _time(oldest), _time(next_try), now
    )  # fmt: skip
    return msgspec.structs.replace(
        group[0],
        headline=headline,
        certainty=f"{group[0].certainty.partition(' ')[0]} (seen in {agreeing} of {seen} sessions)",
        sessions_agreeing=agreeing,
        sessions_seen=seen,
        since=_first(one.since for one in group),
        messages=messages,
        oldest=oldest,
        next_try=next_try,
        delay_notice=_first(one.delay_notice for one in group),
        expires=(expires := _first(one.expires for one in group)),
        otherwise=f"the first message returns to its sender (NDR) at {expires:%Y-%m-%d %H:%M:%SZ}" if expires else "",
    )


def _first(times: Iterable[datetime | None]) -> datetime | None:
    return min((one for one in times if one is not None), default=None)


def _time(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0
