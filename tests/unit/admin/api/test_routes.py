# SPDX-License-Identifier: MIT
"""Methods as routes: what goes in, what comes out, what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from bridgehead.admin.api.problems import STATUS
from bridgehead.admin.calls.client import ControlClient, connect
from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.mail.limits import CONTROL_REQUEST_BYTES, LIST_RESULTS
from support.interface import Interface, serving


class Query(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    count: int = 1
    loud: bool = False
    words: list[str] = []
    since: datetime | None = None


class Change(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    reason: str = ""
    ids: list[int] = []


class Window(msgspec.Struct, forbid_unknown_fields=True):
    start: int = 0


class Limited(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 10


async def echo(_: Any, params: Query, caller: Caller) -> dict[str, Any]:
    """Say it again.

    As often as is wanted.
    """
    if params.name == "missing":
        raise AdminFault(NOT_FOUND, "there is no such thing", "look elsewhere")
    if params.name == "odd":
        raise AdminFault("not_now", "this is no time for it")
    return {**msgspec.to_builtins(params), "caller": caller.name}


async def change(_: Any, params: Change, __: Caller) -> Change:
    """Change it."""
    return params


async def numbers(_: Any, params: Window, __: Caller) -> list[int]:
    """2500 numbers."""
    return list(range(params.start, 2500))


async def limited(_: Any, params: Limited, __: Caller) -> list[int]:
    """As many numbers as asked for."""
    return list(range(min(params.limit, 25)))


METHODS = {
    "things.show": Method(params=Query, result=dict[str, Any], answer=echo, role=Role.VIEWER, route="GET /things/{name}"),
    "things.change": Method(params=Change, result=Change, answer=change, role=Role.OPERATOR, route="PUT /things/{name}/state"),
    "things.remove": Method(params=Change, result=Change, answer=change, role=Role.OPERATOR, route="DELETE /things/{name}"),
    "numbers.list": Method(params=Window, result=list[int], answer=numbers, role=Role.VIEWER, route="GET /numbers"),
    "numbers.some": Method(params=Limited, result=list[int], answer=limited, role=Role.VIEWER, route="GET /some-numbers"),
}  # fmt: skip


class Reply(NamedTuple):
    status: int
    kind: str
    body: Any
    link: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
async def interface(path: Path) -> AsyncIterator[Interface]:
    async with serving(METHODS, None, path) as one:
        yield one


async def ask(path: Path, verb: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
    def blocking() -> Reply:
        connection = HTTPConnection("localhost", timeout=10)
        connection.sock = connect(path, 10)
        try:
            connection.request(verb, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.getheader("Content-Type", "")
            return Reply(
                answer.status, kind, json.loads(data) if "json" in kind else data, answer.getheader("Link", "")
            )
        finally:
            connection.close()

    return await asyncio.to_thread(blocking)


async def call(path: Path, method: str, params: msgspec.Struct, result: Any) -> Any:
    def blocking() -> Any:
        with ControlClient(path, 10, METHODS.__getitem__) as client:
            return client.call(method, params, result)

    return await asyncio.to_thread(blocking)


NAMES = ["plain", "To internet/contoso.com", "a/b/../c", "%2F", "größe ?&#;=+", ".", "..", "*", "~'\"\\<>", "/", "//x/"]


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_survives_path_query_and_body(interface: Interface, path: Path, name: str) -> None:
    found = await call(path, "things.show", Query(name, words=[name, ""]), dict)
    assert (found["name"], found["words"]) == (name, [name, ""])
    assert await call(path, "things.change", Change(name, reason=name), Change) == Change(name, reason=name)
    assert await call(path, "things.remove", Change(name, reason=name, ids=[1, 2]), Change) == Change(
        name, name, [1, 2]
    )


async def test_texts_of_a_query_become_what_their_types_say(interface: Interface, path: Path) -> None:
    reply = await ask(path, "GET", "/v1/things/7?count=3&loud=true&words=7&words=x&since=2026-11-23T09:00:00Z")
    assert reply.status == 200
    assert {name: reply.body[name] for name in ("name", "count", "loud", "words", "since")} == {
        "name": "7", "count": 3, "loud": True, "words": ["7", "x"], "since": "2026-11-23T09:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "/v1/things/x?count=three", "/v1/things/x?count=1&count=2", "/v1/things/x?loud=1", "/v1/things/x?loud=maybe",
        "/v1/things/x?since=yesterday", "/v1/things/x?%ff=1", "/v1/things/x?count=%ff", "/v1/things/x?name=y",
        "/v1/things/x?page=2", "/v1/numbers?cursor=nonsense", "/v1/numbers?limit=0x10", "/v1/numbers?limit=-1",
        "/v1/numbers?limit=100001", "/v1/numbers?cursor=eyJvIjotMX0",
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_a_problem_that_says_so(interface: Interface, path: Path, target: str) -> None:
    reply = await ask(path, "GET", target)
    assert (reply.status, reply.kind) == (400, "application/problem+json")
    assert reply.body["code"] == INVALID
    assert (reply.body["type"], reply.body["title"], reply.body["status"]) == ("about:blank", "Bad Request", 400)
    assert reply.body["detail"]


async def test_the_nearest_right_word_is_named(interface: Interface, path: Path) -> None:
    reply = await ask(path, "GET", "/v1/things/x?cuont=2")
    assert reply.body["remedy"] == "did you mean count?"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200), (b"{}", 200), (b'{"reason":"x"}', 200), (b'{"name":"y"}', 400), (b'{"reason":7}', 400), (b"[]", 400),
        (b'{"reason":', 400), (b"\xff", 400), (b"[" * 100_000, 400), (b'{"ids":[1,"x"]}', 400),
    ],
)  # fmt: skip
async def test_bodies(interface: Interface, path: Path, body: bytes, status: int) -> None:
    reply = await ask(path, "PUT", "/v1/things/x/state", body, Content_Type="application/json")
    assert reply.status == status


async def test_a_form_of_another_site_is_no_body(interface: Interface, path: Path) -> None:
    reply = await ask(path, "PUT", "/v1/things/x/state", b'{"reason":"x"}', Content_Type="text/plain")
    assert (reply.status, reply.body["code"]) == (415, "unsupported_media_type")


async def test_a_body_that_is_too_large_is_refused(interface: Interface, path: Path) -> None:
    body = b'{"reason":"%s"}' % (b"x" * CONTROL_REQUEST_BYTES)
    reply = await ask(path, "PUT", "/v1/things/x/state", body, Content_Type="application/json")
    assert (reply.status, reply.body["code"]) == (413, "too_large")


async def test_a_body_of_nearly_full_size_is_taken(interface: Interface, path: Path) -> None:
    reason = "x" * (CONTROL_REQUEST_BYTES - 8192)
    found = await call(path, "things.change", Change("n", reason), Change)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("verb", "target", "status", "code"),
    [
        ("GET", "/", 404, "not_found"), ("GET", "/v1/nothing", 404, "not_found"), ("GET", "/v2/numbers", 404, "not_found"),
        ("POST", "/v1/numbers", 405, "method_not_allowed"), ("TRACE", "/v1/numbers", 405, "method_not_allowed"),
        ("GET", "/v1/things/", 404, "not_found"), ("GET", "/v1/things/missing", 404, "not_found"),
        ("GET", "/v1/things/odd", 409, "not_now"), ("DELETE", "/v1/things/x?ids=y", 400, "invalid"),
    ],
)  # fmt: skip
async def test_faults_are_problems_with_their_status(
    interface: Interface, path: Path, verb: str, target: str, status: int, code: str
) -> None:
    reply = await ask(path, verb, target)
    assert (reply.status, reply.kind, reply.body["code"]) == (status, "application/problem+json", code)


async def test_the_remedy_is_in_the_problem_and_reaches_the_command(interface: Interface, path: Path) -> None:
    reply = await ask(path, "GET", "/v1/things/missing")
    assert (reply.body["detail"], reply.body["remedy"]) == ("there is no such thing", "look elsewhere")
    with pytest.raises(AdminFault, match="there is no such thing") as caught:
        await call(path, "things.show", Query("missing"), dict)
    assert (caught.value.code, caught.value.remedy) == (NOT_FOUND, "look elsewhere")


async def test_a_list_comes_in_parts_that_link_to_the_next(interface: Interface, path: Path) -> None:
    found, target, parts = [], "/v1/numbers?start=100&limit=700", 0
    while target:
        reply = await ask(path, "GET", target)
        assert len(reply.body) <= 700
        found, parts = found + reply.body, parts + 1
        target = reply.link.partition(">")[0].removeprefix("<")
    assert (found, parts) == (list(range(100, 2500)), 4)


async def test_without_a_limit_a_part_has_exchanges_result_size(interface: Interface, path: Path) -> None:
    reply = await ask(path, "GET", "/v1/numbers")
    assert len(reply.body) == LIST_RESULTS
    assert 'rel="next"' in reply.link


async def test_a_method_with_a_limit_of_its_own_is_asked_for_one_more(interface: Interface, path: Path) -> None:
    first = await ask(path, "GET", "/v1/some-numbers")
    second = await ask(path, "GET", first.link.partition(">")[0].removeprefix("<"))
    third = await ask(path, "GET", second.link.partition(">")[0].removeprefix("<"))
    assert [first.body, second.body, third.body] == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    assert third.link == ""


async def test_a_command_gets_a_list_whole(interface: Interface, path: Path) -> None:
    assert await call(path, "numbers.list", Window(), list[int]) == list(range(2500))


async def test_a_process_of_mail_that_is_gone_is_said_to_be(interface: Interface, path: Path) -> None:
    await interface.control.close()
    reply = await ask(path, "GET", "/v1/numbers")
    assert (reply.status, reply.body["code"]) == (503, "not_running")


def test_every_code_of_a_fault_has_a_status() -> None:
    from bridgehead.admin import faults

    codes = {value for name, value in vars(faults).items() if name.isupper()}
    assert codes <= set(STATUS)
