# SPDX-License-Identifier: MIT
"""What happens when the next hop does not, or not at once: retry, fail-over, reports of delay and expiry."""

import threading
from collections.abc import Callable
from pathlib import Path

from support.certificates import Authority
from support.configuration import send_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import DROP, Behaviour, Sink, Transaction

MESSAGE = b"From: a@fabrikam.test\r\nSubject: wait\r\n\r\nhello\r\n"


def test_a_dead_host_is_tried_again_until_it_lives(make_server: Callable[..., Server]) -> None:
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port).start()
    server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
    wait_until(lambda: any("etry" in str(queue) for queue in server.queues()), 15, "the queue to be in Retry")
    sink.listen()
    assert sink.wait(1)[0].forward_paths == ["x@adatum.test"]
    server.wait_until_empty()
    sink.close()


def test_queue_retry_command(make_server: Callable[..., Server]) -> None:
    """Without the command the next attempt would be an hour away."""
    hours = {
        "queue_glitch_retry_interval": "1h",
        "transient_failure_retry_interval": "1h",
        "outbound_connection_failure_retry_interval": "1h",
        "delay_notification_timeout": "12h",
    }
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port, queues=hours).start()
    server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
    wait_until(lambda: any("etry" in str(queue) for queue in server.queues()), 15, "the queue to be in Retry")
    sink.listen()
    (queue,) = [one for one in server.queues() if int(one["message_count"])]
    server.succeed("queue", "retry", str(queue["identity"]))
    assert sink.wait(1)[0].forward_paths == ["x@adatum.test"]
    sink.close()


def test_fail_over_between_smart_hosts(make_server: Callable[..., Server], sink: Sink) -> None:
    with Sink(Behaviour(banner="421 4.3.2 not now")) as busy, Sink(Behaviour(banner=DROP)) as rude:
        server = make_server(free_port(), busy.port, rude.port, sink.port).start()
        for number in range(5):
            server.send("a@fabrikam.test", f"x{number}@adatum.test", MESSAGE, "secured")
        sink.wait(5)
        server.wait_until_empty()
    assert not server.events("FAIL")


