# SPDX-License-Identifier: MIT
"""A real Prometheus scrapes a server at work and is asked everything that the Grafana dashboard asks."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.configuration import send_connector
from support.dashboard import DOCUMENT, queries
from support.ports import free_port, wait_until
from support.programs import end, program
from support.server import Server
from support.sink import Sink

MAY_BE_EMPTY = {"Time to drain A", "Share that does not get through A"}
"""Quotients whose divisor may be nothing: shown as a gap."""


class Prometheus:
    """One instance that scrapes one address each second."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port = free_port()
        settings = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "bridgehead", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The present result of a query, one element for each series."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            answer = json.load(urllib.request.urlopen(url, timeout=10))
        except urllib.error.URLError:
            return []  # it is about to start
        assert answer["status"] == "success"
        return list(answer["data"]["result"])

    def close(self) -> None:
        end(self._process)
        self._log.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, make_server: Callable[..., Server]) -> Iterator[Prometheus]:
    """Behind it a server that has delivered, relayed, refused and put off."""
    listen, dead = free_port(), free_port()
    with Sink() as sink:
        server = make_server(
            monitoring={"probe_listen": f"127.0.0.1:{listen}"},
            send_connectors=[
                send_connector("Good", sink.port, spaces=("good.test",)),
                send_connector("Dead", dead, spaces=("dead.test",)),
            ],
        )
        one = Prometheus(tmp_path_factory.mktemp("prometheus"), listen)
        try:
            wait_until(lambda: one.ask("bridgehead_info"), 60, "the first scrape")
            sent = "bridgehead_smtp_send_messages_total{connector='Good'}"
            # A series begins with its first event: a rate needs another one after the scrape that saw it.
            for _ in range(2):
                for recipient in ("x@good.test", "x@dead.test", "bob@contoso.test"):
                    server.send("a@contoso.test", recipient, connector="secured")
                wait_until(lambda: one.ask(sent), 60, "a scrape that saw mail sent")
            moving = f"rate({sent}[1m]) > 0"
            wait_until(lambda: one.ask(moving), 60, "a rate of mail sent")
            yield one
        finally:
            one.close()


@pytest.mark.parametrize(("title", "query"), queries(), ids=[title for title, _ in queries()])
def test_every_panel_has_something_to_show(prometheus: Prometheus, title: str, query: str) -> None:
    found = wait_until(lambda: prometheus.ask(query) or title in MAY_BE_EMPTY, 30, f"{title}: {query}")
    assert found


def test_the_servers_can_be_chosen(prometheus: Prometheus) -> None:
    """The dashboard's variable: the values of a label of a metric."""
    wanted = DOCUMENT["templating"]["list"][1]["query"]["query"]
    metric, label = wanted.removeprefix("label_values(").removesuffix(")").split(", ")
    [series] = prometheus.ask(metric)
    assert series["metric"][label].startswith("127.0.0.1:")
