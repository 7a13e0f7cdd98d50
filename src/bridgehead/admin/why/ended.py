# SPDX-License-Identifier: MIT
"""Verdicts about mail that has ended, from the tracking log: what became of it, and where it failed, why."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridgehead.admin.ports import RunningServer
from bridgehead.admin.trace.trace_words import fact_of
from bridgehead.admin.trace.tracking import TraceService
from bridgehead.admin.why.ports import Diagnostics
from bridgehead.admin.why.verdict import State, Verdict, other_causes, transcripts_of
from bridgehead.diagnosis.dns_rules import nearest_domain
from bridgehead.diagnosis.facts import Evidence
from bridgehead.diagnosis.replies import explain_text
from bridgehead.diagnosis.reply_text import read_error
from bridgehead.mail.item import Source
from bridgehead.mail.limits import EXPLAINED_MESSAGES
from bridgehead.tracking.outcomes import Outcome, Status
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.search import FoundEvent, FoundMessage

_STATES: Final = {
    Status.DELIVERED: State.DELIVERED, Status.FAILED: State.FAILED, Status.POISON: State.STUCK,
    Status.DEFERRED: State.WAITING, Status.PENDING: State.WAITING, Status.EXPANDED: State.DELIVERED,
    Status.REDIRECTED: State.DELIVERED, Status.DROPPED: State.DELIVERED,
}  # fmt: skip
_LAST_ERROR: Final = re.compile(r"last error: (.+)$")
_EXPIRED: Final = re.compile(r"QUEUE\.Expired|message expired")


async def explain_ended(
    server: RunningServer, diagnostics: Diagnostics, *, recipient: str = "", identity: str = ""
) -> list[Verdict]:  # fmt: skip
    """What became of the newest messages to a recipient, or of the one with this id. Raises AdminFault."""
    traces: TraceService = server.traces
    wanted = Criteria(recipient=recipient, any_of=frozenset({identity}) if identity else frozenset(),
                      limit=EXPLAINED_MESSAGES)  # fmt: skip
    found = await traces.search(wanted)
    wanted_one = re.compile(re.escape(recipient).replace(r"\*", ".*") or ".*", re.IGNORECASE)
    return [
        _verdict(server, diagnostics, message, outcome)
        for message in found.messages
        for outcome in message.outcomes
        if wanted_one.fullmatch(outcome.recipient)
    ]


def _verdict(server: RunningServer, diagnostics: Diagnostics, message: FoundMessage, outcome: Outcome) -> Verdict:
    when = datetime.fromisoformat(outcome.date_time).astimezone(UTC)
    first = message.events[0]
    name = f"{first.message_id or first.network_message_id} to {outcome.recipient}"
    received = datetime.fromisoformat(first.date_time).astimezone(UTC)
    proof = [
        f"{event.date_time} {event.event_id} {' '.join(event.recipient_status)}".strip() for event in message.events
    ]
    decided = _decided_by(message, outcome)
    if decided is not None and decided.source == Source.ADMIN and outcome.state in (Status.FAILED, Status.DROPPED):
        return _removed(decided, outcome, name, received, proof)
    if outcome.state in (Status.FAILED, Status.DEFERRED, Status.POISON):
        return _failed(server, diagnostics, message, outcome, name, received, proof)
    word = "handed on" if outcome.state is Status.DELIVERED else outcome.state.value.lower()
    return Verdict(
        about=name,
        state=_STATES[outcome.state],
        headline=f"{name}: {outcome.state.value.lower()} {when:%Y-%m-%d %H:%M:%S}Z",
        why=f"It was {word}: {outcome.status or outcome.event_id}.",
        owner="nobody",
        certainty="CERTAIN",
        proof=proof,
        messages=1,
        oldest=received,
    )


def _decided_by(message: FoundMessage, outcome: Outcome) -> FoundEvent | None:
    """The event that says how a recipient stands."""
    return next(
        (
            event
            for event in reversed(message.events)
            if event.event_id == outcome.event_id and outcome.recipient in event.recipient_address
        ),
        None,
    )


def _removed(event: FoundEvent, outcome: Outcome, name: str, received: datetime, proof: list[str]) -> Verdict:
    """A recipient whose mail an administrator removed, or a standing rule of one: nothing the far side has said."""
    context = event.source_context
    by, reason = fact_of(context, ";By="), context.partition(";Reason=")[2]
    rule, action = fact_of(context, "StandingRule="), fact_of(context, "Action=")
    what = f"Standing rule {rule} of {by}" if rule else f"{by or 'An administrator'} (action {action})"
    told = outcome.state is Status.FAILED
    return Verdict(
        about=name,
        state=State.FAILED,
        headline=f"{name}: {outcome.state.value.lower()} {event.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z",
        why=f"{what} removed it{f' ({reason})' if reason else ''}; nothing was sent.",
        owner="you",
        certainty="CERTAIN",
        since=event.time,
        do=f"bridgehead standing-rule show {rule}" if rule else f"bridgehead action show {action}",
        otherwise="its sender has a report" if told else "nobody was told",
        proof=proof,
        cause="removed-by-administrator",
        messages=1,
        oldest=received,
    )


def _failed(
    server: RunningServer, diagnostics: Diagnostics, message: FoundMessage, outcome: Outcome, name: str,
    received: datetime, proof: Sequence[str],
) -> Verdict:  # fmt: skip
    """A recipient who got nothing. An expired message is told by what its attempts met."""
    when = datetime.fromisoformat(outcome.date_time).astimezone(UTC)
    attempts = [one for one in diagnostics.attempts() if str(one.message) in _ids(message)]
    tries = sum(1 for event in message.events if event.event_id == "DEFER")
    text = outcome.status
    inner = _LAST_ERROR.search(text)
    expired = bool(_EXPIRED.search(text))
    domain = outcome.recipient.rpartition("@")[2]
    known = {host.queue.rpartition("/")[2]: host.good for host in diagnostics.hosts()}
    evidence = Evidence(now=server.now(), subject=domain, known_domains=known, fqdn=diagnostics.fqdn)
    said = read_error(inner[1] if inner else text)
    decided = _decided_by(message, outcome)
    if decided is not None and decided.source != Source.SMTP and not (inner or said.host or decided.server_hostname):
        said = msgspec.structs.replace(said, host=diagnostics.fqdn)  # we refused it ourselves
    cause = explain_text(said, evidence)
    why = cause.finding.sentence
    if cause.id == "domain-does-not-exist":
        why = f"{domain} does not exist.{nearest_domain(domain, evidence)}"
    if expired:
        hours = (when - received).total_seconds() / 3600
        why = f"Given up after {hours:.0f} h and {max(tries, 1)} tries; the reason of the last: {why}"
    return Verdict(
        about=name,
        state=_STATES[outcome.state],
        headline=f"{name}: {outcome.state.value.lower()} {when:%Y-%m-%d %H:%M:%S}Z",
        why=why,
        owner=cause.owner.value,
        certainty="CERTAIN" if not expired else f"LIKELY (the last of {max(tries, 1)} tries)",
        since=when,
        do=cause.finding.do,
        otherwise="nothing more happens: its sender has a report, and the message has to be sent again"
        if outcome.state is Status.FAILED
        else "",
        proof=[*cause.finding.proof, *proof],
        cause="expired" if expired and cause.id == "unknown-reply" else cause.id,
        rows=sorted({*cause.rows, *((12,) if expired else ())}),
        messages=1,
        oldest=received,
        also=other_causes([cause]),
        transcripts=transcripts_of(attempts),
    )


def _ids(message: FoundMessage) -> set[str]:
    return {event.internal_message_id for event in message.events}
