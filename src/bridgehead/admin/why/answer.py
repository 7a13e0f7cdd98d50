# SPDX-License-Identifier: MIT
"""`why` asked about anything: finds out what the word means - error text, message, recipient, client, queue, domain."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.health.pressure import action_texts, pressure_alarms
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.times import moment
from bridgehead.admin.why.clients import explain_client
from bridgehead.admin.why.ended import explain_ended
from bridgehead.admin.why.ports import Diagnostics
from bridgehead.admin.why.scheduling import told
from bridgehead.admin.why.shared import told_once
from bridgehead.admin.why.texts import explain_error
from bridgehead.admin.why.verdict import Explanation, State, Verdict
from bridgehead.admin.why.waiting import explain_message, explain_queue
from bridgehead.diagnosis.dns_rules import nearest_domain
from bridgehead.diagnosis.facts import Evidence
from bridgehead.diagnosis.reply_text import looks_like_error, may_be_error
from bridgehead.diagnosis.scheduler import Situation, reason_of
from bridgehead.mail.limits import EXPLAINED_MESSAGES
from bridgehead.queues.pressure import HOLDS_BACK
from bridgehead.queues.store import ItemFilter, QueuedItem, QueueKind, QueueSummary

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_FIXED: Final = tuple(
    queue_identity(kind, None) for kind in (QueueKind.SUBMISSION, QueueKind.UNREACHABLE, QueueKind.POISON)
)
_DOMAIN: Final = re.compile(r"(?:[^\s@/.]{1,63}\.)+[^\s@/.]{1,63}")


async def explain(server: RunningServer, diagnostics: Diagnostics, subject: str) -> Explanation:
    """Why the subject stands as it does. Raises AdminFault where it means nothing here, StoreFault."""
    subject = subject.strip()
    if not subject:
        return await _everything(server, diagnostics)
    if looks_like_error(subject):
        return explain_error(subject)
    if _NUMBER.fullmatch(subject) or _GUID.fullmatch(subject) or (subject.startswith("<") and subject.endswith(">")):
        return await _message(server, diagnostics, subject)
    if (address := _ip(subject)) is not None:
        return _client(diagnostics, subject, address)
    queues = _named(await server.queues(), subject)
    if not any(one.message_count for one in queues) and (held_back := _held_back(server, subject)) is not None:
        return Explanation(about=subject, kind="queue", verdicts=[held_back])
    if queues:
        verdicts = [await explain_queue(server, diagnostics, summary) for summary in queues[:EXPLAINED_MESSAGES]]
        kind = "queue" if "/" in subject or "." not in subject else "domain"
        return Explanation(about=subject, kind=kind, verdicts=verdicts, complete=len(queues) <= EXPLAINED_MESSAGES)
    if verdicts := await _idle(server, diagnostics, subject):
        return Explanation(about=subject, kind="queue", verdicts=verdicts)
    if "@" in subject:
        return await _recipient(server, diagnostics, subject)
    if _DOMAIN.fullmatch(subject):
        return await _domain(server, diagnostics, subject)
    if may_be_error(subject):
        return explain_error(subject)
    raise _unknown(subject)


def _held_back(server: RunningServer, name: str) -> Verdict | None:
    """What back pressure keeps from Submission while nothing waits there; None for other names, or nothing."""
    submission = queue_identity(QueueKind.SUBMISSION, None)
    facts = server.back_pressure()
    held = action_texts(facts.actions & HOLDS_BACK)
    if name.casefold() != submission.casefold() or not held:
        return None
    situation, now = Situation(queue_kind=submission, pressure=", ".join(held)), server.now()
    reason = reason_of(situation, now)
    words = told(reason, situation, submission, now)
    return Verdict(
        about=submission,
        state=State.STUCK,
        headline=f"no message waits in {submission}, and fewer come than could",
        why=words.why,
        owner=words.owner.value,
        certainty="CERTAIN",
        since=moment(facts.since),
        do=words.do,
        then="mail is taken again by itself when the level is Low",
        otherwise="senders keep their mail and try again; files in the pickup and replay directories wait",
        proof=pressure_alarms(facts),
        reason=reason.value,
    )


async def _idle(server: RunningServer, diagnostics: Diagnostics, name: str) -> list[Verdict]:
    """That nothing waits in a queue, or in those of a connector, that is known and empty, and what failed there last;
    nothing for other names."""
    wanted = name.casefold()

    def is_meant(queue: str) -> bool:
        return wanted in (queue.casefold(), queue.casefold().partition("/")[0])

    fixed = next((kind for kind in _FIXED if kind.casefold() == wanted), "")
    hosts = [one for one in diagnostics.hosts() if is_meant(one.queue)]
    failures = [one for one in diagnostics.attempts() if is_meant(one.queue) and one.recipients]
    if not fixed and not hosts and not failures:
        return []
    ended = await explain_ended(server, diagnostics, recipient=failures[-1].recipients[0]) if failures else []
    good = sum(host.good for host in hosts)
    why = f"Nothing waits; {good} messages were delivered from there." if good else "Nothing waits."
    idle = Verdict(about=fixed or name, state=State.IDLE, headline=f"no message waits in {fixed or name}", why=why)
    return [*[one for one in ended if one.state is State.FAILED][:1], idle]


def _unknown(subject: str) -> AdminFault:
    remedy = (
        "give a queue (bridgehead queue list), a message id, an address, a domain, a client's IP address, an error, or "
        "the file of a report"
    )
    return AdminFault(NOT_FOUND, f'"{subject}" is nothing that is known here', remedy)


async def _everything(server: RunningServer, diagnostics: Diagnostics) -> Explanation:
    """All queues that do not move, the largest first."""
    summaries = sorted(await server.queues(), key=lambda summary: -summary.message_count)
    waiting = [summary for summary in summaries if summary.message_count]
    verdicts = [await explain_queue(server, diagnostics, summary) for summary in waiting[:EXPLAINED_MESSAGES]]
    if not verdicts:
        verdicts = [Verdict(about="", state=State.IDLE, headline="no message waits", why="Every queue is empty.")]
    together = told_once(verdicts, server.now())
    return Explanation(about="", kind="queue", verdicts=together, complete=len(waiting) <= EXPLAINED_MESSAGES)


async def _message(server: RunningServer, diagnostics: Diagnostics, identity: str) -> Explanation:
    if _NUMBER.fullmatch(identity):
        wanted = ItemFilter(internal_message_id=int(identity))
    elif identity.startswith("<"):
        wanted = ItemFilter(message_id=identity)
    else:
        wanted = ItemFilter(network_message_id=identity.lower())
    entries = await server.list_items(wanted)
    verdicts = await _of_entries(server, diagnostics, entries)
    if not verdicts:
        verdicts = await explain_ended(server, diagnostics, identity=identity)
    if not verdicts:
        remedy = "bridgehead message list shows what is queued, bridgehead trace what the logs know"
        raise AdminFault(NOT_FOUND, f"there is no message {identity}, neither queued nor in the tracking log", remedy)
    return Explanation(about=identity, kind="message", verdicts=verdicts, complete=len(entries) <= EXPLAINED_MESSAGES)


async def _recipient(server: RunningServer, diagnostics: Diagnostics, address: str) -> Explanation:
    entries = await server.list_items(ItemFilter(recipient=address))
    verdicts = await _of_entries(server, diagnostics, entries)
    if not verdicts:
        verdicts = await explain_ended(server, diagnostics, recipient=address)
    verdicts += [verdict for one in diagnostics.refusals() if address.casefold() in one.command.casefold()
                 for verdict in explain_client(diagnostics, one.source)][:1]  # fmt: skip
    if not verdicts:
        message = f"no message to {address} is queued, in the tracking log, or was refused lately"
        raise AdminFault(NOT_FOUND, message, "bridgehead trace --recipient searches further back")
    return Explanation(
        about=address, kind="recipient", verdicts=verdicts, complete=len(entries) <= EXPLAINED_MESSAGES
    )  # fmt: skip


async def _of_entries(
    server: RunningServer, diagnostics: Diagnostics, entries: Sequence[QueuedItem]
) -> list[Verdict]:  # fmt: skip
    summaries = {queue_identity(one.state.queue, one.state.next_hop): one for one in await server.queues()}
    verdicts = []
    for entry in entries[:EXPLAINED_MESSAGES]:
        summary = summaries.get(queue_identity(entry.queue, entry.next_hop))
        if summary is not None:  # else it left between the two questions
            verdicts.append(await explain_message(server, diagnostics, entry, summary))
    return verdicts


async def _domain(server: RunningServer, diagnostics: Diagnostics, domain: str) -> Explanation:
    """A domain without a queue of its own: its mail in other queues, what went there before, what failed."""
    entries = await server.list_items(ItemFilter(recipient=f"*@{domain}"))
    verdicts = await _of_entries(server, diagnostics, entries)
    if verdicts:
        return Explanation(about=domain, kind="domain", verdicts=verdicts)
    ended = [
        verdict
        for verdict in await explain_ended(server, diagnostics, recipient=f"*@{domain}")
        if verdict.state is State.FAILED
    ]
    hosts = [host for host in diagnostics.hosts() if host.queue.endswith(f"/{domain}")]
    if not ended and not hosts:
        known = {host.queue.rpartition("/")[2]: host.good for host in diagnostics.hosts()}
        near = nearest_domain(domain, Evidence(now=server.now(), known_domains=known))
        raise AdminFault(
            NOT_FOUND, f"no mail for {domain} is queued or remembered.{near}", f"bridgehead test domain {domain}"
        )
    good = sum(host.good for host in hosts)
    idle = Verdict(
        about=domain, state=State.IDLE, headline=f"no message waits for {domain}",
        why=f"Nothing waits; {good} messages were delivered there." if hosts else "Nothing waits.",
    )  # fmt: skip
    return Explanation(about=domain, kind="domain", verdicts=[*ended[:1], idle] if ended else [idle])


def _client(diagnostics: Diagnostics, subject: str, address: str) -> Explanation:
    verdicts = explain_client(diagnostics, address)
    if not verdicts:
        message = f"{address} was refused nothing lately"
        raise AdminFault(NOT_FOUND, message, f"bridgehead connector match --from {address} shows what it may do")
    return Explanation(about=subject, kind="client", verdicts=verdicts)


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip("[]").removeprefix("IPv6:")))
    except ValueError:
        return None


def _named(summaries: Sequence[QueueSummary], name: str) -> list[QueueSummary]:
    """Queues with this identity, next hop domain or connector, those with most messages first."""
    wanted = name.casefold()
    found = []
    for one in summaries:
        hop = one.state.next_hop
        names = [queue_identity(one.state.queue, hop), *((hop.domain, hop.connector) if hop else ())]
        if wanted in (text.casefold() for text in names):
            found.append(one)
    return sorted(found, key=lambda summary: -summary.message_count)


def check_subject(subject: str, most: int) -> None:
    """Raises AdminFault on a subject that is too long."""
    if len(subject) > most:
        raise AdminFault(INVALID, f"the subject is longer than {most} characters", "paste the error alone")
