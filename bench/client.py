# SPDX-License-Identifier: MIT
"""What sending costs: microseconds of CPU for each message, in the engine alone and through a whole courier.

    python bench/client.py [messages]

The courier sends 4 KiB messages for one recipient to `smtp-sink` (Debian package postfix) over loopback; user time is
Python's, system time the kernel's. Nothing is stored. The second run reconnects as often as connectors do by default.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.delivery.smtp_send.prepare import next_transaction, prepare
from bridgehead.mail.units import Count
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.smtp.client import ClientConnection
from support.ports import answers, free_port, wait_until
from support.work_source import ListLog, MemorySource, queued

BODY = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: bench\r\n\r\n" + (b"y" * 70 + b"\r\n") * 56


def engine_alone(messages: int) -> float:
    """Microseconds for each message, pipelined, without any I/O."""
    engine = ClientConnection("bench.example")
    engine.receive_data(b"220 hello\r\n")
    engine.receive_data(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n")
    engine.data_to_send()
    entries = [queued(BODY) for _ in range(messages)]
    replies = b"250 2.0.0 Ok: queued as 1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n"
    start = time.process_time()
    for number, entry in enumerate(entries):
        outgoing = prepare(entry, engine.extensions)
        transaction = next_transaction(outgoing, engine.extensions)
        assert transaction is not None
        engine.begin(transaction)
        engine.data_to_send()
        engine.receive_data(replies if number else replies[27:])
        assert outgoing.data is not None
        engine.send_content(outgoing.data)
    return (time.process_time() - start) / messages * 1e6


async def whole_courier(messages: int, port: int, for_each_connection: int, connections: int) -> str:
    """CPU by kind and rate of a courier with its pool."""
    connector = SendConnector(
        name="bench", address_spaces=["*"], smart_hosts=[f"127.0.0.1:{port}"],
        smtp_max_messages_per_connection=for_each_connection,
    )  # fmt: skip
    settings = DeliverySettings(max_per_domain_outbound_connections=Count(connections))
    clock = SystemClock()
    resolver = Resolver(clock=clock)
    factory = SmtpCourierFactory(
        {"bench": connector}, settings, "bench.example", [], resolver, clock, random.random, ListLog(), ListLog()
    )  # fmt: skip
    source = MemorySource([queued(BODY) for _ in range(messages)])
    before, start = os.times(), time.perf_counter()
    courier = factory.courier(NextHop(DeliveryType.SMART_HOST, "sink", "bench"), source)
    courier.wake()
    await source.all_finished(messages, 300)
    after, end = os.times(), time.perf_counter()
    await courier.close()
    await resolver.close()
    user, system = (after.user - before.user) / messages * 1e6, (after.system - before.system) / messages * 1e6
    return f"user {user:5.1f} us, system {system:5.1f} us, {messages / (end - start):7.0f} messages/s"


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"engine alone:                         {engine_alone(messages):5.1f} us")
    sink = shutil.which("smtp-sink", path="/usr/sbin:/usr/lib/postfix/sbin")
    if sink is None:
        print("smtp-sink is not here (Debian package postfix): no more to measure")
        return
    port = free_port()
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([sink, "-c", *account, f"127.0.0.1:{port}", "200"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), what="smtp-sink listens")
        for each, connections in ((1_000_000, 1), (1_000_000, 10), (20, 10), (20, 40)):
            name = f"{connections} connections, {'one session each' if each > 20 else '20 messages a session'}:"
            result = uvloop.run(whole_courier(messages, port, each, connections))
            print(f"{name:37} {result}")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
