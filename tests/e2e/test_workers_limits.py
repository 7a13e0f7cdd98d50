# SPDX-License-Identifier: MIT
"""What is limited for one client is limited over all workers: connections, messages, devices, failed logons."""

import base64
import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support.configuration import CLIENT, EXTERNALLY_SECURED, receive_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk
from support.workers import alone, sessions, workers

MakeServer = Callable[..., Server]


def test_connections_of_one_source(make_server: MakeServer) -> None:
    secured = receive_connector("secured", free_port(), **EXTERNALLY_SECURED) | {"max_inbound_connection_per_source": 3}
    with make_server(server={"workers": 2}, receive_connectors=[secured]) as server:
        port = server.port("secured")
        with sessions(server):
            with Talk(port) as third:
                third.hello()
                for pid in workers(server):
                    with alone(server, pid), Talk(port) as refused:
                        assert refused.greeting.matches("421 4.3.2*")
                with Talk(port, source="127.0.0.9") as another:
                    another.hello()
            wait_until(lambda: is_greeted(port), 15, "a place is free again")
        first = workers(server)[0]
        with alone(server, first), Talk(port), Talk(port), Talk(port):
            os.kill(first, signal.SIGKILL)  # what it held is free
        wait_until(lambda: first not in (found := workers(server)) and len(found) == 2, 30, server.stderr)
        with Talk(port) as one, Talk(port) as two, Talk(port) as three:
            assert all(talk.greeting.matches("220 *") for talk in (one, two, three))


def is_greeted(port: int) -> bool:
    with Talk(port) as talk:
        return talk.greeting.matches("220 *")


@pytest.mark.parametrize("of_device", [False, True])
def test_messages_in_a_minute(make_server: MakeServer, sink: Sink, of_device: bool) -> None:
    limit = {"message_rate_limit": 3}
    secured = receive_connector("secured", free_port(), **EXTERNALLY_SECURED)
    devices = [
        {"name": "printer", "remote_ip_ranges": ["127.0.0.1"], "allowed_senders": ["*@fabrikam.test"],
         "allowed_recipients": ["*@adatum.test"], **limit}
    ]  # fmt: skip
    changes = {"devices": devices} if of_device else {}
    if not of_device:
        secured |= limit | {"message_rate_source": "IPAddress"}
    with (
        make_server(sink.port, server={"workers": 2}, receive_connectors=[secured], **changes) as server,
        sessions(server) as talks,
    ):
        for number in range(3):
            talks[number % 2].message("a@fabrikam.test", "x@adatum.test", b"Subject: x\r\n\r\n")
        for talk in talks:
            talk.expect("MAIL FROM:<a@fabrikam.test>", "421 4.4.2*")


def log_in(server: Server, pid: int, password: str) -> str:
    """One logon of Ann with one of the workers."""
    with alone(server, pid):
        client = server.smtp("clients")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with client:
        client.starttls(context=context)
        client.ehlo()
        secret = base64.b64encode(f"\0ann\0{password}".encode()).decode()
        return str(client.docmd("AUTH", f"PLAIN {secret}")[0])


def test_failed_logons(make_server: MakeServer) -> None:
    server = make_server(
        server={"workers": 2}, lockout={"account_lockout_threshold": 4, "lockout_duration": 600},
        receive_connectors=[receive_connector("clients", free_port(), **CLIENT)],
    )  # fmt: skip
    UserFile(Path(server.settings["directory"]["users_file"]), 4096).add(
        "ann", Secret("pencil"), addresses=["ann@contoso.test"]
    )
    with server:
        pids = workers(server, 2)
        assert [log_in(server, pids[number % 2], "guess") for number in range(4)] == ["535"] * 4
        assert [log_in(server, pid, "pencil") for pid in pids] == ["535"] * 2
        (lock,) = server.ask("lockout", "list")
        assert (lock["account"], lock["failures"]) == ("ann", 4)
        os.kill(pids[1], signal.SIGKILL)
        wait_until(lambda: pids[1] not in (found := workers(server)) and len(found) == 2, 30, server.stderr)
        anew = workers(server, 2)
        assert [log_in(server, pid, "pencil") for pid in anew] == ["535"] * 2
        server.succeed("lockout", "lift", "ann")
        assert [log_in(server, pid, "pencil") for pid in anew] == ["235"] * 2
        assert server.ask("lockout", "list") == []
