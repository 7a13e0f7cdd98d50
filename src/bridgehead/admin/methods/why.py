# SPDX-License-Identifier: MIT
"""The method `why`: the verdict about a queue, a message, a recipient, a domain, a client or an error text."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.merge import Ask, Merge, by_identity, summed
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.joining import earliest, latest
from bridgehead.admin.why.answer import check_subject, explain
from bridgehead.admin.why.verdict import Explanation, State, Verdict
from bridgehead.admin.why.waiting import queue_headline
from bridgehead.mail.limits import EXPLAINED_TEXT


class WhySubject(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`about`: a queue's identity, domain or connector, a message id, an address, a client's IP address, or an error as
    it was shown; "" for all queues that hold mail. `transcripts`: with the failed sessions as they were kept."""

    about: str = ""
    transcripts: bool = False


async def why(server: RunningServer, params: WhySubject, _: Caller) -> Explanation:
    """Why something waits, failed or was refused: the cause, its owner, what helps, what happens otherwise."""
    check_subject(params.about, EXPLAINED_TEXT)
    found = await explain(server, server.diagnostics, params.about)
    if params.transcripts:
        return found
    return msgspec.structs.replace(
        found, verdicts=[msgspec.structs.replace(verdict, transcripts=[]) for verdict in found.verdicts]
    )


def _explained(answers: Sequence[Explanation], _: WhySubject) -> Explanation:
    """What waits or moves with one worker says more than what the logs tell all of them; the same is told once."""
    told = [verdict for answer in answers for verdict in answer.verdicts]
    for wanted in (_is_queued, _has_ended):
        if found := [one for one in told if wanted(one)]:
            told = found
            break
    verdicts = by_identity(lambda one: (one.about, one.state, one.reason, one.cause), _one_verdict, told)
    verdicts.sort(key=lambda one: -one.messages)
    return msgspec.structs.replace(answers[0], verdicts=verdicts, complete=all(one.complete for one in answers))


def _is_queued(verdict: Verdict) -> bool:
    return bool(verdict.reason) and verdict.state is not State.IDLE


def _has_ended(verdict: Verdict) -> bool:
    return verdict.state is not State.IDLE


def _one_verdict(parts: Sequence[Verdict]) -> Verdict:
    """The same of several parts of a queue; what the logs told all workers is told by the first."""
    if not all(one.messages and one.reason for one in parts):
        return parts[0]
    first = parts[0]
    oldest, next_try = earliest(one.oldest for one in parts), earliest(one.next_try for one in parts)
    joined = msgspec.structs.replace(
        first,
        **summed(parts, "messages", "sessions_agreeing", "sessions_seen"),
        oldest=oldest,
        next_try=next_try,
        since=earliest(one.since for one in parts),
        last_good=latest(one.last_good for one in parts),
        delay_notice=earliest(one.delay_notice for one in parts),
        expires=earliest(one.expires for one in parts),
        transcripts=[one for part in parts for one in part.transcripts],
    )
    return msgspec.structs.replace(
        joined,
        headline=queue_headline(joined.about, joined.messages, _unix(oldest), _unix(next_try), time.time()),
    )


def _unix(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


METHODS: Final = {
    "why": Method(
        params=WhySubject,
        result=Explanation,
        answer=why,
        role=Role.HELP_DESK,
        route="GET /why",
        merge=Merge(Ask.KNOWING, _explained, before="worker.flush_logs"),
    ),
}
