# SPDX-License-Identifier: MIT
"""The management interface of a real server: who is let in, what each sees, what is recorded, and what ends with what."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bridgehead.admin.calls.client import ChannelClient
from bridgehead.admin.calls.control import channel_path
from bridgehead.admin.calls.routes import PREFIX, route_of
from bridgehead.admin.health.status import StatusReport
from bridgehead.admin.method import Role
from bridgehead.admin.methods.table import METHODS
from support.https import Reply, basic, request
from support.ports import free_port, wait_until
from support.server import Server

PASSWORD = "correct horse battery"
CANARY = "Canary-4711"


class Management:
    """A server with an interface on TCP, an administrator for each role, and queued mail."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = int(server.settings["api"]["binding"].rpartition(":")[2])

    def ask(self, verb: str, target: str, name: str = "", password: str = PASSWORD, **headers: str) -> Reply:
        fields = {
            **(basic(name, password) if name else {}),
            **{one.replace("_", "-"): text for one, text in headers.items()},
        }
        return request(self.port, self.server.data / "self-signed.crt", verb, target, fields)

    @property
    def audit(self) -> list[dict[str, Any]]:
        return list(self.server.ask("audit-log"))


@pytest.fixture(scope="module")
def management(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Management]:
    from support.configuration import EXTERNALLY_SECURED, base, receive_connector, send_connector

    directory = tmp_path_factory.mktemp("management")
    settings = base(directory)
    settings["receive_connectors"] = [receive_connector("secured", free_port(), **EXTERNALLY_SECURED)]
    settings["send_connectors"] = [send_connector("To internet/all", free_port())]
    settings["api"] = {"binding": f"127.0.0.1:{free_port()}"}
    with Server(directory / "server", settings) as server:
        for role in ("help-desk", "viewer", "operator", "administrator"):
            server.succeed(
                "administrator", "add", role, "--role", role, "--password-stdin", data=f"{PASSWORD}\n".encode()
            )
        server.send(
            "ann@contoso.test",
            "bob@example.net",
            f"Subject: {CANARY}\r\nFrom: <ann@contoso.test>\r\n\r\nhello\r\n".encode(),
        )
        wait_until(lambda: [one["status"] for one in server.queues()] == ["Retry"], 20, "the message waits")
        yield Management(server)


# --- who is let in --------------------------------------------------------------------------------------------------


def test_nobody_is_let_in_without_a_login(management: Management) -> None:
    reply = management.ask("GET", "/v1/queues")
    assert (reply.status, reply.json["code"]) == (401, "unauthenticated")
    assert "Basic" in reply.headers["www-authenticate"]


