# SPDX-License-Identifier: MIT
"""How many messages enter and leave Submission and Unreachable each second, over the last minute.

Delivery queues count for themselves. These two are passed by every message, so nothing is counted here: the numbers
follow from counters that are there anyway, a few times a minute.
"""

from typing import TYPE_CHECKING, Final

from bridgehead.delivery.rates import FlowMeter
from bridgehead.queues.store import QueueKind

if TYPE_CHECKING:
    from bridgehead.server.app import Application

_STAGES: Final = (QueueKind.SUBMISSION, QueueKind.UNREACHABLE)


class StageFlows:
    """Rates of the queues that belong to the categorizer. All methods are called on the event loop."""

    def __init__(self, application: "Application") -> None:
        self._application = application
        self._meters = {queue: FlowMeter(application.clock.monotonic()) for queue in _STAGES}

    def sample(self) -> None:
        """Note the numbers; to be called every `rates.SAMPLE_SECONDS`."""
        now = self._application.clock.monotonic()
        for queue, meter in self._meters.items():
            meter.entered, meter.left = self._counts(queue)
            meter.sample(now)

    def rates(self, queue: QueueKind) -> tuple[float, float]:
        """Messages that entered and left within the last minute, by the second; 0 for queues that others count."""
        meter = self._meters.get(queue)
        if meter is None:
            return 0.0, 0.0
        meter.entered, meter.left = self._counts(queue)
        return meter.rates(self._application.clock.monotonic())

    def _counts(self, queue: QueueKind) -> tuple[int, int]:
        """Messages that entered and left since the start."""
        app = self._application
        metrics, moved = app.metrics, app.actions.changes
        if queue is QueueKind.UNREACHABLE:
            return (
                metrics.unreachable + moved.entered[queue],
                metrics.rerouted + app.dispatcher.ended_unreachable + moved.left[queue],
            )
        taken_up = sum(metrics.submission.counts) + metrics.looked_at_again
        reports = sum(metrics.dsn.values())
        return (
            app.tracker.messages_received + reports + metrics.rerouted + app.resubmissions.resubmitted
            + moved.entered[queue],
            taken_up - metrics.kept_back + moved.left[queue],
        )  # fmt: skip