def test_one_dead_domain_delays_nobody_else(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(
        send_connectors=[
            send_connector("Dead", free_port(), spaces=("dead.test",)),
            send_connector("Alive", sink.port, spaces=("*",)),
        ]
    ).start()
    for number in range(50):
        server.send("a@fabrikam.test", [f"x{number}@dead.test", f"x{number}@adatum.test"], MESSAGE, "secured")
    sink.wait(50)
    assert server.queued() == 50


def test_a_host_that_never_answers_delays_nobody_else(make_server: Callable[..., Server], sink: Sink) -> None:
    """Connections are accepted and nothing is ever said."""
    with Sink(Behaviour(on_helo=lambda _: block())) as silent:
        server = make_server(
            send_connectors=[
                send_connector("Silent", silent.port, spaces=("silent.test",)),
                send_connector("Alive", sink.port, spaces=("*",)),
            ]
        ).start()
        for number in range(60):
            server.send("a@fabrikam.test", f"x{number}@silent.test", MESSAGE, "secured")
        wait_until(lambda: silent.sessions > 0, 15, "a connection to the silent host")
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        sink.wait(1)


def block() -> None:
    threading.Event().wait(60)


def test_4yz_to_the_message_is_tried_again(make_server: Callable[..., Server]) -> None:
    answers = iter(["451 4.3.0 once", "452 4.2.2 twice"])

    def reply(_: Transaction) -> str | None:
        return next(answers, None)

    with Sink(Behaviour(on_content=reply)) as slow:
        server = make_server(slow.port).start()
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        slow.wait(1, 20)
        server.wait_for_event("SEND")
        assert len(server.events("DEFER")) == 2
        assert len(slow.transactions) == 1


def test_connection_lost_after_the_dot_is_in_doubt(make_server: Callable[..., Server]) -> None:
    seen: list[Transaction] = []

    def reply(transaction: Transaction) -> str | None:
        seen.append(transaction)
        return DROP if len(seen) == 1 else None

    with Sink(Behaviour(on_content=reply)) as rude:
        server = make_server(rude.port).start()
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        rude.wait(1, 20)
        event = server.wait_for_event("DEFER")
        assert "doubt" in ",".join(event.values()).lower()
        assert len(seen) == 2


def test_delay_report_then_expiry(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(
        queues={"transient_failure_retry_count": 1, "delay_notification_timeout": 2, "message_expiration_timeout": 5},
        send_connectors=[
            send_connector("Dead", free_port(), spaces=("dead.test",)),
            send_connector("Alive", sink.port, spaces=("fabrikam.test",)),
        ],
    ).start()
    server.send("author@fabrikam.test", "x@dead.test", MESSAGE, "secured")
    delayed = sink.wait(1, 20)[0]
    assert delayed.forward_paths == ["author@fabrikam.test"]
    assert b"Action: delayed" in delayed.data
    assert b"Will-Retry-Until:" in delayed.data
    failed = sink.wait(2, 20)[1]
    assert b"Action: failed" in failed.data
    assert b"Status: 4.4.7" in failed.data or b"Status: 5.4.7" in failed.data
    server.wait_for_event("FAIL", recipient_address="x@dead.test")
    server.wait_until_empty()
    assert len(sink.transactions) == 2


def test_no_delay_report_unasked(make_server: Callable[..., Server], sink: Sink) -> None:
    """NOTIFY=FAILURE leaves delay out."""
    server = make_server(
        queues={"transient_failure_retry_count": 1, "delay_notification_timeout": 2, "message_expiration_timeout": 5},
        send_connectors=[
            send_connector("Dead", free_port(), spaces=("dead.test",)),
            send_connector("Alive", sink.port, spaces=("fabrikam.test",)),
        ],
    ).start()
    server.send("author@fabrikam.test", "x@dead.test", MESSAGE, "secured", (), ["NOTIFY=FAILURE"])
    assert b"Action: failed" in sink.wait(1, 20)[0].data
    assert len(sink.transactions) == 1


def test_outgoing_login_over_tls(make_server: Callable[..., Server], tmp_path: Path) -> None:
    directory = tmp_path
    authority = Authority(directory)
    pair = authority.issue("sink.test")
    secret = directory / "password"
    secret.write_text("s3cret\n")
    with Sink(Behaviour(context=pair.server_context(), users={"relay": "s3cret"})) as strict:
        connector = send_connector(
            "Provider", strict.port, smart_host_auth_mechanism="BasicAuthRequireTLS", require_tls=True,
            tls_auth_level="DomainValidation", tls_domain="sink.test", tls_ca_file=str(authority.root),
            authentication_username="relay", authentication_password=f"file:{secret}",
        )  # fmt: skip
        make_server(send_connectors=[connector]).start().send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        (arrived,) = strict.wait(1)
        assert arrived.tls
        assert arrived.user == "relay"


def test_no_password_in_clear(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """A smart host that offers AUTH but no TLS never sees the password."""
    directory = tmp_path
    secret = directory / "password"
    secret.write_text("s3cret\n")
    with Sink(Behaviour(users={"relay": "s3cret"})) as clear:
        connector = send_connector(
            "Provider", clear.port, smart_host_auth_mechanism="BasicAuthRequireTLS",
            authentication_username="relay", authentication_password=f"file:{secret}",
        )  # fmt: skip
        server = make_server(send_connectors=[connector]).start()
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        wait_until(lambda: clear.sessions > 1, 15, "a second attempt")
        assert not clear.transactions
        assert not any(line.upper().startswith("AUTH") for _, line in clear.commands)
        assert server.queued() == 1


def test_a_next_hop_that_injects_replies_after_starttls(make_server: Callable[..., Server]) -> None:
    """Replies in clear buffered behind the 220 to STARTTLS are never believed inside TLS."""

    def inject() -> str:
        return "220 go\r\n250-sink.test\r\n250 AUTH PLAIN"

    with Sink(Behaviour(extensions=("STARTTLS",), on_starttls=inject)) as evil:
        server = make_server(evil.port).start()
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        wait_until(lambda: evil.sessions >= 1 and any("STARTTLS" in line for _, line in evil.commands), 15, "STARTTLS")
        wait_until(lambda: evil.sessions >= 2, 15, "the connection was given up and made anew")
        first_tls = [line for number, line in evil.commands if number == 1]
        assert not any(line.startswith(("MAIL", "AUTH")) for line in first_tls)


def test_an_endless_reply_is_cut_off(make_server: Callable[..., Server]) -> None:
    with Sink(Behaviour(on_helo=lambda _: "250-" + "x" * 500_000)) as evil:
        server = make_server(evil.port).start()
        server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        wait_until(lambda: evil.sessions >= 2, 15, "a second attempt")
        assert server.queued() == 1


def test_controls_in_replies_reach_no_log_line(make_server: Callable[..., Server]) -> None:
    with Sink(Behaviour(on_rcpt=lambda a: "550 5.1.1 no\x1b[31m such\x07 user" if "<x@" in a else None)) as odd:
        server = make_server(odd.port).start()
        server.send("author@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
        failed = server.wait_for_event("FAIL")
        assert "such" in failed["recipient-status"]
        assert failed["recipient-status"].isprintable()
        report = odd.wait_for(lambda one: "author@fabrikam.test" in one.forward_paths)
        assert b"\x1b" not in report.data
        assert b"\x07" not in report.data
