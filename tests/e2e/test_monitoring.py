# SPDX-License-Identifier: MIT
"""Numbers, health and alarms of a running server, as those see them who watch it."""

import hashlib
import hmac
import http.client
import json
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridgehead.admin.health.metric_names import METRICS, Kind
from support.certificates import Authority
from support.configuration import ANONYMOUS, EXTERNALLY_SECURED, receive_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.webhook_receiver import WebhookReceiver

MESSAGE = b"From: a@fabrikam.test\r\nSubject: numbers\r\n\r\nhello\r\n"
MakeServer = Callable[..., Server]
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def get(port: int, path: str) -> tuple[int, str, bytes]:
    """Status, media type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read()
    finally:
        connection.close()


class LocalConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket of a server."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def local(server: Server, path: str) -> tuple[int, str, bytes]:
    """As `get`, from the management interface."""
    connection = LocalConnection(str(server.data / "control.sock"))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return get(port, "/health/live")[0] == 200
    except OSError:
        return False


class Scraped:
    """One scrape."""

    def __init__(self, port: int) -> None:
        status, media_type, body = get(port, "/metrics")
        assert (status, media_type.partition(";")[0]) == (200, "text/plain")
        self.types: dict[str, str] = {}
        self.values: Values = {}
        for family in text_string_to_metric_families(body.decode()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            self.types[name] = family.type
            assert family.documentation
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in self.values, key
                self.values[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.values[f"bridgehead_{name}", tuple(sorted(labels.items()))]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def watched(make_server: MakeServer, sink: Sink, port: int) -> Server:
    server = make_server(sink.port, monitoring={"probe_listen": f"127.0.0.1:{port}"}).start()
    wait_until(lambda: answers(port), 20, "the probe socket answers")
    return server


def test_every_metric_is_on_a_scrape_with_its_type_and_no_other(watched: Server, port: int) -> None:
    assert Scraped(port).types == {metric.name: metric.kind.value for metric in METRICS.values()}


def test_counters_move_by_exactly_what_was_sent(watched: Server, port: int, sink: Sink) -> None:
    before = Scraped(port)
    for number in range(3):
        watched.send("a@fabrikam.test", [f"x{number}@adatum.test", f"y{number}@adatum.test"], MESSAGE, "secured")
    with watched.smtp("secured") as client:
        client.ehlo()
        assert client.docmd("MAIL", "FROM:<>")[0] == 250
        assert client.docmd("RCPT", "TO:<not an address>")[0] >= 500
    sink.wait(3)
    watched.wait_until_empty()
    wait_until(lambda: Scraped(port)("messages_completed_delivery_total") == 3, 15, "three deliveries are counted")
    after = Scraped(port)

    def moved(name: str, **labels: str) -> float:
        return after(name, **labels) - before.values.get((f"bridgehead_{name}", tuple(sorted(labels.items()))), 0.0)

    taken = {"connector": "secured"}
    sent = {"connector": "Everything", "destination": f"[127.0.0.1]:{sink.port}"}
    assert moved("messages_submitted_total") == 3
    assert moved("messages_completed_categorization_total") == 3
    assert moved("messages_queued_for_delivery_total") == 3
    assert moved("smtp_receive_connections_total", **taken) == 4
    assert after("smtp_receive_connections_current", **taken) == 0
    assert moved("smtp_receive_messages_total", **taken) == 3
    assert moved("smtp_receive_recipients_total", **taken) == 6
    assert moved("smtp_receive_bytes_total", **taken) == moved("smtp_send_bytes_total", **sent) > 3 * len(MESSAGE)
    assert moved("smtp_receive_rejections_total", **taken, **{"class": "permanent"}) == 1
    assert moved("smtp_send_messages_total", **sent) == 3
    assert moved("smtp_send_recipients_total", **sent, outcome="delivered") == 6
    assert moved("smtp_send_recipients_total", **sent, outcome="deferred") == 0
    assert moved("tracking_events_total", event_id="SEND") == 3
    assert moved("tracking_recipients_total", event_id="SEND") == 6
    for stage, labels in (
        ("smtp_receive_until_mail_seconds", taken), ("smtp_receive_until_reply_seconds", taken),
        ("submission_seconds", {}), ("delivery_queue_wait_seconds", sent), ("delivery_attempt_seconds", sent),
        ("end_to_end_seconds", sent),
    ):  # fmt: skip
        many = 4 if stage == "smtp_receive_until_mail_seconds" else 3
        assert moved(f"{stage}_count", **labels) == many, stage
        assert moved(f"{stage}_bucket", le="+Inf", **labels) == many, stage
        assert 0 <= moved(f"{stage}_sum", **labels) < 60, stage
    assert moved("commit_seconds_count") >= 1
    for name, labels_of in after.values:
        if name.endswith("_total") and (name, labels_of) in before.values:
            assert after.values[name, labels_of] >= before.values[name, labels_of], name


def test_queue_lengths_are_those_of_the_queues(make_server: MakeServer, port: int) -> None:
    dead = free_port()
    server = make_server(
        dead, monitoring={"probe_listen": f"127.0.0.1:{port}"}, queues={"queue_glitch_retry_interval": 600}
    ).start()
    for number in range(4):
        server.send("a@fabrikam.test", f"x{number}@adatum.test", MESSAGE, "secured")
    wait_until(lambda: answers(port) and Scraped(port)("retry_remote_delivery_queue_length") == 4, 20, "four in Retry")
    found = Scraped(port)
    assert found("aggregate_delivery_queue_length") == found("largest_delivery_queue_length") == 4
    assert found("active_remote_delivery_queue_length") == found("submission_queue_length") == 0
    labels = {"connector": "Everything", "destination": f"[127.0.0.1]:{dead}"}
    assert found("delivery_queue_length", **labels) == 4
    assert found("delivery_queues", status="retry") == 1
    assert found("smtp_send_connection_failures_total", **labels) >= 1
    checked = server.command("monitor", "check", "--queue", "Everything/*", "-w", "4", "-c", "10")
    assert (checked.returncode, checked.stdout[:18]) == (1, b"BRIDGEHEAD WARNING")
    assert b"'messages'=4;4;10;0" in checked.stdout
    assert server.command("monitor", "check", "--queue", "Everything/*", "-c", "4").returncode == 2
    assert server.command("monitor", "check", "--queue", "Everything/*", "-w", "5").returncode == 0
    assert server.command("monitor", "check", "--queue", "x", "--warning", "many").returncode == 3


def test_health_and_status_agree(watched: Server, port: int) -> None:
    assert get(port, "/health/live") == (200, "application/json", b'{"alive":true}')
    status, _, body = get(port, "/health/ready")
    assert (status, json.loads(body)["ready"]) == (200, True)
    for path in ("/health/ready", "/metrics"):
        assert local(watched, path)[:2] == get(port, path)[:2], "the management interface says the same"
    assert watched.command("status").returncode == 0
    assert watched.command("monitor", "check").returncode == 0
    assert get(port, "/v1/status")[0] == 404
    assert get(port, "/")[0] == 404
    settings = dict(
        watched.settings,
        back_pressure={
            "submission_queue_length": {
                "low_to_medium": 0,
                "medium_to_high": 0,
                "high_to_medium": 0,
                "medium_to_low": 0,
            },
            "resource_metering_interval": 0.1,
        },
    )
    watched.configure(settings)
    watched.reload()
    wait_until(lambda: get(port, "/health/ready")[0] == 503, 20, "back pressure is High")
    body = json.loads(get(port, "/health/ready")[2])
    assert [check["reason"] for check in body["checks"] if not check["ok"]] == ["back pressure is High"]
    assert get(port, "/health/live")[0] == 200
    done = watched.command("status", "--json")
    assert done.returncode == 1
    assert any("back pressure" in alarm for alarm in json.loads(done.stdout)["alarms"])
    done = watched.command("monitor", "check")
    assert (done.returncode, done.stdout[:19]) == (2, b"BRIDGEHEAD CRITICAL")
    watched.stop()
    done = watched.command("monitor", "check")
    assert done.returncode == 2
    assert b"CRITICAL" in done.stdout


def alarm_settings(**more: Any) -> dict[str, Any]:
    return {"check_interval": 0.2, "all_clear_delay": 0, "hold_time": 0, **more}


def test_alarm_mail_arrives_though_the_main_route_is_dead(make_server: MakeServer, sink: Sink) -> None:
    dead = free_port()
    alarms = alarm_settings(
        mail_to=["ops@adatum.test"], mail_server=f"[127.0.0.1]:{sink.port}", peer_failure_messages=5
    )
    server = make_server(dead, alarms=alarms).start()
    assert server.ask("alarm", "test") == [
        {"channel": "log", "ok": True, "fault": ""}, {"channel": "mail", "ok": True, "fault": ""},
    ]  # fmt: skip
    for number in range(5):
        server.send("a@fabrikam.test", f"x{number}@adatum.test", MESSAGE, "secured")
    arrived = sink.wait_for(lambda one: b"do not get through" in one.wire, 20)
    assert b"alarm:      peer_failures/Everything/[127.0.0.1]:%d" % dead in arrived.wire.replace(b"=\r\n", b"")
    server.configure({**server.settings, "send_connectors": []})
    server.reload()
    server.send("a@fabrikam.test", "y@adatum.test", MESSAGE, "secured")
    arrived = sink.wait_for(lambda one: b"without a route" in one.wire, 20)
    assert arrived.forward_paths == ["ops@adatum.test"]
    assert b"bridgehead queue show Unreachable" in arrived.wire
    [alarm] = [
        one
        for one in json.loads(server.command("alarm", "list", "--json").stdout)["alarms"]
        if one["id"] == "unreachable_queue"
    ]
    assert alarm["severity"] == "warning"
    silenced = server.ask("alarm", "silence", "unreachable_queue", "--for", "2h", "--reason", "known")
    assert (silenced["reason"], silenced["acknowledged"]) == ("known", False)
    assert b"silenced" in server.command("alarm", "list").stdout
    server.succeed("alarm", "unsilence", "unreachable_queue")


def test_a_peer_that_refuses_for_good_is_told_with_its_words_and_explained(make_server: MakeServer) -> None:
    """No queue is left then that could say why."""
    with Sink(on_rcpt=lambda _: "554 5.7.1 Your host is on our list") as refusing:
        server = make_server(refusing.port, alarms=alarm_settings(peer_failure_messages=3)).start()
        for number in range(3):
            server.send("a@fabrikam.test", f"x{number}@adatum.test", MESSAGE, "secured")
        queue = f"Everything/[127.0.0.1]:{refusing.port}"

        def listed() -> list[dict[str, Any]]:
            alarms = json.loads(server.command("alarm", "list", "--json").stdout)["alarms"]
            return [one for one in alarms if one["id"] == f"peer_failures/{queue}"]

        [alarm] = wait_until(listed, 15, "the alarm stands")
        assert "5.7.1 Your host is on our list" in alarm["text"]
        assert alarm["remedy"] == f"bridgehead why {shlex.quote(queue)}"
        verdicts = json.loads(server.command("why", queue, "--json").stdout)["verdicts"]
        assert [one["state"] for one in verdicts] == ["FAILED", "IDLE"]
        assert any("Your host is on our list" in line for line in verdicts[0]["proof"])


def test_a_webhook_is_told_and_told_again_after_its_failure(make_server: MakeServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    authority = Authority(tmp_path / "ca")
    context = authority.issue("localhost").server_context()
    with WebhookReceiver(context) as receiver:
        receiver.answers = [500]
        alarms = alarm_settings(
            webhook_url=receiver.url(host="localhost"), webhook_ca_file=str(authority.root),
            webhook_secret=f"file:{secret}",
        )  # fmt: skip
        server = make_server(alarms=alarms).start()
        server.send("a@fabrikam.test", "y@adatum.test", MESSAGE, "secured")
        wait_until(lambda: len(receiver.posted) >= 2, 25, "the alarm is posted, and again after the failure")
        told = receiver.wait_for("unreachable_queue", "raised")
        assert told["severity"] == "warning"
        assert told["remedy"] == "bridgehead queue show Unreachable"
        for post in receiver.posted:
            stamp, _, mark = post.headers["x-bridgehead-signature"].removeprefix("t=").partition(",v1=")
            assert mark == hmac.new(b"s3cret", stamp.encode() + b"." + post.body, hashlib.sha256).hexdigest()
        raised = [one for post in receiver.posted for one in post.notices if one["occasion"] == "raised"]
        assert len([one for one in raised if one["id"] == "unreachable_queue"]) == 2, "refused once, taken once"


def test_a_certificate_that_expires_is_an_alarm_until_it_is_renewed(make_server: MakeServer, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("mx.contoso.test", days=2)
    server = make_server(
        alarms=alarm_settings(),
        receive_connectors=[
            receive_connector(
                "tls", free_port(), **ANONYMOUS, tls_certificate_file=str(pair.certificate), tls_key_file=str(pair.key)
            ),
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED),
        ],
    ).start()
    found = json.loads(server.command("alarm", "list", "--json").stdout)["alarms"]
    [alarm] = [one for one in found if one["id"] == f"certificate/{pair.certificate}"]
    assert alarm["severity"] == "critical"
    assert 'receive connector "tls"' in alarm["text"]
    renewed = Authority(tmp_path / "new").issue("mx.contoso.test", days=400)
    pair.key.write_bytes(renewed.key.read_bytes())
    pair.certificate.write_bytes(renewed.certificate.read_bytes())
    wait_until(lambda: server.command("status").returncode == 0, 20, "the alarm is over")


def test_alarms_survive_a_restart(make_server: MakeServer) -> None:
    server = make_server(alarms=alarm_settings()).start()
    server.send("a@fabrikam.test", "y@adatum.test", MESSAGE, "secured")
    wait_until(lambda: b"unreachable_queue" in server.command("alarm", "list").stdout, 15, "the alarm stands")
    before = json.loads(server.command("alarm", "list", "--json").stdout)["alarms"]
    wait_until(lambda: "alarm unreachable_queue: WARNING:" in server.stderr(), 15, "it is told")
    server.succeed("alarm", "silence", "other", "--for", "1h")
    server.restart()
    after = json.loads(server.command("alarm", "list", "--json").stdout)
    assert [one["since"] for one in after["alarms"]] == [one["since"] for one in before]
    assert [one["pattern"] for one in after["silences"]] == ["other"]
    assert server.stderr().count("alarm unreachable_queue: WARNING:") == 1, "it is not told again"


def test_every_kind_of_metric_is_used() -> None:
    assert {metric.kind for metric in METRICS.values()} == set(Kind)
