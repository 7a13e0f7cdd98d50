# SPDX-License-Identifier: MIT
"""Verdicts about clients that our own door refuses."""

from bridgehead.admin.times import clock, moment
from bridgehead.admin.why.ports import Diagnostics
from bridgehead.admin.why.verdict import State, Verdict
from bridgehead.diagnosis.door_rules import explain_refusals
from bridgehead.diagnosis.rule import times


def explain_client(diagnostics: Diagnostics, source: str) -> list[Verdict]:
    """What one client was refused and why, the most frequent first; none where nothing was."""
    refusals = diagnostics.refusals(source)
    verdicts = []
    for cause in explain_refusals(refusals):
        found = cause.finding
        verdicts.append(
            Verdict(
                about=source,
                state=State.REFUSED,
                headline=f"{source} was refused {times(found.agreeing)}, last {clock(found.last)}",
                why=found.sentence,
                owner=cause.owner.value,
                owner_detail=found.owner_detail,
                certainty=f"CERTAIN ({found.agreeing} of {found.seen} refusals)",
                sessions_agreeing=found.agreeing,
                sessions_seen=found.seen,
                since=moment(found.since),
                do=found.do,
                otherwise="the client goes on being refused",
                proof=found.proof,
                cause=cause.id,
                rows=list(cause.rows),
            )
        )
    return verdicts
