# SPDX-License-Identifier: MIT
"""The port through which every room says that something is wrong, and that it is well again.

Usage, anywhere from floor 3 up, with `alarms` handed down by `server/app.py` (`application.alarms`)::

    alarms.raise_("back_pressure", Severity.CRITICAL, "the queue drive is 99 % full", "free space on /var")
    alarms.clear("back_pressure")

Both may be called as often as one likes, from the event loop: raising what is raised already only brings its words up
to date, clearing what is not raised does nothing. Whoever raises an alarm clears it. Telling people (once, again at
intervals, once more when it is over), silences and flapping are the keeper's business (`monitoring/book.py`).

An id is a kind in snake case, "back_pressure", or a kind and a subject, "peer_failures/contoso.com", where several
may stand at once; kinds with an unbounded number of subjects are bounded by who raises them.
"""

from enum import StrEnum
from typing import Protocol


class Severity(StrEnum):
    """How bad. WARNING: somebody should look today. CRITICAL: mail is late, refused or at risk now."""

    WARNING = "warning"
    CRITICAL = "critical"


class Alarms(Protocol):
    """Takes alarms. Neither call blocks or raises."""

    def raise_(self, id: str, severity: Severity, text: str, remedy: str = "") -> None:
        """Something is wrong.

        Args:
            id: kind, or kind/subject; the same for the same trouble.
            text: one sentence that names the cause, for people; it is made safe here.
            remedy: what to do, a command where there is one; "" where nothing is to be said.
        """

    def clear(self, id: str) -> None:
        """It is well again."""
