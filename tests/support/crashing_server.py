# SPDX-License-Identifier: MIT
"""A server that kills itself with SIGKILL at a named step of a message's path; a launcher for `Server`.

    python crashing_server.py STEP COUNT -c CONFIG run

At the COUNT-th time that the step is reached the process is gone, as after a power cut but for the disk's own cache.
Steps are calls of functions on the path, seen before they begin or after they have returned.
"""

import asyncio
import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Step(NamedTuple):
    """A call: "module:Class.method" or "module:function", and which side of it.

    `linger`: seconds that pass between the step and death. In the writer's thread they let the event loop go on, and
    with it whatever would be told to clients too early.
    """

    where: str
    after: bool = False
    linger: float = 0.0


STEPS: dict[str, Step] = {
    "content has come, nothing stored": Step("bridgehead.receive.acceptance:Acceptance.submit"),
    "accept handed to the store": Step("bridgehead.receive.acceptance:Acceptance.submit", after=True),
    "about to be written": Step("bridgehead.queues.sqlite.committer:Committer.prepare"),
    "written, not committed": Step("bridgehead.queues.sqlite.committer:Committer.commit"),
    "committed, not synced": Step("bridgehead.queues.sqlite.disk_sync:DiskSync.begin"),
    "sync under way": Step("bridgehead.queues.sqlite.disk_sync:DiskSync.begin", after=True),
    "synced, nobody told": Step("bridgehead.queues.sqlite.writer:Writer._synced"),
    "writer's thread is about to write": Step("bridgehead.queues.sqlite.committer:Committer.execute", linger=0.2),
    "written and synced by the thread, nobody told": Step(
        "bridgehead.queues.sqlite.committer:Committer.execute", after=True, linger=0.2
    ),
    "synced, callbacks about to run": Step("bridgehead.queues.sqlite.group_commit:GroupCommit.completed"),
    "callbacks have run": Step("bridgehead.queues.sqlite.group_commit:GroupCommit.completed", after=True),
    "accepted and answered, not categorized": Step("bridgehead.categorizer.worker:Categorizer.process"),
    "categorized, commit under way": Step("bridgehead.categorizer.worker:Categorizer.process", after=True),
    "taken for delivery": Step("bridgehead.delivery.delivery_queue:DeliveryQueue.take", after=True),
    "delivered, outcome not judged": Step("bridgehead.delivery.delivery_queue:DeliveryQueue.finished"),
    "delivered, outcome handed to the store": Step(
        "bridgehead.delivery.delivery_queue:DeliveryQueue.finished", after=True
    ),
}


SLOW = "slow"
"""In place of a step: nothing kills the process, but each sync of the queue begins late, so that many messages are
under way whenever death comes from outside."""
SLOW_SECONDS = 0.03


def slow_down() -> None:
    """Make every sync begin late: on the event loop by a timer, in the writer's thread by a pause before its work."""
    from bridgehead.queues.sqlite.committer import Committer
    from bridgehead.queues.sqlite.disk_sync import DiskSync

    begin, execute = DiskSync.begin, Committer.execute

    def begin_late(self: DiskSync, finished: Callable[[OSError | None], object]) -> None:
        asyncio.get_running_loop().call_later(SLOW_SECONDS, begin, self, finished)

    def execute_late(self: Committer, batch: Any) -> Any:
        time.sleep(SLOW_SECONDS)
        return execute(self, batch)

    setattr(DiskSync, "begin", begin_late)  # noqa: B010
    setattr(Committer, "execute", execute_late)  # noqa: B010


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
            time.sleep(step.linger)
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if mine and step.after:
            time.sleep(step.linger)
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


def launcher(step: str, count: int = 0) -> list[str]:
    """What `Server` takes as launcher."""
    assert step in STEPS or step == SLOW, step
    return [sys.executable, str(Path(__file__).resolve()), step, str(count)]


def main() -> None:
    step, count, *arguments = sys.argv[1:]
    if step == SLOW:
        slow_down()
    else:
        arm(STEPS[step], int(count))
    from bridgehead.__main__ import main as bridgehead_main

    sys.argv = ["bridgehead", *arguments]
    bridgehead_main()


if __name__ == "__main__":
    main()
