# SPDX-License-Identifier: MIT
"""Numbers sent to an OpenTelemetry collector: the real exporter posts, the protocol's own definitions read it."""

import gzip
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client.parser import text_string_to_metric_families

from support.certificates import Authority
from support.configuration import to_toml
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.webhook_receiver import Posted, WebhookReceiver

MakeServer = Callable[..., Server]
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def request_of(posted: Posted) -> ExportMetricsServiceRequest:
    body = gzip.decompress(posted.body) if posted.headers.get("content-encoding") == "gzip" else posted.body
    return ExportMetricsServiceRequest.FromString(body)


def exported(posted: Posted) -> Values:
    """Every value; of histograms count, sum and cumulative buckets, as Prometheus has them."""
    found: Values = {}
    [resource] = request_of(posted).resource_metrics
    [scope] = resource.scope_metrics
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            labels = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
            if kind != "histogram":
                found[metric.name, labels] = point.as_double or float(point.as_int)
                continue
            found[f"{metric.name}_count", labels] = point.count
            found[f"{metric.name}_sum", labels] = point.sum
            assert not point.HasField("min")
            total = 0
            for bound, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
                total += count
                found[f"{metric.name}_bucket", tuple(sorted((*labels, ("le", repr(bound)))))] = total
    return found


def scraped(port: int) -> Values:
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return {
        (
            sample.name,
            tuple(sorted((name, "inf" if text == "+Inf" else text) for name, text in sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def received(posted: Posted) -> float:
    return exported(posted).get(("bridgehead_messages_submitted_total", ()), 0.0)


def test_the_collector_gets_the_numbers_of_the_page_under_their_names(make_server: MakeServer, sink: Sink) -> None:
    port = free_port()
    with WebhookReceiver() as collector:
        monitoring = {
            "probe_listen": f"127.0.0.1:{port}", "otlp_endpoint": f"http://127.0.0.1:{collector.port}", "otlp_interval": 1,
        }  # fmt: skip
        server = make_server(sink.port, monitoring=monitoring).start()
        server.send("a@fabrikam.test", "bob@contoso.test")
        server.send("a@contoso.test", "anna@adatum.test", connector="secured")
        server.wait_for_event("DELIVER")
        server.wait_for_event("SEND")
        wait_until(lambda: collector.posted and received(collector.posted[-1]) == 2, 30, "both messages in an export")
        page = scraped(port)
        last = collector.posted[-1]
    numbers = exported(last)
    assert last.path == "/v1/metrics"
    assert set(numbers) == set(page)
    for name in ("bridgehead_messages_submitted_total", "bridgehead_commit_group_size_count"):
        assert numbers[name, ()] == page[name, ()] > 0
    hop = (("connector", "Everything"), ("destination", "[127.0.0.1]"))
    same = [key for key in numbers if key[0].startswith("bridgehead_end_to_end_seconds")]
    assert same
    assert {key: numbers[key] for key in same} == {key: page[key] for key in same}, hop
    [resource] = request_of(last).resource_metrics
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (named["service.name"], named["service.instance.id"]) == ("bridgehead", "mx.contoso.test")
    metrics = {one.name: one for one in resource.scope_metrics[0].metrics}
    submitted = metrics["bridgehead_messages_submitted_total"].sum
    assert submitted.is_monotonic
    assert submitted.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert 0 < submitted.data_points[0].start_time_unix_nano < submitted.data_points[0].time_unix_nano
    assert metrics["bridgehead_end_to_end_seconds"].unit == "s"
    assert metrics["bridgehead_smtp_receive_bytes_total"].unit == "By"


def test_a_collector_that_is_away_is_counted_and_logged_once(make_server: MakeServer) -> None:
    port, gone = free_port(), free_port()
    monitoring = {"probe_listen": f"127.0.0.1:{port}", "otlp_endpoint": f"http://127.0.0.1:{gone}", "otlp_interval": 1}
    server = make_server(monitoring=monitoring).start()

    def exports(outcome: str) -> float:
        return scraped(port)["bridgehead_otlp_exports_total", (("outcome", outcome),)]

    wait_until(lambda: exports("failed") >= 2, 60, "two attempts that failed")
    assert server.stderr().count("numbers cannot be exported") == 1
    assert "Connection refused" in server.stderr()
    assert exports("sent") == 0
    server.send("a@fabrikam.test", "bob@contoso.test")
    server.wait_for_mail("bob")
    with WebhookReceiver(port=gone) as collector:
        wait_until(lambda: collector.posted, 30, "an export")
        wait_until(lambda: exports("sent") >= 1, 10, "it is counted")
    assert f"numbers are exported to http://127.0.0.1:{gone} again" in server.stderr()


def test_a_reload_begins_moves_and_ends_the_export(make_server: MakeServer) -> None:
    server = make_server().start()

    def export_to(port: int) -> None:
        monitoring = {"otlp_endpoint": f"http://127.0.0.1:{port}", "otlp_interval": 1} if port else {}
        server.configure({**server.settings, "monitoring": monitoring})
        server.reload()

    with WebhookReceiver() as first, WebhookReceiver() as second:
        export_to(first.port)
        wait_until(lambda: first.posted, 30, "an export")
        export_to(second.port)
        before = len(first.posted)
        wait_until(lambda: len(second.posted) >= 2, 30, "two exports")
        assert len(first.posted) == before
        export_to(0)
        assert "bridgehead.admin.telemetry" not in running_programs(server)


def running_programs(server: Server) -> str:
    """Command lines of the server's own processes."""
    pid = server.ask("status")["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ") for one in children)


def test_a_collector_that_never_answers_holds_up_nobody(make_server: MakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monitoring = {"otlp_endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}", "otlp_interval": 1}
        server = make_server(monitoring=monitoring).start()
        silent.settimeout(30)
        held, _ = silent.accept()
        with held:
            server.send("a@fabrikam.test", "bob@contoso.test")
            server.wait_for_mail("bob")
            assert server.stop() == 0


def test_a_token_goes_under_tls_to_a_collector_whose_certificate_is_trusted(
    make_server: MakeServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    token = tmp_path / "token"
    token.write_text("Bearer one\n")
    with WebhookReceiver(authority.issue("localhost").server_context()) as collector:
        monitoring = {
            "otlp_endpoint": f"https://localhost:{collector.port}/api/v1/otlp/metrics", "otlp_interval": 1,
            "otlp_authorization": f"file:{token}", "otlp_ca_file": str(authority.root),
        }  # fmt: skip
        server = make_server(monitoring=monitoring).start()
        wait_until(lambda: collector.posted, 30, lambda: f"an export: {server.stderr()}")
        assert collector.posted[0].path == "/api/v1/otlp/metrics"
        assert collector.posted[0].headers["authorization"] == "Bearer one"
        token.write_text("Bearer two\n")
        wait_until(lambda: collector.posted[-1].headers["authorization"] == "Bearer two", 30, "the token anew")
        assert "Bearer" not in server.stderr()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"otlp_endpoint": "collector:4318"}, "no http:// or https:// address"),
        ({"otlp_endpoint": "http://collector.test:4318", "otlp_authorization": "env:HOME"}, "under TLS only"),
        ({"otlp_endpoint": "https://collector.test", "otlp_authorization": "Bearer secret"}, "otlp_authorization"),
        ({"otlp_endpoint": "https://collector.test", "otlp_interval": 0}, "otlp_interval"),
    ],
)
def test_mistakes_are_named(make_server: MakeServer, settings: dict[str, object], words: str) -> None:
    server = make_server()
    server.config.write_text(to_toml({**server.settings, "monitoring": settings}))
    done = server.command("check")
    assert done.returncode == 1
    assert words in done.stdout.decode()


def test_without_the_libraries_the_remedy_is_named(make_server: MakeServer, tmp_path: Path) -> None:
    """As on a machine without the extra: a module that cannot be found stands before the real one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'opentelemetry':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    server = make_server()
    server.config.write_text(to_toml({**server.settings, "monitoring": {"otlp_endpoint": "http://127.0.0.1:4318"}}))
    done = server.command("check", environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "pip install 'bridgehead[opentelemetry]'" in done.stdout.decode()
