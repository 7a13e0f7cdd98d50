# SPDX-License-Identifier: MIT
"""From what is observed to what is wrong: thresholds with hysteresis, each with a sentence and a remedy. Pure.

A rule says for each id that it is about whether the alarm stands; whoever calls puts that into the book. A threshold
that was passed is only left below CLEARS_AT of it, and queue lengths have to stay above theirs for `hold_time`.
Exchange's numbers (exchange counters < 250 active, 100 in Submission, 3,000 and 5,000 in all) are the defaults.
"""

import shlex
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.monitoring.spans import span
from bridgehead.queues.lengths import QueueLengths
from bridgehead.queues.store import LargeQueue, QueueKind, QueueOverview, QueueStatus
from bridgehead.tracking.alarms import Severity

CLEARS_AT: Final = 0.8
"""Share of a threshold below which an alarm is over."""
PEERS: Final = 20
"""Next hops that are alarmed one by one at most, the worst first."""
FEW: Final = 20
"""Messages that are too few to tell how fast a queue drains."""
RATE_SECONDS: Final = 300.0
"""Over which it is measured how fast queues drain."""
QUIET_SECONDS: Final = 3600.0
"""After this time without a further lost line the alarm about lost lines is over."""
_DAY: Final = 86400.0
_WARNING, _CRITICAL = Severity.WARNING, Severity.CRITICAL
_AGEING: Final = (QueueKind.SUBMISSION, QueueKind.DELIVERY, QueueKind.UNREACHABLE)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One next hop within the watched period.

    Attributes:
        identity: of its queue.
        taken, refused: messages taken; attempts that ended otherwise.
        last_error: of its queue.
    """

    identity: str
    taken: int
    refused: int
    last_error: str = ""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate in use.

    Attributes:
        file: its path.
        used_by: for what, in words.
        expires: Unix time.
    """

    file: str
    used_by: str
    expires: float


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The server at one moment.

    Attributes:
        now: Unix time.
        peers: those with failures, or that cannot be reached now.
        completed: messages completed since the start.
        renewed: files of certificates that are renewed by themselves, so far without trouble.
    """

    now: float
    overview: QueueOverview
    lengths: QueueLengths
    peers: Sequence[Peer] = ()
    completed: int = 0
    certificates: Sequence[Certificate] = ()
    renewed: Collection[str] = ()
    lost_log_lines: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """Whether one alarm stands: with a severity it does, without one it is over.

    Attributes:
        step: of several thresholds the number of those passed; a higher one is told although the alarm stands.
        reminders: told again and again while it stands.
    """

    id: str
    severity: Severity | None
    text: str = ""
    remedy: str = ""
    step: int = 0
    reminders: bool = True


class Rules:
    """Judges observations one after the other; keeps what hysteresis, hold times and rates need."""

    def __init__(self) -> None:
        self._above_since: dict[str, float] = {}
        self._raised: set[str] = set()
        self._completed: deque[tuple[float, int]] = deque()
        self._lost_lines = 0
        self._lost_at = -QUIET_SECONDS
        self.drain_seconds = 0.0
        """Time until what is due is delivered, at the present rate; infinite where nothing moves."""

    def judge(self, seen: Observation, settings: AlarmSettings) -> list[Verdict]:
        """Every alarm that stands, and those that are over."""
        verdicts = [
            *self._oldest(seen, settings),
            *self._lengths(seen, settings),
            *self._drain(seen, settings),
            *self._set_aside(seen, settings),
            *self._peers(seen, settings),
            *_certificates(seen, settings),
            *self._lost(seen),
        ]
        standing = {verdict.id for verdict in verdicts if verdict.severity is not None}
        over = [Verdict(id, None) for id in self._raised - standing]
        self._raised = standing
        return [verdict for verdict in verdicts if verdict.severity is not None] + over

    def resume(self, ids: Sequence[str]) -> None:
        """Alarms of these rules that stood when the former process ended."""
        self._raised.update(id for id in ids if id.partition("/")[0] in KINDS)

    # --- queues ----------------------------------------------------------------------------------------------------

    def _oldest(self, seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
        limit = settings.oldest_message_age.total_seconds()
        ages = [
            (seen.now - total.oldest_received, total.queue)
            for total in seen.overview.totals
            if total.queue in _AGEING and total.status is not QueueStatus.SUSPENDED
        ]
        age, queue = max(ages, default=(0.0, QueueKind.SUBMISSION))
        if limit and self._passes("oldest_message", age, limit):
            name = self._oldest_queue(seen) if queue is QueueKind.DELIVERY else queue.name.capitalize()
            where = f"the queue {name}" if name else "a delivery queue"
            yield Verdict(
                "oldest_message", _CRITICAL if age >= 4 * limit else _WARNING,
                f"a message has been waiting for {span(age)} in {where}",
                f"bridgehead why {shlex.quote(name)}" if name else "bridgehead why",
            )  # fmt: skip

    @staticmethod
    def _oldest_queue(seen: Observation) -> str:
        queues = [queue for queue in seen.overview.largest if queue.status is not QueueStatus.SUSPENDED]
        oldest = min(queues, key=lambda queue: queue.oldest_received, default=None)
        totals = [total.oldest_received for total in seen.overview.totals if total.queue is QueueKind.DELIVERY]
        known = oldest is not None and oldest.oldest_received <= min(totals, default=0.0)
        return str(oldest.next_hop) if known and oldest is not None else ""

    def _lengths(self, seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
        lengths, worst = seen.lengths, _largest(seen.overview)
        critical = int(settings.aggregate_delivery_queue_length_critical)
        yield from self._length(
            "aggregate_delivery_queue_length", lengths.aggregate,
            int(settings.aggregate_delivery_queue_length_warning), seen, settings,
            f"{lengths.aggregate} messages are in the delivery queues{worst}",
            _CRITICAL if lengths.aggregate >= critical else _WARNING,
        )  # fmt: skip
        words = {
            "remote": "for other servers",
            "mailbox": "for the mailbox store",
            "non_smtp": "for foreign connectors",
        }
        for path, count in lengths.active.items():
            yield from self._length(
                f"active_{path}_delivery_queue_length", count, int(settings.active_delivery_queue_length), seen,
                settings, f"{count} messages {words[path]} are due and not delivered yet{worst}", _WARNING,
            )  # fmt: skip
        yield from self._length(
            "submission_queue_length", lengths.submission, int(settings.submission_queue_length), seen, settings,
            f"{lengths.submission} messages wait for the categorizer", _WARNING, "bridgehead queue show Submission",
        )  # fmt: skip

    def _length(
        self, id: str, count: int, limit: int, seen: Observation, settings: AlarmSettings, text: str,
        severity: Severity, remedy: str = "bridgehead why",
    ) -> Iterator[Verdict]:  # fmt: skip
        if self._holds(id, self._passes(id, count, limit), seen.now, settings):
            yield Verdict(id, severity, text, remedy)

    def _drain(self, seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
        history = self._completed
        history.append((seen.now, seen.completed))
        while len(history) > 2 and seen.now - history[1][0] >= RATE_SECONDS:
            history.popleft()
        seconds, done = seen.now - history[0][0], seen.completed - history[0][1]
        due = sum(seen.lengths.active.values())
        if due < FEW or seconds <= 0:
            self.drain_seconds = 0.0
        else:
            self.drain_seconds = due * seconds / done if done > 0 else float("inf")
        limit = settings.time_to_drain.total_seconds()
        passes = bool(limit) and self._passes("time_to_drain", self.drain_seconds, limit)
        if self._holds("time_to_drain", passes, seen.now, settings):
            rate = f"{done} in the last {span(seconds)}" if done > 0 else f"none in the last {span(seconds)}"
            need = f"need {span(self.drain_seconds)}" if done > 0 else "do not move"
            known = seconds >= settings.hold_time.total_seconds()  # after a restart nothing has moved yet
            yield Verdict(
                "time_to_drain", _CRITICAL if done <= 0 and known else _WARNING,
                f"{due} messages that are due {need} at the present rate ({rate}){_largest(seen.overview)}",
                "bridgehead why",
            )  # fmt: skip

    @staticmethod
    def _set_aside(seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
        unreachable, poison = seen.lengths.unreachable, seen.lengths.poison
        if settings.unreachable_queue_length and unreachable >= settings.unreachable_queue_length:
            text = f"messages without a route wait in the Unreachable queue: {unreachable}"
            yield Verdict("unreachable_queue", _WARNING, text, "bridgehead queue show Unreachable")
        if settings.poison_queue_length and poison >= settings.poison_queue_length:
            text = f"messages in the Poison queue: {poison}"
            yield Verdict("poison_queue", _CRITICAL, text, "bridgehead queue show Poison")

    # --- peers -----------------------------------------------------------------------------------------------------

    def _peers(self, seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
        if not settings.peer_failure_share:
            return
        waiting = {
            str(queue.next_hop): queue.messages for queue in seen.overview.largest if queue.status is QueueStatus.RETRY
        }
        failing = sorted(
            ((peer.refused + waiting.get(peer.identity, 0), peer) for peer in seen.peers),
            key=lambda pair: (-pair[0], pair[1].identity),
        )
        for failed, peer in failing[:PEERS]:
            id, total = f"peer_failures/{peer.identity}", failed + peer.taken
            enough = total >= settings.peer_failure_messages
            if enough and self._passes(id, failed / total, settings.peer_failure_share):
                said = f"; the last error: {peer.last_error}" if peer.last_error else ""
                yield Verdict(
                    id, _WARNING if peer.taken else _CRITICAL,
                    f"{failed} of {total} attempts and waiting messages for {peer.identity} do not get through{said}",
                    f"bridgehead why {shlex.quote(peer.identity)}",
                )  # fmt: skip

    # --- logs ------------------------------------------------------------------------------------------------------

    def _lost(self, seen: Observation) -> Iterator[Verdict]:
        if seen.lost_log_lines > self._lost_lines:
            self._lost_lines, self._lost_at = seen.lost_log_lines, seen.now
        if self._lost_lines and seen.now - self._lost_at < QUIET_SECONDS:
            text = f"{self._lost_lines} log lines were lost: the log directory cannot be written"
            yield Verdict("lost_log_lines", _WARNING, text, "make room on the disk of log_directory")

    # --- hysteresis ------------------------------------------------------------------------------------------------

    def _passes(self, id: str, value: float, limit: float) -> bool:
        """Whether a value is above its threshold, or not far enough below it again."""
        return value >= (limit * CLEARS_AT if id in self._raised else limit)

    def _holds(self, id: str, passes: bool, now: float, settings: AlarmSettings) -> bool:
        """Whether it has passed for long enough."""
        if not passes:
            self._above_since.pop(id, None)
            return False
        since = self._above_since.setdefault(id, now)
        return id in self._raised or now - since >= settings.hold_time.total_seconds()


def _certificates(seen: Observation, settings: AlarmSettings) -> Iterator[Verdict]:
    """One threshold after the other: each is told once, the last of them is critical."""
    days = sorted(settings.certificate_expiry_days, reverse=True)
    for one in seen.certificates:
        left = one.expires - seen.now
        if one.file in seen.renewed and left > 0:
            continue  # that a renewal fails is an alarm of its own
        passed = sum(left <= day * _DAY for day in days) + (left <= 0)
        if not passed:
            continue
        date = datetime.fromtimestamp(one.expires, UTC).strftime("%Y-%m-%d %H:%M")
        when = f"expires in {span(left)}, on {date} UTC" if left > 0 else f"expired {span(-left)} ago, on {date} UTC"
        yield Verdict(
            f"certificate/{one.file}", _CRITICAL if passed >= len(days) else _WARNING,
            f"the certificate {one.file} ({one.used_by}) {when}", "renew it; a new file is read without a restart",
            passed, left <= 0,
        )  # fmt: skip


def _largest(overview: QueueOverview) -> str:
    largest: LargeQueue | None = overview.largest[0] if overview.largest else None
    return f", {largest.messages} of them in {largest.next_hop}" if largest is not None else ""


KINDS: Final = frozenset(
    {
        "oldest_message", "aggregate_delivery_queue_length", "active_remote_delivery_queue_length",
        "active_mailbox_delivery_queue_length", "active_non_smtp_delivery_queue_length", "submission_queue_length",
        "time_to_drain", "unreachable_queue", "poison_queue", "peer_failures", "certificate", "lost_log_lines",
    }
)  # fmt: skip
"""What these rules raise and clear."""
