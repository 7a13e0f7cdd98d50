# SPDX-License-Identifier: MIT
"""A check in the manner of Nagios plugins: one line with performance data, and a state that is the exit code."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Final

import msgspec

from bridgehead.admin.health.alarms import AlarmReport
from bridgehead.admin.health.health import Readiness
from bridgehead.admin.health.metrics import MetricsSnapshot
from bridgehead.admin.queue.queues import QueueView


class State(IntEnum):
    """Exit codes of the plugin interface."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Limits(msgspec.Struct, frozen=True):
    """From where on a value is bad; None where it never is."""

    warning: float | None = None
    critical: float | None = None

    def judge(self, value: float) -> State:
        if self.critical is not None and value >= self.critical:
            return State.CRITICAL
        return State.WARNING if self.warning is not None and value >= self.warning else State.OK


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the plugin says. `performance`: label → (value with unit, limits)."""

    state: State
    text: str
    performance: dict[str, tuple[str, Limits]] = {}

    @property
    def line(self) -> str:
        """The one line."""
        data = " ".join(
            f"'{label}'={value};{_limit(limits.warning)};{_limit(limits.critical)};0"
            for label, (value, limits) in self.performance.items()
        )
        return f"BRIDGEHEAD {self.state.name} - {self.text}{f' | {data}' if data else ''}"


_LENGTHS: Final = {
    "submission": "bridgehead_submission_queue_length",
    "delivery": "bridgehead_aggregate_delivery_queue_length",
    "retry_remote": "bridgehead_retry_remote_delivery_queue_length",
    "unreachable": "bridgehead_unreachable_queue_length",
    "poison": "bridgehead_poison_queue_length",
}
_TEXT_ALARMS: Final = 3


def check_server(report: AlarmReport, ready: Readiness, numbers: MetricsSnapshot) -> CheckResult:
    """The server as a whole: CRITICAL when it takes no mail or a critical alarm stands, WARNING with other alarms.
    Alarms that are silenced or acknowledged do not count."""
    alarms = [alarm for alarm in report.alarms if alarm.silenced_until is None]
    held_back = len(report.alarms) - len(alarms)
    reasons = [check.reason for check in ready.checks if not check.ok]
    if reasons or any(alarm.severity == "critical" for alarm in alarms):
        state = State.CRITICAL
    else:
        state = State.WARNING if alarms else State.OK
    others = [alarm.text for alarm in alarms if alarm.text not in reasons]
    words = [f"not ready: {reason}" for reason in reasons] + others[:_TEXT_ALARMS]
    if len(others) > _TEXT_ALARMS:
        words.append(f"and {len(others) - _TEXT_ALARMS} more alarms")
    text = "; ".join(words) or "takes mail, no alarms"
    if held_back:
        text += f" ({held_back} silenced)"
    return CheckResult(state=state, text=text, performance=_performance(numbers))


def check_queues(
    queues: Sequence[QueueView], name: str, messages: Limits, age: Limits, now: datetime
) -> CheckResult:  # fmt: skip
    """Messages in the queues that fit, and the age of the oldest."""
    count = sum(queue.message_count for queue in queues)
    received = [queue.oldest_received for queue in queues if queue.oldest_received and queue.message_count]
    oldest = max(0.0, (now - min(received)).total_seconds()) if received else 0.0
    state = max(messages.judge(count), age.judge(oldest))
    worst = max(queues, key=lambda queue: queue.message_count, default=None)
    text = f"{name}: {count} messages, the oldest {int(oldest)} s old"
    if worst is not None and worst.last_error:
        text += f"; {worst.identity}: {worst.last_error}"
    performance = {"messages": (str(count), messages), "oldest": (f"{int(oldest)}s", age)}
    return CheckResult(state=state, text=text, performance=performance)


def _performance(numbers: MetricsSnapshot) -> dict[str, tuple[str, Limits]]:
    return {label: (_value(numbers.values, name), Limits()) for label, name in _LENGTHS.items()}


def _value(values: Mapping[str, Sequence[object]], name: str) -> str:
    samples = values.get(name, ())
    return str(int(getattr(samples[0], "value", 0))) if samples else "U"


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
