# SPDX-License-Identifier: MIT
"""Verdicts about what is queued: a queue as a whole, or one message in it.

The scheduler's reason says what it waits for; where that follows from failed sessions, the cause engine says why they
fail, over all of them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.times import clock, moment, span
from bridgehead.admin.why.ports import Diagnostics
from bridgehead.admin.why.scheduling import OWN_CAUSE, Words, told
from bridgehead.admin.why.verdict import LimitView, State, Verdict, other_causes, transcripts_of
from bridgehead.diagnosis.engine import diagnose
from bridgehead.diagnosis.facts import AttemptFacts, Cause, Evidence, How, Owner, Phase
from bridgehead.diagnosis.reply_text import read_error
from bridgehead.diagnosis.scheduler import Limit, Reason, Situation, reason_of
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.store import ItemFilter, MessageStatus, QueuedItem, QueueKind, QueueSummary
from bridgehead.routing.next_hop import DeliveryType

_SMTP: Final = (DeliveryType.DNS_CONNECTOR, DeliveryType.SMART_HOST)
_DRAINS: Final = "the queue drains by itself"
_WHOLE: Final = ("mailbox_store",)
"""Tables whose limits each worker has in full."""
_DOMAINS_SAID: Final = 5


class _About(NamedTuple):
    """What a verdict is about."""

    subject: str
    messages: int
    oldest: float
    expires_at: float
    """Of one message whose expiry was set by hand, 0 for none."""
    message: int


async def explain_queue(server: RunningServer, diagnostics: Diagnostics, summary: QueueSummary) -> Verdict:
    """Why a queue stands as it does. Raises StoreFault."""
    state = summary.state
    identity = queue_identity(state.queue, state.next_hop)
    situation = diagnostics.queue_situation(state, summary.message_count)
    subject = state.next_hop.domain if state.next_hop is not None else identity
    about = _About(subject, summary.message_count, summary.oldest_received, 0.0, 0)
    first = await server.list_items(ItemFilter(queue=state.queue, next_hop=state.next_hop, limit=1))
    if first and reason_of(situation, server.now()) in (Reason.BEHIND_OTHERS, Reason.CATEGORIZING):
        # Nothing holds the queue as a whole: what holds its oldest message is the answer.
        situation = diagnostics.message_situation(first[0], situation)
    if state.queue is QueueKind.UNREACHABLE:
        held = await server.list_items(ItemFilter(queue=state.queue))
        situation.domains = _domains_of(held, summary.message_count)
    return await _verdict(server, diagnostics, summary, situation, about)


async def explain_message(
    server: RunningServer, diagnostics: Diagnostics, entry: QueuedItem, summary: QueueSummary
) -> Verdict:  # fmt: skip
    """Why one message waits. Raises StoreFault."""
    situation = diagnostics.message_situation(entry, diagnostics.queue_situation(summary.state, summary.message_count))
    if reason_of(situation, server.now()) is Reason.BEHIND_OTHERS:
        await _count_those_before(server, entry, situation)
    item = entry.item
    people = [str(one.forward_path) for one in item.envelope.recipients if not one.state]
    subject = f"message {entry.id} to {', '.join(people[:3])}{' and others' if len(people) > 3 else ''}"
    about = _About(subject, 1, item.received_at, item.expires_at, entry.id)
    return await _verdict(server, diagnostics, summary, situation, about)


async def _verdict(
    server: RunningServer, diagnostics: Diagnostics, summary: QueueSummary, situation: Situation, about: _About
) -> Verdict:  # fmt: skip
    now = server.now()
    situation.limits = tuple(_with_origin(limit, diagnostics) for limit in situation.limits)
    reason = reason_of(situation, now)
    identity = queue_identity(summary.state.queue, summary.state.next_hop)
    words = told(reason, situation, identity, now)
    evidence = await _evidence(diagnostics, summary, situation, reason, about, now)
    causes = [] if reason in OWN_CAUSE or summary.state.queue is not QueueKind.DELIVERY else diagnose(evidence)
    first = causes[0] if causes else None
    settings = diagnostics.queue_settings
    late = deadline_of(about.oldest, settings, delay_notified=False, expires_at=about.expires_at)
    end = deadline_of(about.oldest, settings, delay_notified=True, expires_at=about.expires_at)
    waits = about.messages > 0
    next_try = max(situation.next_retry, situation.due) if reason in (Reason.QUEUE_RETRY, Reason.MESSAGE_RETRY) else 0.0
    limit = situation.limits[0] if reason is Reason.LIMIT else None
    return Verdict(
        about=about.subject,
        state=_state(reason, words, first, evidence, waits),
        headline=_headline(about, situation, next_try, now),
        why=first.finding.sentence if first else words.why,
        owner=(first.owner if first else words.owner).value,
        owner_detail=first.finding.owner_detail if first else "",
        certainty=first.certainty if first else "CERTAIN",
        sessions_agreeing=first.finding.agreeing if first else 0,
        sessions_seen=first.finding.seen if first else 0,
        since=moment(_since(first, situation)),
        last_good=moment(evidence.last_good),
        last_good_words=_last_good(evidence, now),
        do=first.finding.do if first else words.do,
        then=_then(reason, first, waits),
        otherwise=_otherwise(reason, about, late, end, now) if waits and (words.stuck or first is not None) else "",
        proof=[*(first.finding.proof if first else []), f"the scheduler: {words.why}"],
        cause=first.id if first else "",
        rows=list(first.rows) if first else [],
        reason=reason.value,
        limit=_limit_view(limit),
        messages=about.messages,
        oldest=moment(about.oldest),
        next_try=moment(next_try),
        delay_notice=moment(late) if waits and late < end and reason not in _UNTIMED else None,
        expires=moment(end) if waits and reason not in _UNTIMED else None,
        also=other_causes(causes),
        transcripts=transcripts_of(list(evidence.attempts)),
    )


async def _count_those_before(server: RunningServer, entry: QueuedItem, situation: Situation) -> None:
    """Messages that may leave before this one: of a higher priority, and older ones of its own. Senders take turns, so
    that fewer may. Raises StoreFault."""
    wanted = ItemFilter(queue=entry.queue, next_hop=entry.next_hop)
    others = await server.list_items(wanted)
    now = server.now()
    place = (entry.item.priority, entry.retry_count > 0, entry.id)
    for other in others:
        held = other.status is MessageStatus.SUSPENDED or (other.status is MessageStatus.RETRY and other.due > now)
        if not held and (other.item.priority, other.retry_count > 0, other.id) < place:
            situation.ahead += 1
            situation.ahead_higher += other.item.priority < entry.item.priority
    situation.counted_all = len(others) < wanted.limit


def _domains_of(held: Sequence[QueuedItem], messages: int) -> str:
    """The domains of recipients without a route, those with most messages first."""
    counts = Counter(
        domain
        for entry in held
        for domain in {one.forward_path.domain_key for one in entry.item.envelope.recipients if not one.state}
    )
    said = [f"{name} ({count})" for name, count in counts.most_common(_DOMAINS_SAID)]
    if (more := len(counts) - len(said)) > 0:
        said.append(f"{more} more domain{'s' if more > 1 else ''}")
    words = " and ".join(filter(None, (", ".join(said[:-1]), said[-1]))) if said else ""
    return f"{words}, by the first {len(held)} messages" if len(held) < messages else words


def _with_origin(limit: Limit, diagnostics: Diagnostics) -> Limit:
    workers = 1 if limit.table in _WHOLE else diagnostics.workers
    return msgspec.structs.replace(limit, origin=diagnostics.origin(limit.table, limit.setting), workers=workers)


def _limit_view(limit: Limit | None) -> LimitView | None:
    if limit is None:
        return None
    return LimitView(
        setting=limit.setting, table=limit.table, value=limit.value, used=limit.used, origin=limit.origin
    )  # fmt: skip


# --- evidence --------------------------------------------------------------------------------------------------------


async def _evidence(
    diagnostics: Diagnostics, summary: QueueSummary, situation: Situation, reason: Reason, about: _About, now: float
) -> Evidence:  # fmt: skip
    next_hop = summary.state.next_hop
    if next_hop is None:
        return Evidence(now=now, subject=about.subject, fqdn=diagnostics.fqdn)
    queue = str(next_hop)
    attempts = _of_message(diagnostics.attempts(queue), about.message, situation)
    attempts = attempts or _from_last_error(queue, next_hop.connector, situation, now)
    every = diagnostics.attempts()
    hosts = diagnostics.hosts()
    evidence = Evidence(
        now=now,
        subject=next_hop.domain,
        queue=queue,
        attempts=attempts,
        elsewhere=[one for one in every if one.queue != queue],
        hosts=[host for host in hosts if host.queue == queue],
        good_elsewhere=max((host.last_good for host in hosts if host.queue != queue), default=0.0),
        connector=diagnostics.connector(next_hop),
        known_domains=_known_domains((host.queue, host.good) for host in hosts),
        fqdn=diagnostics.fqdn,
    )
    resolving = reason is Reason.WAITING_FOR_DNS or any(one.phase is Phase.DNS for one in attempts)
    if next_hop.delivery_type in _SMTP and resolving:
        evidence.dns, evidence.servers = await diagnostics.ask_dns(next_hop)
    unanswered = [one for one in attempts if one.phase is Phase.CONNECT and one.how is How.TIMED_OUT]
    if unanswered:
        evidence.open_ports = await diagnostics.open_ports(unanswered)
    return evidence


def _of_message(attempts: list[AttemptFacts], message: int, situation: Situation) -> list[AttemptFacts]:
    """For one message: what was said of it, or where nothing was, what keeps sessions from being had."""
    if not message:
        return attempts
    own = [one for one in attempts if one.message == message]
    if own and situation.queue_status != "Retry":
        return own
    return [one for one in attempts if not one.message] or attempts


def _from_last_error(queue: str, connector: str, situation: Situation, now: float) -> list[AttemptFacts]:
    """Where no session was kept (the mailbox store, a recorder that began empty): what the queue itself remembers."""
    if not situation.last_error:
        return []
    text = read_error(situation.last_error)
    told_by_reply = bool(text.code) and situation.last_error[:3].isdigit()
    return [
        AttemptFacts(
            queue=queue, connector=connector, phase=Phase.RCPT if told_by_reply else Phase.LOCAL,
            how=How.REPLY if told_by_reply else How.POLICY, time=now, error=situation.last_error,
            code=text.code, status=text.status, text=text.text, count=max(1, situation.retry_count),
        )
    ]  # fmt: skip


def _known_domains(good: Iterable[tuple[str, int]]) -> dict[str, int]:
    known: dict[str, int] = {}
    for queue, count in good:
        domain = queue.rpartition("/")[2]
        known[domain] = known.get(domain, 0) + count
    return known


# --- words -----------------------------------------------------------------------------------------------------------


def _state(reason: Reason, words: Words, cause: Cause | None, evidence: Evidence, waits: bool) -> State:
    """What fails is stuck, also while it is tried once more; unless a message went through since."""
    if not waits:
        return State.IDLE
    failed_last = max((one.time for one in cause.finding.attempts), default=0.0) if cause is not None else 0.0
    if words.stuck or failed_last > evidence.last_good:
        return State.STUCK
    return State.MOVING if reason in (Reason.BEING_ATTEMPTED, Reason.CATEGORIZING) else State.WAITING


def _headline(about: _About, situation: Situation, next_try: float, now: float) -> str:
    if about.message:
        return ", ".join([f"{about.subject}, {span(now - about.oldest)} old", *_next_try(next_try, now)])
    return queue_headline(about.subject, about.messages, about.oldest, next_try, now)


def queue_headline(subject: str, messages: int, oldest: float, next_try: float, now: float) -> str:
    """How much waits in a queue, how old it is, and when it goes on; Unix times, 0 for none."""
    if not messages:
        return f"no message waits for {subject}"
    count = "1 message" if messages == 1 else f"{messages} messages"
    return ", ".join([f"{count} to {subject}", f"oldest {span(now - oldest)}", *_next_try(next_try, now)])


def _next_try(at: float, now: float) -> list[str]:
    if not at:
        return []
    return [f"next try in {span(at - now)}" if at > now else "next try now"]


def _since(cause: Cause | None, situation: Situation) -> float:
    return cause.finding.since if cause is not None else situation.suspended_at


def _last_good(evidence: Evidence, now: float) -> str:
    if not evidence.last_good:
        return "no good delivery there is remembered"
    good = sum(host.good for host in evidence.hosts)
    count = f"{good} good {'delivery' if good == 1 else 'deliveries'} before"
    return f"the last good delivery was {clock(evidence.last_good)} ({span(now - evidence.last_good)} ago; {count})"


def _then(reason: Reason, cause: Cause | None, waits: bool) -> str:
    if not waits or reason in (Reason.SET_ASIDE, Reason.REMOVED, Reason.BEING_FAILED):
        return ""
    return _DRAINS if cause is None or cause.owner is not Owner.NOBODY else ""


_UNTIMED: Final = {
    Reason.SET_ASIDE: "it stays there until an administrator resumes or removes it",
    Reason.MESSAGE_SUSPENDED: "it stays, and does not expire, until it is resumed or removed",
    Reason.HELD_BY_RULE: "it stays, and does not expire, until the rule expires or is cancelled",
    Reason.REMOVED: "it is gone for good when it can no longer be undone",
}
"""What happens to messages whose deadlines do not count."""


def _otherwise(reason: Reason, about: _About, late: float, end: float, now: float) -> str:
    """What happens if nobody does anything."""
    if reason in _UNTIMED:
        return _UNTIMED[reason]
    count = "1 message" if about.messages == 1 else f"{about.messages} messages"
    parts = []
    if late < end:
        told_late = f"senders are told of the delay from {clock(late)} on"
        parts.append(told_late if late > now else "senders have been told of the delay")
    verb = "returns to its sender" if about.messages == 1 else "return to their senders"
    parts.append(f"{count} {verb} (NDR), the first at {clock(end)}")
    return "; ".join(parts)
