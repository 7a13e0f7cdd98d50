# SPDX-License-Identifier: MIT
"""The method `why`: the verdict about a queue, a message, a recipient, a domain, a client or an error text."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.why.answer import check_subject, explain
from bridgehead.admin.why.verdict import Explanation, State, Verdict
from bridgehead.mail.limits import EXPLAINED_TEXT

_QUEUED: Final = (State.STUCK, State.WAITING, State.MOVING)
_ELSEWHERE: Final = (State.DELIVERED, State.FAILED, State.REFUSED, State.EXPLAINED)


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
    verdicts: list[Verdict] = []
    for one in (verdict for answer in answers for verdict in answer.verdicts):
        if one not in verdicts:
            verdicts.append(one)
    for wanted in (_QUEUED, _ELSEWHERE):
        if found := [one for one in verdicts if one.state in wanted]:
            verdicts = found
            break
    return msgspec.structs.replace(answers[0], verdicts=verdicts, complete=all(one.complete for one in answers))


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