@pytest.mark.parametrize(("name", "password"), [("operator", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_login_is_refused_and_recorded(management: Management, name: str, password: str) -> None:
    assert management.ask("GET", "/v1/queues", name, password).status == 401
    record = management.audit[-1]
    assert (record["event"], record["caller"], record["outcome"]) == ("log-on", name, "unauthenticated")
    assert record["origin"].startswith("127.0.0.1:")


def test_a_token_stands_for_its_login_until_it_is_revoked(management: Management) -> None:
    made = management.server.ask("administrator", "token", "viewer", "--comment", "nightly")
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert management.ask("GET", "/v1/queues", **bearer).status == 200
    assert management.ask("POST", "/v1/reload", **bearer).status == 403
    management.server.succeed("administrator", "revoke", made["id"])
    assert management.ask("GET", "/v1/queues", **bearer).status == 401
    assert made["token"] not in json.dumps(management.audit)


def test_a_page_of_another_site_cannot_use_the_login_a_browser_remembers(management: Management) -> None:
    reply = management.ask("POST", "/v1/reload", "administrator", Origin="https://evil.example")
    assert (reply.status, reply.json["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in reply.headers


def test_plain_http_gets_nothing(management: Management) -> None:
    with socket.create_connection(("127.0.0.1", management.port), 10) as connection:
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert b"HTTP" not in connection.recv(100)
        except ConnectionResetError:
            pass


# --- what each sees and does ------------------------------------------------------------------------------------------


def real(management: Management) -> dict[str, str]:
    """What stands for the names in paths."""
    [message] = management.server.ask("message", "list")
    return {"name": message["queue"], "id": str(message["id"]), "identity": message["network_message_id"]}


def test_a_role_decides_what_is_done(management: Management) -> None:
    queue = quote(real(management)["name"], safe="")
    for role, status in (("help-desk", 403), ("viewer", 403), ("operator", 200)):
        assert management.ask("POST", f"/v1/queues/{queue}/suspend", role).status == status, role
        record = management.audit[-1]
        assert (record["method"], record["caller"], record["role"]) == ("queues.suspend", role, role)
        assert record["outcome"] == ("done" if status == 200 else "forbidden")
        assert record["parameters"] == {"name": real(management)["name"]}
    assert management.ask("POST", f"/v1/queues/{queue}/resume", "administrator").status == 200


def test_the_help_desk_sees_messages_and_no_subject_anywhere(management: Management) -> None:
    seen = 0
    for name, method in METHODS.items():
        route = route_of(method) if method.route else None
        if route is None or route.verb != "GET" or method.role > Role.HELP_DESK:
            continue
        target = PREFIX + route.path
        for parameter, value in real(management).items():
            target = target.replace(f"{{{parameter}}}", quote(value, safe=""))
        helped, shown = (management.ask("GET", target, role) for role in ("help-desk", "viewer"))
        assert helped.status == shown.status, f"{name}: {target}: {helped.body!r}"
        assert CANARY.encode() not in helped.body, name
        seen += CANARY.encode() in shown.body
    assert seen >= 2, "queues and messages show subjects to others"


def test_the_help_desk_cannot_search_for_subjects(management: Management) -> None:
    for query in ("/v1/messages?subject=Canary*", "/v1/messages?filter=Subject%20-like%20%22Canary*%22"):
        assert management.ask("GET", query, "help-desk").status == 403


def test_the_network_message_id_finds_the_message_through_a_path(management: Management) -> None:
    reply = management.ask("GET", f"/v1/messages/{real(management)['identity']}", "viewer")
    assert CANARY in reply.json[0]["message"]["subject"]


# --- this machine's accounts ------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may pass through; those of pytest are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o711)
        yield Path(name)


AS_NOBODY = """
import os, sys, http.client, socket
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX); connection.sock.connect(sys.argv[1])
for verb, target in (("GET", "/v1/queues"), ("POST", "/v1/reload")):
    connection.request(verb, target); answer = connection.getresponse(); answer.read(); print(answer.status)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another account")
@pytest.mark.parametrize(
    ("roles", "statuses"),
    [
        ({}, None),
        ({"local_administrators": ["daemon"]}, ["403", "403"]),
        ({"local_viewers": ["nobody"]}, ["200", "403"]),
        ({"local_help_desk": ["nobody"], "local_administrators": ["group:nogroup"]}, ["200", "200"]),
    ],
)
def test_accounts_of_this_machine_have_the_roles_they_are_given(
    make_server: Callable[..., Server], open_folder: Path, roles: dict[str, list[str]], statuses: list[str] | None
) -> None:
    path = open_folder / "control.sock"
    with make_server(api=roles, server={"control_socket": str(path)}) as server:
        assert server.ask("status")["healthy"]
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
        if statuses is None:
            assert "PermissionError" in done.stderr
            return
        assert done.stdout.split() == statuses, done.stderr
        refused = [one["caller"] for one in server.ask("audit-log") if one["outcome"] == "forbidden"]
        assert refused == ["nobody"] * statuses.count("403")


# --- two processes --------------------------------------------------------------------------------------------------


def children(server: Server) -> list[int]:
    """Process ids of the interface."""
    assert server.process is not None
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == server.process.pid and b"bridgehead.admin.api" in line:
            found.append(int(folder.name))
    return found


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_interface_does_not_outlive_a_server_that_is_killed(make_server: Callable[..., Server]) -> None:
    with make_server() as server:
        server.ask("status")
        [pid] = children(server)
        server.kill()
        wait_until(lambda: gone(pid), 15, "the interface has ended")


def test_mail_goes_on_and_status_says_so_while_the_interface_is_down(make_server: Callable[..., Server]) -> None:
    with make_server() as server:
        server.ask("status")
        [pid] = children(server)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "started again" in server.stderr(), 15, server.stderr)
        with ChannelClient(channel_path(server.data / "control.sock"), 10) as channel:
            report = channel.call("server.status", None, StatusReport)
        assert any("management interface ended by signal 9" in alarm for alarm in report.alarms)
        server.send("ann@contoso.test", "bob@contoso.test", connector="secured")
        assert server.ask("status")["healthy"], "the command waited for the new process"
        assert children(server) != [pid]


def test_a_command_right_after_the_start_waits_for_the_interface(make_server: Callable[..., Server]) -> None:
    with make_server() as server:
        assert server.ask("queue", "list") == []


def test_a_reload_is_recorded_with_the_account_that_asked(make_server: Callable[..., Server]) -> None:
    with make_server() as server:
        server.reload()
        [record] = server.ask("audit-log")
        assert (record["method"], record["caller"], record["origin"]) == ("server.reload", "root", "local")
