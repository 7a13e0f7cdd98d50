# SPDX-License-Identifier: MIT
"""A reload opens, moves and closes the sockets of the management interface and of probes, all of them or none."""

import http.client
import json
import socket
import stat
from collections.abc import Callable

import pytest

from support.configuration import send_connector
from support.https import request
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink

MakeServer = Callable[..., Server]
MESSAGE = b"From: a@fabrikam.test\r\nSubject: still here\r\n\r\nhello\r\n"


def lives(port: int) -> bool:
    """Does the socket for probes answer there?"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def asks_who(server: Server, port: int) -> bool:
    """Does the management interface answer there, over TLS?"""
    try:
        return request(port, server.data / "self-signed.crt", "GET", "/v1/queues", {}).status == 401
    except ConnectionError:
        return False


def reloaded(server: Server, *, probe: int = 0, api: int = 0, **api_settings: object) -> dict[str, list[str]]:
    settings = {name: table for name, table in server.settings.items() if name not in ("api", "monitoring")}
    settings["monitoring"] = {"probe_listen": f"127.0.0.1:{probe}" if probe else ""}
    settings["api"] = {"binding": f"127.0.0.1:{api}" if api else "", **api_settings}
    server.configure(settings)
    done = server.command("reload", "--json")
    found: dict[str, list[str]] = json.loads(done.stdout or done.stderr)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_listeners_follow_the_configuration(make_server: MakeServer, workers: int) -> None:
    server = make_server(server={"workers": workers}).start()
    pid = server.ask("status")["pid"]
    first, second, api = free_port(), free_port(), free_port()
    outcome = reloaded(server, probe=first, api=api)
    assert outcome["changes"] == ["api changed", "monitoring changed"]
    assert outcome["needs_restart"] == []
    assert lives(first)
    assert asks_who(server, api)

    reloaded(server, probe=second, api=api, local_viewers=["nobody"])
    assert lives(second)
    assert asks_who(server, api)
    wait_until(lambda: not lives(first), 20, "the former socket is closed")
    assert stat.S_IMODE((server.data / "control.sock").stat().st_mode) == 0o666

    reloaded(server)
    wait_until(lambda: not lives(second) and not asks_who(server, api), 20, "both are closed")
    assert stat.S_IMODE((server.data / "control.sock").stat().st_mode) == 0o600
    server.send("a@fabrikam.test", "bob@contoso.test", MESSAGE, "secured")
    server.wait_for_event("DELIVER")
    assert server.ask("status")["pid"] == pid
    assert "management interface" not in server.stderr()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_cannot_be_opened_changes_nothing(make_server: MakeServer, workers: int) -> None:
    first, api, other = free_port(), free_port(), free_port()
    probes = {"probe_listen": f"127.0.0.1:{first}"}
    server = make_server(server={"workers": workers}, monitoring=probes).start()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        outcome = reloaded(server, probe=taken, api=api)
        assert outcome["problems"] == [f"monitoring.probe_listen: 127.0.0.1:{taken}: Address already in use"]
        assert lives(first)
        assert not asks_who(server, api)
        outcome = reloaded(server, probe=other, api=taken)
        assert outcome["problems"] == [f"api.binding: 127.0.0.1:{taken}: Address already in use"]
        assert lives(first)
        assert not lives(other)
    reloaded(server, probe=other, api=taken)
    assert lives(other)
    assert asks_who(server, taken)


def test_numbers_of_next_hops_follow_the_configuration(make_server: MakeServer, sink: Sink) -> None:
    port = free_port()
    probes = {"probe_listen": f"127.0.0.1:{port}"}
    connectors = [
        send_connector("First", sink.port),
        send_connector("Second", sink.port, address_spaces=["second.test"]),
        send_connector("Third", sink.port, address_spaces=["third.test"]),
    ]
    server = make_server(monitoring={**probes, "destinations": 1}, send_connectors=connectors).start()

    def counted(connector: str, destination: str) -> bool:
        label = f'end_to_end_seconds_count{{connector="{connector}",destination="{destination}"}}'
        return label.encode() in page(port)

    own = f"[127.0.0.1]:{sink.port}"
    for recipient in ("anna@first.test", "anna@second.test"):
        server.send("a@contoso.test", recipient, connector="secured")
        server.wait_for_event("SEND", recipient_address=recipient)
    wait_until(lambda: counted("First", own) and counted("Second", "other"), 20, "one of two has its own")
    server.configure({**server.settings, "monitoring": {**probes, "destinations": 5}})
    server.reload()
    server.send("a@contoso.test", "anna@third.test", connector="secured")
    wait_until(lambda: counted("Third", own), 20, "a third one has its own")


def page(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()
