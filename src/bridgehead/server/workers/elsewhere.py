# SPDX-License-Identifier: MIT
"""Alarms that the first worker tells for others: what is wrong with other workers, and with the supervisor."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from bridgehead.monitoring.rules import Verdict
from bridgehead.tracking.alarms import Severity


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong elsewhere. `id`: of the alarm there."""

    id: str
    severity: Severity
    text: str
    remedy: str = ""
    worker: int = 0
    """Whose alarm it is; 0 for the supervisor's own."""

    @property
    def alarm(self) -> str:
        """The alarm's id here, where one of the same name may stand for a cause of our own."""
        return f"worker_{self.worker}/{self.id}" if self.worker else self.id


class Elsewhere:
    """What was told last.

    Args:
        stands: whether an alarm with this id stands here: what concerns the machine is found by every worker.
    """

    def __init__(self, stands: Callable[[str], bool]) -> None:
        self._stands = stands
        self._troubles: Sequence[Trouble] = ()
        self._raised: set[str] = set()

    def note(self, troubles: Sequence[Trouble]) -> None:
        """This is wrong elsewhere now, and nothing else."""
        self._troubles = troubles

    def conditions(self) -> Iterator[Verdict]:
        """What stands, and what is over."""
        raised: set[str] = set()
        for one in self._troubles:
            if not one.worker or not self._stands(one.id):
                raised.add(one.alarm)
                yield Verdict(
                    one.alarm, one.severity, f"worker {one.worker}: {one.text}" if one.worker else one.text, one.remedy
                )
        yield from (Verdict(id, None) for id in self._raised - raised)
        self._raised = raised
