# SPDX-License-Identifier: MIT
"""Who did what: what is recorded, what is kept out of it, and how it is read."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.access.audit_log import (
    FOLDER,
    REDACTED,
    AuditFilter,
    AuditLogFile,
    read_audit_log,
    record_command,
    redacted,
)
from bridgehead.admin.calls.channel import Request
from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.mail.limits import AUDITED_ITEMS, AUDITED_TEXT
from bridgehead.tracking.settings import LogSettings
from support.interface import Interface, serving

NOW = 1_800_000_000.0


class Change(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    reason: str = ""
    smtp_password: str = ""


async def change(_: Any, params: Change, __: Caller) -> str:
    if params.name == "missing":
        raise AdminFault(NOT_FOUND, "there is no such queue\r\nforged")
    if params.name == "bug":
        raise RuntimeError("oops")
    return "done"


async def look(_: Any, __: Change, ___: Caller) -> str:
    return "seen"


METHODS = {
    "things.change": Method(params=Change, result=str, answer=change, role=Role.OPERATOR, route="POST /things/{name}"),
    "things.look": Method(params=Change, result=str, answer=look, role=Role.VIEWER, route="GET /things/{name}"),
    "things.content": Method(params=Change, result=str, answer=look, role=Role.OPERATOR, route="GET /content/{name}"),
}


class World:
    """An interface whose audit log is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOW
        self.log = AuditLogFile(LogSettings(), folder, lambda: self.now)
        self.interface: Interface

    async def do(self, method: str, caller: Caller, **params: str) -> str:
        """Call; the outcome."""
        raw = msgspec.Raw(msgspec.json.encode(params))
        try:
            await self.interface.core.ask(Request(id=0, method=method, params=raw, caller=caller))
        except AdminFault as fault:
            return fault.code
        return "done"

    def records(self, **wanted: Any) -> list[dict[str, Any]]:
        """What a reader finds, as it stands on disk."""
        found = read_audit_log(self.folder, AuditFilter(**wanted))
        return [json.loads(msgspec.json.encode(record)) for record in found]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    one = World(tmp_path / "logs")
    async with serving(METHODS, None, tmp_path / "control.sock", audit=one.log) as one.interface:
        yield one
    one.log.close()


OPERATOR = Caller("olga", Role.OPERATOR, "192.0.2.7:4711")


async def test_a_change_is_on_disk_before_its_answer(world: World) -> None:
    assert await world.do("things.change", OPERATOR, name="Internet/contoso.com", reason="dinner") == "done"
    [file] = (world.folder / FOLDER).iterdir()
    assert json.loads(file.read_bytes()) == {
        "time": "2027-01-15T08:00:00Z",
        "event": "call",
        "caller": "olga",
        "role": "operator",
        "origin": "192.0.2.7:4711",
        "method": "things.change",
        "parameters": {"name": "Internet/contoso.com", "reason": "dinner"},
        "outcome": "done",
        "message": "",
    }


async def test_looking_is_not_recorded_but_reading_content_is(world: World) -> None:
    await world.do("things.look", OPERATOR, name="x")
    await world.do("things.content", OPERATOR, name="4711")
    assert [one["method"] for one in world.records()] == ["things.content"]


