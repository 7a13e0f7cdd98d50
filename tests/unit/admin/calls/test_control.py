# SPDX-License-Identifier: MIT
import asyncio
import json
import os
import pwd
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.calls.client import ChannelClient
from bridgehead.admin.calls.control import ControlServer
from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault, ServerNotRunning
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.mail.limits import CONTROL_CONNECTIONS, CONTROL_REQUEST_BYTES


class Text(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""


async def shout(_: Any, params: Text, caller: Caller) -> list[str]:
    if params.text == "fault":
        raise AdminFault(NOT_FOUND, "there is no such thing", "look elsewhere")
    if params.text == "bug":
        raise RuntimeError("oops\r\nforged")
    if params.text == "who":
        return [caller.name]
    if params.text == "unfit":
        return [object()]  # type: ignore[list-item]
    return [params.text.upper()]


METHODS = {
    "shout": Method(params=Text, result=list[str], answer=shout, role=Role.VIEWER, route="GET /shout"),
}
NO_SERVER: Any = None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
async def server(path: Path) -> Any:
    server = ControlServer(lambda: METHODS, NO_SERVER, path, interface_pid=os.getpid)
    await server.start()
    yield server
    await server.close()


async def call(path: Path, text: str) -> list[str]:
    def blocking() -> list[str]:
        with ChannelClient(path, 10) as client:
            return client.call("shout", Text(text), list[str])

    return await asyncio.to_thread(blocking)


async def raw(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Everything that the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    try:
        await writer.drain()
        writer.write_eof()
    except (ConnectionError, RuntimeError):
        pass
    answer = await reader.read()
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass
    return [json.loads(line) for line in answer.splitlines()]


async def test_a_call_is_answered_with_its_result(server: ControlServer, path: Path) -> None:
    assert await call(path, "größe\n") == ["GRÖSSE\n"]


async def test_one_connection_serves_many_calls(server: ControlServer, path: Path) -> None:
    def blocking() -> list[list[str]]:
        with ChannelClient(path, 10) as client:
            return [client.call("shout", Text(str(number)), list[str]) for number in range(200)]

    assert await asyncio.to_thread(blocking) == [[str(number)] for number in range(200)]


async def test_a_fault_reaches_the_caller_with_code_and_remedy(server: ControlServer, path: Path) -> None:
    with pytest.raises(AdminFault) as caught:
        await call(path, "fault")
    assert (caught.value.code, caught.value.message, caught.value.remedy) == (
        NOT_FOUND,
        "there is no such thing",
        "look elsewhere",
    )


@pytest.mark.parametrize("word", ["bug", "unfit"])
async def test_an_exception_in_a_method_is_answered_and_the_server_goes_on(
    server: ControlServer, path: Path, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AdminFault, match="shout failed"):
        await call(path, word)
    assert await call(path, "on") == ["ON"]
    assert "the command shout failed" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"id":"x","method":"shout"}',
        b'{"id":1,"method":"shout","params":{"text":"\xff"}}',
        b'{"id":1,"method":"shout","params":{"text":7}}',
        b'{"id":1,"method":"shout","params":{"txt":"x"}}',
        b'{"id":1,"method":"shout","params":' + b"[" * 100_000 + b"}",
    ],
)
async def test_garbage_is_answered_as_invalid_and_the_connection_goes_on(
    server: ControlServer, path: Path, line: bytes
) -> None:
    answers = await raw(path, line + b'\n{"id":2,"method":"shout","params":{"text":"on"}}\n')
    assert answers[0]["error"]["code"] == INVALID
    assert answers[1] == {"id": 2, "result": ["ON"]}


async def test_an_unknown_method_is_named_without_its_control_characters(server: ControlServer, path: Path) -> None:
    (answer,) = await raw(path, b'{"id":3,"method":"no\\u001b[2Jsuch"}\n')
    assert answer["id"] == 3
    assert answer["error"]["code"] == "unknown_method"
    assert "\x1b" not in answer["error"]["message"]


async def test_an_oversize_request_is_refused_and_the_connection_closed(server: ControlServer, path: Path) -> None:
    request = b'{"id":1,"method":"shout","params":{"text":"%s"}}\n' % (b"x" * CONTROL_REQUEST_BYTES)
    answers = await raw(path, request)
    assert [answer["error"]["code"] for answer in answers] == ["too_large"]
    assert await call(path, "on") == ["ON"]


async def test_a_request_of_nearly_full_size_is_served(server: ControlServer, path: Path) -> None:
    text = "x" * (CONTROL_REQUEST_BYTES - 200)
    assert await call(path, text) == [text.upper()]


async def test_connections_are_bounded_and_free_again_afterwards(server: ControlServer, path: Path) -> None:
    idle = [await asyncio.open_unix_connection(str(path)) for _ in range(CONTROL_CONNECTIONS)]
    (answer,) = await raw(path, b"")
    assert "at work already" in answer["error"]["message"]
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(10):
        while await raw(path, b'{"id":1,"method":"shout"}\n') != [{"id": 1, "result": [""]}]:
            await asyncio.sleep(0)


