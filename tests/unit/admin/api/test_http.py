# SPDX-License-Identifier: MIT
"""What clients that are slow, greedy or malformed get."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.api import http
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.mail.limits import API_CONNECTIONS, API_HEADER_BYTES
from support.interface import serving


async def hello(_: Any, __: NoParameters, caller: Caller) -> str:
    return caller.name


METHODS = {"hello": Method(params=NoParameters, result=str, answer=hello, role=Role.VIEWER, route="GET /hello")}
REQUEST = b"GET /v1/hello HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    monkeypatch.setattr(http, "API_REQUEST_SECONDS", 0.3)
    async with serving(METHODS, None, tmp_path / "control.sock"):
        yield tmp_path / "control.sock"


async def say(path: Path, data: bytes) -> bytes:
    """Everything that is said to this until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"GET", REQUEST, b"PUT /v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
     REQUEST + b"\r\n" + b"GET /v1/he"],
)  # fmt: skip
async def test_a_request_that_does_not_come_whole_ends_the_connection(path: Path, data: bytes) -> None:
    await say(path, data)  # returns when the connection is over; else the time is up


async def test_a_connection_that_asks_again_and_again_stays(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    for _ in range(5):
        writer.write(REQUEST + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
        await asyncio.sleep(0.1)  # together longer than one request may take
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n",
     b"GET /v1/hello HTTP/1.1\r\n\r\n", b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
)  # fmt: skip
async def test_what_is_no_http_is_refused(path: Path, data: bytes) -> None:
    assert (await say(path, data)).startswith(b"HTTP/1.1 400 ")


async def test_header_fields_without_end_are_refused(path: Path) -> None:
    answer = await say(path, b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nA: " + b"x" * (16 * API_HEADER_BYTES))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


async def test_connections_are_bounded_and_free_again_afterwards(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "API_REQUEST_SECONDS", 60)
    idle = [await asyncio.open_unix_connection(str(path)) for _ in range(API_CONNECTIONS)]
    whole = REQUEST + b"Connection: close\r\n\r\n"
    assert (await say(path, whole)).startswith(b"HTTP/1.1 503 ")
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(10):
        while not (await say(path, whole)).startswith(b"HTTP/1.1 200 "):
            await asyncio.sleep(0)


async def test_the_answer_names_no_software_and_lets_no_other_site_in(path: Path) -> None:
    answer = (await say(path, REQUEST + b"Origin: https://evil.example\r\nConnection: close\r\n\r\n")).lower()
    assert answer.startswith(b"http/1.1 200 ")
    assert b"\r\nserver:" not in answer
    assert b"access-control" not in answer


def test_the_table_is_decodable_by_clients() -> None:
    """Every parameter of a GET can be written in a query and read back as it was."""
    from bridgehead.admin.api.parameters import field_types, from_query
    from bridgehead.admin.calls.routes import request_for, route_of
    from bridgehead.admin.methods.table import METHODS as TABLE

    for name, method in TABLE.items():
        route = route_of(method) if method.route else None
        if route is None or route.has_body:
            continue
        values = dict.fromkeys(route.in_path)
        params = method.params(
            **{field.name: "1" if values else "" for field in msgspec.structs.fields(method.params) if field.required}
        )
        _, target, _ = request_for(method, params)
        types = {one: kind for one, kind in field_types(method.params).items() if one in route.rest}
        found = from_query(target.partition("?")[2].encode(), types)
        assert msgspec.convert({**msgspec.to_builtins(params), **found}, method.params, strict=False), name
