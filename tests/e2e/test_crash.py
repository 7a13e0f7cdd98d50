# SPDX-License-Identifier: MIT
"""SIGKILL at every step of a message's path and at random under load; then count.

No message whose 250 the client saw may be missing. A message may arrive twice only if a later attempt was recorded
as in doubt.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.crashing_server import SLOW, STEPS, launcher
from support.numbered_mail import Senders, judge
from support.server import Server
from support.sink import Sink

pytestmark = pytest.mark.crash
ROUNDS = int(os.environ.get("BRIDGEHEAD_CRASH_ROUNDS", "3"))


def restarted(server: Server) -> None:
    """Start again, without the armed launcher, on what the dead process left."""
    server.launcher = [sys.executable, "-m", "bridgehead"]
    server.start()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(step: str, make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port, launcher=launcher(step, 40)).start()
    senders = Senders(server, 4, "step")
    status = server.wait_for_death(60)
    senders.stop()
    assert status == -9, f"the step was not reached: {server.stderr()}"
    assert senders.acknowledged or "nothing stored" in step or "about to" in step
    restarted(server)
    judge(server, sink, senders.acknowledged, senders.sent)


@pytest.mark.timeout(600)
def test_killed_at_random_under_load(make_server: Callable[..., Server], sink: Sink) -> None:
    """Several rounds of load and SIGKILL on one queue; BRIDGEHEAD_CRASH_ROUNDS says how many."""
    server = make_server(sink.port, launcher=launcher(SLOW), queues={"poison_threshold": 10})
    acknowledged: set[str] = set()
    sent: set[str] = set()
    seed = int(os.environ.get("BRIDGEHEAD_CRASH_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(ROUNDS):
        server.start()
        senders = Senders(server, 8, f"round{number}")
        # the moment of death is what is random here; nothing is waited for
        time.sleep(chance.uniform(0.05, 1.5))
        server.kill()
        senders.join()
        acknowledged |= senders.acknowledged
        sent |= senders.sent
    assert acknowledged
    restarted(server)
    judge(server, sink, acknowledged, sent)


def test_killed_while_the_next_hop_waits_to_answer(make_server: Callable[..., Server], sink: Sink) -> None:
    """Content is at the next hop, its 250 not yet here: the second attempt is recorded as in doubt."""
    held, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        if not held.is_set():
            held.set()
            release.wait(30)

    sink.behaviour.on_content = hold  # type: ignore[assignment]
    server = make_server(sink.port).start()
    server.send("a@fabrikam.test", "x@adatum.test", connector="secured")
    assert held.wait(15)
    server.kill()
    release.set()
    server.start()
    server.wait_until_empty()
    assert len(sink.to("x@adatum.test")) == 2
    assert any("doubt" in ",".join(line.values()).lower() for line in server.tracking())


def test_a_torn_tracking_line_harms_nothing(make_server: Callable[..., Server], sink: Sink) -> None:
    """A log that ends in the middle of a line is read on from the next one."""
    server = make_server(sink.port).start()
    server.send("a@fabrikam.test", "x@adatum.test", b"Subject: first\r\n\r\n", "secured")
    server.wait_for_event("SEND")
    server.kill()
    file: Path = max((server.data / "logs/MessageTracking").glob("MSGTRK*.log"))
    with file.open("ab") as log:
        log.write(b'2026-01-01T00:00:00.000Z,127.0.0.1,"half a li')
    server.start()
    server.send("a@fabrikam.test", "y@adatum.test", b"Subject: second\r\n\r\n", "secured")
    sink.wait(2)
    said = server.succeed("trace", "--recipient", "y@adatum.test", "--json")
    assert "y@adatum.test" in said
