# SPDX-License-Identifier: MIT
"""Faults below and beside a running server: a disk that fails, a damaged record, name servers and hosts that hang.

Always the same is asked: the client gets 4yz and nothing is acknowledged that is not safe; what was acknowledged
arrives once; there is an alarm in the log; it goes on by itself when the fault is gone.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.dns_server import ScriptedDns
from support.faulty_disk import FaultyDisk
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Behaviour, Sink, Transaction
from support.talk import Talk

SMALL = b"Subject: fault\r\n\r\nhello\r\n"
LARGE = b"Subject: fault\r\n\r\n" + (b"x" * 76 + b"\r\n") * 4_000
"""More than the queue keeps in its database: it goes to a file of its own."""


def offer(server: Server, recipient: str, content: bytes) -> str:
    """Offer a message; the code of the reply that decided about it, which is 250, 451 or 452."""
    with Talk(server.port("secured")) as talk:
        talk.hello()
        reply = talk.ask("MAIL FROM:<a@fabrikam.test>")
        if reply.code == "250":
            talk.expect(f"RCPT TO:<{recipient}>", "250 *")
            talk.expect("DATA", "354 *")
            talk.send(content + b".\r\n")
            reply = talk.read()
            # The session goes on, whatever became of the message.
            talk.expect("NOOP", "250 *")
    assert reply.code in ("250", "451", "452"), str(reply)
    return reply.code


class Holding:
    """A next hop that keeps messages to held@ without an answer until `release`."""

    def __init__(self) -> None:
        self.began, self._released = threading.Event(), threading.Event()

    def __call__(self, transaction: Transaction) -> None:
        if "held@adatum.test" in transaction.forward_paths:
            self.began.set()
            self._released.wait(60)

    def release(self) -> None:
        self._released.set()


@pytest.mark.parametrize("fault", ["EIO-on-sync", "EROFS"])
def test_a_failing_disk(fault: str, make_server: Callable[..., Server], tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path / "disk", tmp_path / "server/data/queue")
    holding = Holding()
    with Sink(Behaviour(on_content=holding)) as sink:
        server = make_server(sink.port, launcher=disk.launcher).start()
        acknowledged = ["held@adatum.test", *(f"before{number}@adatum.test" for number in range(10))]
        assert {offer(server, address, SMALL) for address in acknowledged} == {"250"}
        assert holding.began.wait(15)
        disk.begin(fault)
        # The next hop has taken it; that cannot be written down now and must not be forgotten.
        holding.release()
        refused = [f"during{number}@adatum.test" for number in range(20)]
        codes = [offer(server, address, LARGE if number % 4 == 0 else SMALL) for number, address in enumerate(refused)]
        assert "250" not in codes
        assert "not accepted" in server.stderr()
        disk.end(fault)
        after = [f"after{number}@adatum.test" for number in range(4)]
        for number, address in enumerate(after):
            wait_until(
                lambda: offer(server, address, LARGE if number % 2 else SMALL) == "250",  # noqa: B023
                30,
                lambda: f"mail is accepted again; the server said\n{server.stderr()[-3000:]}",
            )
        server.wait_until_empty()
        for address in acknowledged + after:
            assert len(sink.to(address)) == 1, address
        assert not any(sink.to(address) for address in refused)
        assert server.stop() == 0
        server.succeed("queue", "verify")


@pytest.mark.parametrize("fault", ["EIO-on-sync", "EROFS"])
def test_killed_while_the_disk_fails(fault: str, make_server: Callable[..., Server], tmp_path: Path) -> None:
    """What was acknowledged before is there after a restart on a sound disk."""
    disk = FaultyDisk(tmp_path / "disk", tmp_path / "server/data/queue")
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port, launcher=disk.launcher).start()
    acknowledged = [f"before{number}@adatum.test" for number in range(10)]
    assert {offer(server, address, SMALL) for address in acknowledged} == {"250"}
    disk.begin(fault)
    assert {offer(server, f"during{number}@adatum.test", SMALL) for number in range(10)} <= {"451", "452"}
    server.kill()
    disk.end(fault)
    sink.listen()
    server.start()
    server.wait_until_empty()
    assert all(len(sink.to(address)) == 1 for address in acknowledged)
    sink.close()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid():
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_start_on_a_read_only_file_system(make_server: Callable[..., Server], mounted: Path) -> None:
    """It says so and ends; once the file system can be written the queue is delivered."""
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port, server={"data_directory": str(mounted / "data")}).start()
    assert offer(server, "x@adatum.test", SMALL) == "250"
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    server.launch()
    assert server.wait_for_death() == 1
    last = server.stderr().strip().splitlines()[-1]
    assert "cannot start" in last
    assert str(mounted) in last or "readonly" in last.replace("-", "").replace(" ", ""), last
    subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
    sink.listen()
    server.start()
    assert len(sink.wait(1)) == 1
    server.wait_until_empty()
    sink.close()


DAMAGE = {
    "record": "UPDATE item SET record = zeroblob(length(record)) WHERE id = ?",
    "content": "UPDATE content SET data = zeroblob(size) WHERE id = (SELECT content_id FROM item WHERE id = ?)",
    "content gone": "DELETE FROM content WHERE id = (SELECT content_id FROM item WHERE id = ?)",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_row(what: str, make_server: Callable[..., Server]) -> None:
    """One message is set aside with the reason; the others are delivered."""
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port).start()
    for number in range(7):
        assert offer(server, f"x{number}@adatum.test", SMALL) == "250"
    wait_until(lambda: any("etry" in str(queue) for queue in server.queues()), 15, "the queue to be in Retry")
    assert server.stop() == 0
    with closing(sqlite3.connect(server.data / "queue" / "queue.db")) as database:
        ids = [row[0] for row in database.execute("SELECT id FROM item ORDER BY id")]
        assert len(ids) == 7
        with database:
            assert database.execute(DAMAGE[what], (ids[3],)).rowcount == 1
    verified = server.command("queue", "verify")
    assert verified.returncode != 0
    assert str(ids[3]) in verified.stdout.decode() + verified.stderr.decode()
    server.start()
    sink.listen()
    wait_until(lambda: len(sink.transactions) == 6 and server.queued() == 1, 30, "six delivered, one set aside")
    assert not sink.to("x3@adatum.test")
    (poison,) = shown_messages(server)
    assert str(ids[3]) in str(poison)
    said = str(poison["last_error"])
    assert ("record" if what == "record" else "content") in said, said
    assert server.process is not None
    assert server.process.poll() is None
    sink.close()


def shown_messages(server: Server) -> list[dict[str, Any]]:
    """What `queue show Poison` lists."""
    shown = json.loads(server.succeed("queue", "show", "Poison", "--json"))
    return list(shown["messages"])


def dns_connector(name: str, port: int, *spaces: str) -> dict[str, Any]:
    return {"name": name, "address_spaces": list(spaces), "dns_routing_enabled": True, "port": port}


async def test_name_servers_that_never_answer_delay_nobody_else(make_server: Callable[..., Server], sink: Sink) -> None:
    """Mail for a domain whose name servers are silent waits; mail for another, by the same connector, does not."""
    async with ScriptedDns() as dns:
        dns.silent("slow.test")
        dns.add("quick.test", "MX", "10 mx.quick.test.")
        dns.add("mx.quick.test", "A", "127.0.0.1")
        server = make_server(
            server={"dns_servers": [dns.address]}, send_connectors=[dns_connector("Internet", sink.port, "*")]
        )

        def scenario() -> None:
            server.start()
            for number in range(60):
                offer(server, f"x{number}@slow.test", SMALL)
            wait_until(lambda: dns.count("slow.test", "MX") > 0, 15, "the silent name server was asked")
            began = time.monotonic()
            assert offer(server, "x@quick.test", SMALL) == "250"
            sink.wait_for(lambda one: "x@quick.test" in one.forward_paths, 4)
            # Less than the time-out of the first question: it was not waited for.
            assert time.monotonic() - began < 4
            assert [one.forward_paths for one in sink.transactions] == [["x@quick.test"]]
            wait_until(lambda: server.queued() == 60, 15, "the others wait")
            assert not server.events("FAIL")

        await asyncio.to_thread(scenario)


async def test_a_slow_next_hop_delays_no_other_domain(make_server: Callable[..., Server]) -> None:
    """Two domains by the same connector: the hosts of one take their time over every message."""
    enough = threading.Event()

    def slow(argument: str) -> None:
        if "slow.test" in argument:
            enough.wait(60)

    async with ScriptedDns() as dns:
        for domain in ("slow.test", "quick.test"):
            dns.add(domain, "MX", f"10 mx.{domain}.")
            dns.add(f"mx.{domain}", "A", "127.0.0.1")
        with Sink(Behaviour(on_rcpt=slow)) as sink:
            server = make_server(
                server={"dns_servers": [dns.address]}, send_connectors=[dns_connector("Internet", sink.port, "*")]
            )

            def scenario() -> None:
                server.start()
                for number in range(60):
                    offer(server, f"x{number}@slow.test", SMALL)
                wait_until(lambda: any("slow.test" in line for _, line in sink.commands), 15, "the slow host is busy")
                for number in range(20):
                    assert offer(server, f"x{number}@quick.test", SMALL) == "250"
                wait_until(lambda: len(sink.transactions) == 20, 10, "the quick domain has its mail")
                assert server.queued() == 60
                enough.set()
                wait_until(lambda: len(sink.transactions) == 80, 30, "the slow one has its mail, too")
                server.wait_until_empty()
                assert len(sink.transactions) == 80

            await asyncio.to_thread(scenario)
