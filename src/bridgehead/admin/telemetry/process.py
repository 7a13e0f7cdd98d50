# SPDX-License-Identifier: MIT
"""The process that sends numbers: asks the one that moves mail for a snapshot, posts it, waits, and begins again.

One snapshot at a time and none kept: a collector that is down or slow costs this process its time and nobody else
anything. It ends with its parent.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.calls.channel import Request
from bridgehead.admin.faults import AdminFault, ServerNotRunning
from bridgehead.admin.health.metrics import MetricsSnapshot
from bridgehead.admin.telemetry.conversion import metrics_data
from bridgehead.admin.telemetry.orders import Orders, Outcome
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.net.secrets import read_secret

_NICE: Final = 10
_PATH: Final = "/v1/metrics"
_SECONDS: Final = 10.0
"""For the collector to take one snapshot, attempts again included."""


class SendFailed(Exception):
    """The collector did not take the numbers; the message says why."""


class _Reasons(logging.Handler):
    """Keeps what the exporter would log first of an attempt: the reason is told once, by the parent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it; what follows tells of further tries only."""
        self.first = (
            self.first or record.getMessage().removeprefix("Transient error ").partition(" encountered while")[0]
        )


class Collector:
    """Where numbers go. Secret and trust anchors are read anew each time, so that they can be exchanged."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._reasons = _Reasons()
        exporter = logging.getLogger("opentelemetry")
        exporter.handlers, exporter.propagate = [self._reasons], False
        self._ca_file = str(Path(orders.directory) / orders.ca_file) if orders.ca_file else None
        if self._ca_file:
            # The library behind the exporter lets this variable win over what it is told.
            os.environ["REQUESTS_CA_BUNDLE"] = self._ca_file

    def send(self, data: MetricsData) -> None:
        """Post one snapshot; at most some seconds. Raises SendFailed."""
        orders, headers = self._orders, {}
        self._reasons.first = ""
        try:
            if orders.authorization:
                headers["Authorization"] = read_secret(orders.authorization, Path(orders.directory)).reveal()
            exporter = OTLPMetricExporter(
                endpoint=orders.endpoint if urlsplit(orders.endpoint).path.strip("/") else orders.endpoint + _PATH,
                certificate_file=self._ca_file, headers=headers, timeout=_SECONDS, compression=Compression.Gzip,
            )  # fmt: skip
            try:
                result = exporter.export(data)
            finally:
                exporter.shutdown()
        except Exception as error:  # whatever a library finds wrong with a URL, a file or an answer
            raise SendFailed(str(error)) from None
        if result is not MetricExportResult.SUCCESS:
            raise SendFailed(self._reasons.first or "it was not taken")


def main() -> None:
    """Send until standard input ends."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        os.nice(_NICE)
    except OSError:
        pass  # a service manager may forbid it
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    threading.Thread(target=_watch_parent, daemon=True).start()
    asyncio.run(_run(orders))


async def _run(orders: Orders) -> None:
    core, collector = Core(Path(orders.channel)), Collector(orders)
    while True:
        began = time.monotonic()
        try:
            answer = await core.ask(Request(id=0, method="metrics.snapshot"))
            snapshot = msgspec.json.decode(answer.result, type=MetricsSnapshot)
            collector.send(metrics_data(snapshot, orders.fqdn, time.time()))
        except ServerNotRunning:
            pass  # it is about to end, or not yet ready
        except (SendFailed, AdminFault) as error:
            _tell(Outcome(clean_text(str(error), LOGGED_TEXT) or type(error).__name__))
        else:
            _tell(Outcome())
        await asyncio.sleep(max(0.0, orders.interval - (time.monotonic() - began)))


def _tell(outcome: Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def _watch_parent() -> None:
    """End with the parent, however that came about."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)
