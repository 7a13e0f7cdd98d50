# SPDX-License-Identifier: MIT
"""The tree of a test: timed steps, each a sentence with a verdict, and a remedy where something is wrong.

A step that was not told otherwise has the worst verdict of those below it. What a server wrote is made safe here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import PROBE_DETAILS, PROBE_TEXT


class Verdict(StrEnum):
    """What a step came to, from good to bad. NOTE: a fact that is neither; it never decides."""

    NOTE = "note"
    PASS = "pass"  # noqa: S105 - no password
    WARNING = "warning"
    FAILURE = "failure"


_ORDER: Final = list(Verdict)


def worst(verdicts: "list[Verdict]") -> Verdict:
    """The worst of several; PASS of none."""
    return max([Verdict.PASS, *verdicts], key=_ORDER.index)


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a test that is done.

    Attributes:
        sentence: what was found; while nothing was, what was tried.
        milliseconds: how long it took, with the steps below it.
        remedy: what to do, "" where nothing is to be done.
        details: evidence: records, replies, certificates; one line each.
        steps: those it consists of, in order.
    """

    sentence: str
    verdict: Verdict
    milliseconds: float
    remedy: str = ""
    details: list[str] = []
    steps: list["Step"] = []


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole test.

    Attributes:
        kind: "send-connector", "receive-connector", "domain", "smtp" or "ldap".
        name: of what was tested.
        started_at: when it began.
        verdict: the tree's; FAILURE where mail would not go or come as configured.
        cause: the sentence of the first step that failed, or warned where none failed; "" where all is well.
        remedy: of that step.
        by: who ran it: "the server" or "this command" (the server is not running).
        trigger: "operator", "start", "reload" or "timer".
        tree: the steps.
    """

    kind: str
    name: str
    started_at: datetime
    verdict: Verdict
    milliseconds: float
    tree: Step
    cause: str = ""
    remedy: str = ""
    by: str = "the server"
    trigger: str = "operator"


class StepBuilder:
    """A step under way.

    Args:
        doing: the sentence that stands until the step knows better.
        time: monotonic seconds.
    """

    def __init__(self, doing: str, time: Callable[[], float]) -> None:
        self._sentence = doing
        self._time = time
        self._began = time()
        self._ended = 0.0
        self._verdict: Verdict | None = None
        self._remedy = ""
        self._details: list[str] = []
        self._steps: list[StepBuilder] = []

    @contextmanager
    def step(self, doing: str) -> Iterator["StepBuilder"]:
        """A step below this one, timed until the block ends."""
        one = StepBuilder(doing, self._time)
        self._steps.append(one)
        try:
            yield one
        finally:
            one.end()

    def passed(self, sentence: str) -> None:
        """It is as it should be."""
        self._say(Verdict.PASS, sentence)

    def noted(self, sentence: str) -> None:
        """A fact that is neither good nor bad, or a step that was left out and why."""
        self._say(Verdict.NOTE, sentence)

    def warned(self, sentence: str, remedy: str = "") -> None:
        """Mail goes, but somebody should look."""
        self._say(Verdict.WARNING, sentence, remedy)

    def failed(self, sentence: str, remedy: str = "") -> None:
        """Mail does not go this way."""
        self._say(Verdict.FAILURE, sentence, remedy)

    def say(self, sentence: str) -> None:
        """A sentence whose verdict is that of the steps below."""
        self._sentence = sentence

    def add(self, *details: str) -> None:
        """Evidence; beyond a bound it is left out."""
        self._details += [clean_text(one, PROBE_TEXT) for one in details][: PROBE_DETAILS - len(self._details)]

    def only_warn(self) -> None:
        """Whatever failed below is no more than a warning here: mail goes another way."""
        if self.verdict is Verdict.FAILURE:
            self._verdict = Verdict.WARNING

    def passed_in_the_end(self) -> None:
        """It ended well: what warned on the way does not count."""
        self._verdict = Verdict.PASS

    def end(self) -> None:
        """Stop the clock."""
        self._ended = self._time()

    @property
    def verdict(self) -> Verdict:
        """So far."""
        return worst(self.verdicts) if self._verdict is None else self._verdict

    @property
    def verdicts(self) -> "list[Verdict]":
        """Of the steps right below."""
        return [one.verdict for one in self._steps]

    @property
    def failures(self) -> int:
        """Steps right below that failed."""
        return sum(one.has_failed for one in self._steps)

    @property
    def count(self) -> int:
        """Steps right below."""
        return len(self._steps)

    @property
    def has_failed(self) -> bool:
        return self.verdict is Verdict.FAILURE

    def build(self) -> Step:
        """The finished step."""
        ended = self._ended or self._time()
        return Step(
            sentence=clean_text(self._sentence, PROBE_TEXT),
            verdict=self.verdict,
            milliseconds=round((ended - self._began) * 1000, 1),
            remedy=clean_text(self._remedy, PROBE_TEXT),
            details=self._details,
            steps=[one.build() for one in self._steps],
        )

    def _say(self, verdict: Verdict, sentence: str, remedy: str = "") -> None:
        self._verdict, self._sentence, self._remedy = verdict, sentence, remedy


def result_of(kind: str, name: str, tree: StepBuilder, *, now: float, by: str, trigger: str) -> ProbeResult:
    """The result of a tree that is complete.

    Args:
        now: Unix time at the end.
    """
    tree.end()
    root = tree.build()
    guilty = first_cause(root)
    return ProbeResult(
        kind=kind,
        name=name,
        started_at=datetime.fromtimestamp(now - root.milliseconds / 1000, UTC),
        verdict=root.verdict,
        milliseconds=root.milliseconds,
        cause=guilty.sentence if guilty else "",
        remedy=guilty.remedy if guilty else "",
        tree=root,
        by=by,
        trigger=trigger,
    )


def first_cause(root: Step) -> Step | None:
    """The deepest first step that has the tree's verdict, None where that is good."""
    if root.verdict not in (Verdict.WARNING, Verdict.FAILURE):
        return None
    for step in root.steps:
        if step.verdict is root.verdict:
            return first_cause(step)
    # A warning may stand above failures that another way made up for.
    for step in root.steps:
        if step.verdict is Verdict.FAILURE:
            return first_cause(step)
    return root
