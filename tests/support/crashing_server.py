# SPDX-License-Identifier: MIT
"""A server that kills itself with SIGKILL at a named step of a message's path; a launcher for `Server`.

    python crashing_server.py STEP COUNT -c CONFIG run

At the COUNT-th time that the step is reached the process is gone, as after a power cut but for the disk's own cache.
Steps are calls of functions on the path, seen before they begin or after they have returned.
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Step(NamedTuple):
    """A call: "module:Class.method" or "module:function", and which side of it."""

    where: str
    after: bool = False


STEPS: dict[str, Step] = {
    "content has come, nothing stored": Step("bridgehead.receive.acceptance:Acceptance.submit"),
    "accept handed to the store": Step("bridgehead.receive.acceptance:Acceptance.submit", after=True),
    "writer is about to write": Step("bridgehead.queues.writer:Writer._commit"),
    "written and synced, nobody told": Step("bridgehead.queues.writer:Writer._commit", after=True),
    "synced, callbacks about to run": Step("bridgehead.queues.sqlite:SqliteQueueStore._completed"),
    "callbacks have run": Step("bridgehead.queues.sqlite:SqliteQueueStore._completed", after=True),
    "accepted and answered, not categorized": Step("bridgehead.categorizer.worker:Categorizer.process"),
    "categorized, commit under way": Step("bridgehead.categorizer.worker:Categorizer.process", after=True),
    "taken for delivery": Step("bridgehead.delivery.delivery_queue:DeliveryQueue.take", after=True),
    "delivered, outcome not judged": Step("bridgehead.delivery.delivery_queue:DeliveryQueue.finished"),
    "delivered, outcome handed to the store": Step(
        "bridgehead.delivery.delivery_queue:DeliveryQueue.finished", after=True
    ),
}


def arm(step: Step, count: int) -> None:
    """Replace the step's function by one that kills the process at its `count`-th call."""
    module_name, _, path = step.where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def fatal(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == count
        if mine and not step.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if mine and step.after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


def launcher(step: str, count: int) -> list[str]:
    """What `Server` takes as launcher."""
    assert step in STEPS, step
    return [sys.executable, str(Path(__file__).resolve()), step, str(count)]


def main() -> None:
    step, count, *arguments = sys.argv[1:]
    arm(STEPS[step], int(count))
    from bridgehead.__main__ import main as bridgehead_main

    sys.argv = ["bridgehead", *arguments]
    bridgehead_main()


if __name__ == "__main__":
    main()
