# SPDX-License-Identifier: MIT
"""Who goes next on a running server: single messages beside a mailing, priorities, and what is said of those that wait."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.configuration import changed, send_connector
from support.ports import free_port
from support.server import Server
from support.sink import Sink, Transaction
from support.talk import Talk

MESSAGE = b"From: <%s>\r\nSubject: scheduling\r\n%s\r\nhello\r\n"
MAILING = 2_500
"""More than twice what memory holds of one queue."""


def send_many(server: Server, sender: str, count: int, fields: bytes = b"") -> None:
    with Talk(server.port("secured")) as talk:
        talk.hello()
        for number in range(count):
            talk.message(sender, f"x{number}@adatum.test", MESSAGE % (sender.encode(), fields))


def place_of(sink: Sink, sender: str) -> int:
    return next(place for place, one in enumerate(sink.transactions) if one.reverse_path == sender)


def one_connection(port: int) -> dict[str, object]:
    return send_connector("Everything", port, max_outbound_connections_per_domain=1)


@pytest.mark.timeout(300)
def test_single_messages_do_not_wait_for_a_mailing(make_server: Callable[..., Server]) -> None:
    """Neither behind a backlog from disk nor while the mailing goes on pouring in."""
    port = free_port()
    sink = Sink(port=port, listening=False)
    server = make_server(send_connectors=[one_connection(port)]).start()
    send_many(server, "mailing@fabrikam.test", MAILING)
    server.send("ann@contoso.test", "early@adatum.test", connector="secured")
    may_go = threading.Semaphore(0)

    def held(transaction: Transaction) -> None:
        may_go.acquire()

    sink.behaviour.on_content = held
    sink.listen()
    server.succeed("queue", "retry", "--all")
    may_go.release(30)
    sink.wait(30, 60)
    assert place_of(sink, "ann@contoso.test") < 15
    pouring = threading.Thread(target=send_many, args=(server, "mailing@fabrikam.test", 300))
    pouring.start()
    server.send("bob@contoso.test", "late@adatum.test", connector="secured")
    before = len(sink.transactions)
    may_go.release(30)
    sink.wait(60, 60)
    assert place_of(sink, "bob@contoso.test") - before < 15
    may_go.release(10 * MAILING)
    pouring.join()
    sink.wait(MAILING + 302, 120)
    sink.close()


def test_priorities_are_heeded_where_that_is_wanted(make_server: Callable[..., Server]) -> None:
    port = free_port()
    sink = Sink(port=port, listening=False)
    queues = {"priority_queuing_enabled": True, "max_high_priority_message_size": "2 KB"}
    server = make_server(send_connectors=[one_connection(port)], queues=queues)
    server.configure(changed(server.settings, {"accepted_domains": [
        {"domain_name": "contoso.test", "make_default": True},
        {"domain_name": "adatum.test", "domain_type": "ExternalRelay"},
    ]}))  # fmt: skip
    server.start()

    def send(who: str, connector: str, fields: bytes) -> None:
        content = MESSAGE % (who.encode(), fields)
        server.send(f"{who}@fabrikam.test", "x@adatum.test", content, connector)

    send("low", "secured", b"X-Priority: 5\r\n")
    send("normal", "secured", b"")
    send("stranger", "anonymous", b"Importance: high\r\n")
    send("large", "secured", b"Importance: high\r\n" + b"X-Filler: " + b"x" * 70 + b"\r\n" * 1 + b"X-F: y\r\n" * 400)
    send("high", "secured", b"Importance: high\r\n")
    server.wait_for_events("DEFER", 5)
    sink.listen()
    server.succeed("queue", "retry", "--all")
    sink.wait(5, 30)
    order = [one.reverse_path.partition("@")[0] for one in sink.transactions]
    assert order[0] == "high"
    assert order[-1] == "low"
    assert order.index("normal") < order.index("stranger") < order.index("large")
    sink.close()


def test_what_waits_for_its_next_hop_is_deferred_once_and_not_with_each_retry(
    make_server: Callable[..., Server],
) -> None:
    port = free_port()
    server = make_server(port).start()
    for number in range(5):
        server.send("ann@contoso.test", f"x{number}@adatum.test", connector="secured")
    server.wait_for_events("DEFER", 5)
    [queue] = [one for one in server.queues() if one["type"] == "Delivery"]
    server.succeed("queue", "retry", queue["identity"])
    server.send("ann@contoso.test", "later@adatum.test", connector="secured")
    server.wait_for_event("DEFER", recipient_address="later@adatum.test")
    deferred = server.events("DEFER")
    assert len(deferred) == 6
    assert all("127.0.0.1" in one["recipient-status"] for one in deferred)
    with Sink(port=port) as sink:
        sink.wait(6, 30)


def test_a_message_that_the_store_cannot_read_is_tracked_as_poison(make_server: Callable[..., Server]) -> None:
    server = make_server(free_port()).start()
    server.send("ann@contoso.test", "x@adatum.test", connector="secured")
    server.wait_for_event("DEFER")
    server.stop()
    database: Path = server.data / "queue" / "queue.db"
    connection = sqlite3.connect(database)
    connection.execute("UPDATE content SET data = zeroblob(length(data))")
    connection.commit()
    connection.close()
    server.start()
    event = server.wait_for_event("POISONMESSAGE")
    assert event["recipient-address"] == "x@adatum.test"
    assert "checksum differs" in event["source-context"]
