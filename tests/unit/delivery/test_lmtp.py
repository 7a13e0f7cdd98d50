# SPDX-License-Identifier: MIT
"""LmtpCourier against LMTP servers on TCP and a Unix socket: one result for each recipient."""

import asyncio
import itertools
import random

import pytest

from bridgehead.delivery.lmtp import LmtpCourier
from bridgehead.mail.delivery_status import Action
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.settings import MailboxStore, ProtocolLoggingLevel, StoreProtocol
from support.ports import free_port
from support.sink import Sink
from support.work_source import ListLog, MemorySource, queued


@pytest.fixture
async def deliver():
    couriers = []
    logs = ListLog()
    resolver = Resolver(clock=SystemClock())

    def start(address, source, **settings):
        store = MailboxStore(name="Store", protocol=StoreProtocol.LMTP, address=address, **settings)
        courier = LmtpCourier(store, source, "me.example", resolver, SystemClock(), random.random, logs, ListLog())
        courier.transcript = logs
        couriers.append(courier)
        courier.wake()
        return courier

    yield start
    for courier in couriers:
        await courier.close()
    await resolver.close()


@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "8BITMIME", "CHUNKING")])
@pytest.mark.parametrize("size", [10, 100_000])
async def test_each_recipient_has_its_own_result(deliver, extensions, size):
    answers = itertools.cycle(["250 2.1.5 stored", "452 4.2.2 full", "554 5.6.0 no"])
    with Sink(
        lmtp=True, extensions=extensions, on_rcpt=lambda to: "550 5.1.1 no" if "bad" in to else None,
        on_content=lambda _: next(answers),
    ) as sink:  # fmt: skip
        people = ["one@x.example", "bad@x.example", "two@x.example", "three@x.example"]
        entry = queued(b"Subject: x\r\n\r\n" + b".\r\n" * (size // 3), people)
        source = MemorySource([entry])
        deliver(f"127.0.0.1:{sink.port}", source)
        await source.all_finished(1)
        assert [(status.action, status.status) for status in source.statuses(entry)] == [
            (Action.DELIVERED, "2.1.5"),
            (Action.FAILED, "5.1.1"),
            (Action.DELAYED, "4.2.2"),
            (Action.FAILED, "5.6.0"),
        ]
        assert sink.transactions[0].helo == "me.example"


async def test_many_messages_share_sessions_within_the_limit(deliver):
    with Sink(lmtp=True) as sink:
        source = MemorySource([queued() for _ in range(100)])
        deliver(f"localhost:{sink.port}", source, max_concurrent_mailbox_deliveries=2)
        await source.all_finished(100)
        assert sink.sessions <= 2


async def test_unix_socket(deliver, tmp_path):
    lines, ended = [], asyncio.Event()

    async def serve(reader, writer):
        writer.write(b"220 store\r\n")
        while line := await reader.readline():
            lines.append(line)
            if line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 2.0.0 ok\r\n")
        writer.close()
        await writer.wait_closed()
        ended.set()

    path = tmp_path / "lmtp"
    server = await asyncio.start_unix_server(serve, path)
    entry = queued()
    source = MemorySource([entry])
    courier = deliver(f"unix:{path}", source)
    await source.all_finished(1)
    assert lines[0] == b"LHLO me.example\r\n"
    assert source.statuses(entry)[0].action is Action.DELIVERED
    assert source.attempts[entry.id].remote_ip == ""
    await courier.close()
    await ended.wait()
    server.close()


@pytest.mark.parametrize("where", ["closed port", "no socket", "no host"])
async def test_a_store_that_is_away_is_a_connection_failure(deliver, tmp_path, where):
    address = {"closed port": f"127.0.0.1:{free_port()}", "no socket": f"unix:{tmp_path}/none", "no host": "[x"}[where]
    source = MemorySource([queued()])
    deliver(address, source)
    error, permanent, status = await source.connection_failure()
    assert "mailbox store Store" in error
    assert (permanent, status) == (False, "4.4.1")
    assert len(source.waiting) == 1


async def test_conversations_go_to_the_protocol_log_where_wanted(deliver):
    with Sink(lmtp=True) as sink:
        source = MemorySource([queued(b"Subject: secret\r\n\r\ncontent\r\n", ["one@x.example"])])
        courier = deliver(f"127.0.0.1:{sink.port}", source, protocol_logging_level=ProtocolLoggingLevel.VERBOSE)
        await source.all_finished(1)
        await courier.close()
    lines = [(line["event"], line["data"]) for line in courier.transcript.lines]
    assert lines[0][0] == "+"
    assert (">", "LHLO me.example") in lines
    assert any(event == ">" and data.startswith("RCPT TO:<one@x.example>") for event, data in lines)
    assert lines[-1][0] == "-"
    assert "content" not in str(lines)
    assert {line["connector_id"] for line in courier.transcript.lines} == {"Store"}
    assert [line["sequence"] for line in courier.transcript.lines] == list(range(len(lines)))


async def test_conversations_are_not_logged_unless_wanted(deliver):
    with Sink(lmtp=True) as sink:
        source = MemorySource([queued(b"Subject: x\r\n\r\n", ["one@x.example"])])
        courier = deliver(f"127.0.0.1:{sink.port}", source)
        await source.all_finished(1)
    assert courier.transcript.lines == []