async def test_failures_and_refusals_are_recorded(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert await world.do("things.change", OPERATOR, name="missing") == "not_found"
    assert await world.do("things.change", OPERATOR, name="bug") == "failed"
    assert await world.do("things.change", Caller("vera", Role.VIEWER, "local"), name="x") == "forbidden"
    assert await world.do("things.look", Caller("hugo", Role.HELP_DESK, "local"), name="x") == "forbidden"
    assert [(one["caller"], one["outcome"]) for one in world.records()] == [
        ("olga", "not_found"), ("olga", "failed"), ("vera", "forbidden"), ("hugo", "forbidden"),
    ]  # fmt: skip
    assert "forged" in world.records()[0]["message"]
    assert "\n" not in world.records()[0]["message"]


async def test_log_ons_are_recorded(world: World) -> None:
    await world.interface.core.report_log_on(OPERATOR, None)
    await world.interface.core.report_log_on(OPERATOR, AdminFault("unauthenticated", "no such login"))
    assert [(one["event"], one["role"], one["outcome"]) for one in world.records()] == [
        ("log-on", "operator", "done"), ("log-on", "", "unauthenticated"),
    ]  # fmt: skip


async def test_secrets_are_not_written(world: World) -> None:
    await world.do("things.change", OPERATOR, name="x", smtp_password="hunter2")
    text = b"".join(file.read_bytes() for file in (world.folder / FOLDER).iterdir())
    assert b"hunter2" not in text
    assert REDACTED.encode() in text


async def test_a_disk_that_takes_none_is_trouble_but_does_not_stop_the_change(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.folder.write_text("no folder")
    assert await world.do("things.change", OPERATOR, name="x") == "done"
    assert world.log.trouble
    assert "not recorded on disk" in caplog.text
    world.folder.unlink()
    assert await world.do("things.change", OPERATOR, name="y") == "done"
    assert world.log.trouble == ""
    assert [one["parameters"]["name"] for one in world.records()] == ["x", "y"]


class Nested(msgspec.Struct):
    content: bytes
    names: list[str]
    options: dict[str, str]
    api_token: str | None


def test_parameters_are_bounded_and_clean() -> None:
    shown = redacted(Nested(b"x" * 5000, ["n"] * 500, {"proxy_secret": "s", "text": "a\x1b[2Jb" * 5000}, "t"))
    assert shown["content"] == "(5000 octets)"
    assert len(shown["names"]) == AUDITED_ITEMS + 1
    assert shown["names"][-1] == "(and 400 more)"
    assert shown["options"]["proxy_secret"] == shown["api_token"] == REDACTED
    assert len(shown["options"]["text"]) <= AUDITED_TEXT
    assert "\x1b" not in shown["options"]["text"]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_audit_log(tmp_path, AuditFilter()) == []


async def test_records_are_found_by_all_that_is_given(world: World) -> None:
    for hour, (name, role) in enumerate([("anna", Role.ADMINISTRATOR), ("bert", Role.OPERATOR), ("anna", Role.VIEWER)]):
        world.now = NOW + 3600 * hour
        await world.do("things.change", Caller(name, role, f"192.0.2.{hour}:1"), name=f"queue {hour}")
    start = datetime.fromtimestamp(NOW, UTC)

    def names(**wanted: Any) -> list[str]:
        return [one["parameters"]["name"] for one in world.records(**wanted)]

    assert names() == ["queue 0", "queue 1", "queue 2"]
    assert names(caller="ANN") == ["queue 0", "queue 2"]
    assert names(failed=True) == ["queue 2"]
    assert names(origin="192.0.2.1") == ["queue 1"]
    assert names(method="things", text="queue 2") == ["queue 2"]
    assert names(method="messages") == []
    assert names(since=start + timedelta(hours=1)) == ["queue 1", "queue 2"]
    assert names(until=start + timedelta(hours=1)) == ["queue 0"]
    assert names(limit=2) == ["queue 1", "queue 2"]


async def test_what_commands_change_stands_between_what_the_server_does(world: World) -> None:
    await world.do("things.change", OPERATOR, name="first")
    with pytest.raises(AdminFault), record_command(LogSettings(), world.folder, "administrator add", {"name": "eve"}):
        raise AdminFault("invalid", "too short")
    world.now = datetime.now(UTC).timestamp() + 60
    found = read_audit_log(world.folder, AuditFilter())
    assert {(one.event, one.method, one.outcome) for one in found} == {
        ("call", "things.change", "done"), ("command", "administrator add", "invalid"),
    }  # fmt: skip


@pytest.mark.parametrize("end", [KeyboardInterrupt(), OSError("no such file")], ids=["interrupted", "failed"])
def test_a_command_that_ended_in_its_midst_is_not_recorded_as_done(tmp_path: Path, end: BaseException) -> None:
    with pytest.raises(type(end)), record_command(LogSettings(), tmp_path, "administrator add", {"name": "eve"}):
        raise end
    [found] = read_audit_log(tmp_path, AuditFilter())
    assert (found.outcome, found.message) == ("failed", f"ended by {type(end).__name__}")


async def test_a_line_that_a_crash_cut_off_is_passed_over(world: World) -> None:
    await world.do("things.change", OPERATOR, name="x")
    [file] = (world.folder / FOLDER).iterdir()
    with file.open("ab") as output:
        output.write(b'{"time":"2027-01-15T08:00:00Z","event":"ca')
    assert len(world.records()) == 1