async def test_the_socket_is_for_its_owner_alone(server: ControlServer, path: Path) -> None:
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another account")
async def test_another_account_is_refused_even_where_it_reaches_the_socket(server: ControlServer, path: Path) -> None:
    os.chmod(path, 0o666)
    for folder in (path.parent, *path.parent.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            os.chmod(folder, folder.stat().st_mode | 0o011)
    child = await asyncio.create_subprocess_exec(
        "python3", "-c",
        "import os,socket,sys;os.setuid(65534);s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
        'print(s.makefile().readline())',
        str(path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await child.communicate()
    assert json.loads(output)["error"]["code"] == "forbidden"


async def test_the_socket_of_a_dead_server_is_replaced(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = ControlServer(lambda: METHODS, NO_SERVER, path)
    await server.start()
    assert await call(path, "on") == ["ON"]
    await server.close()


async def test_a_living_servers_socket_is_left_alone(server: ControlServer, path: Path) -> None:
    with pytest.raises(AdminFault, match="another server"):
        await ControlServer(lambda: METHODS, NO_SERVER, path).start()
    assert await call(path, "on") == ["ON"]


async def test_a_file_in_the_sockets_place_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(AdminFault, match="not a socket"):
        await ControlServer(lambda: METHODS, NO_SERVER, path).start()
    assert path.read_text() == "precious"


async def test_close_removes_the_socket_and_ends_idle_connections(path: Path) -> None:
    server = ControlServer(lambda: METHODS, NO_SERVER, path)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"id":1,"method":"shout"}\n')
    await reader.readline()
    await server.close()
    assert await reader.read() == b""
    assert not path.exists()
    writer.close()
    await writer.wait_closed()


async def test_a_path_too_long_for_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    server = ControlServer(lambda: METHODS, NO_SERVER, folder / "control.sock")
    await server.start()
    assert await call(folder / "control.sock", "on") == ["ON"]
    await server.close()


@pytest.mark.parametrize("left_behind", [False, True])
def test_without_a_server_the_caller_is_told_how_to_start_it(path: Path, left_behind: bool) -> None:
    if left_behind:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    with pytest.raises(ServerNotRunning) as caught:
        ChannelClient(path).call("shout", None, list[str])
    assert "The server is not running" in caught.value.message
    assert "bridgehead run" in caught.value.remedy


async def test_a_result_of_another_shape_is_a_fault_not_a_crash(server: ControlServer, path: Path) -> None:
    def blocking() -> int:
        with ChannelClient(path, 10) as client:
            return client.call("shout", Text("x"), int)

    with pytest.raises(AdminFault, match="unexpected"):
        await asyncio.to_thread(blocking)


def test_a_server_that_never_answers_is_given_up(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(AdminFault, match="did not answer"):
            ChannelClient(path, 0.05).call("shout", None, list[str])


async def test_the_caller_is_the_account_at_the_other_end(server: ControlServer, path: Path) -> None:
    assert await call(path, "who") == [pwd.getpwuid(os.geteuid()).pw_name]


async def test_the_http_interface_names_the_caller_it_speaks_for(server: ControlServer, path: Path) -> None:
    request = {"id": 1, "method": "shout", "params": {"text": "who"}, "caller": {"name": "anna", "role": 2}}
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(json.dumps(request).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    assert answer["result"] == ["anna"]


async def test_only_the_process_of_the_interface_names_callers(path: Path) -> None:
    server = ControlServer(lambda: METHODS, NO_SERVER, path, interface_pid=lambda: os.getpid() + 1)
    await server.start()
    request = b'{"id":1,"method":"shout","caller":{"name":"anna","role":4}}\n{"id":2,"method":"shout"}\n'
    refused, own = await raw(path, request)
    assert refused["error"]["code"] == "forbidden"
    assert own == {"id": 2, "result": [""]}
    await server.close()


HEIR = """
import os, socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
if os.fork():
    os._exit(0)
print("inherited", flush=True)
sys.stdin.read()
"""


async def test_a_dead_servers_socket_is_replaced_while_its_heir_still_ends(path: Path) -> None:
    # Not asyncio's: its wait() may wait for the pipes as well, which the heir keeps.
    with subprocess.Popen(
        ["python3", "-c", HEIR, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as heir:  # fmt: skip
        assert heir.stdin is not None
        assert heir.stdout is not None
        assert await asyncio.to_thread(heir.stdout.readline) == b"inherited\n"
        await asyncio.to_thread(heir.wait)
        server = ControlServer(lambda: METHODS, NO_SERVER, path)
        await server.start()
        assert await call(path, "on") == ["ON"]
        await server.close()
        heir.stdin.close()
        await asyncio.to_thread(heir.stdout.read)  # until the heir has ended, too
