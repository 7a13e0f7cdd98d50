# SPDX-License-Identifier: MIT
"""Log-ons with passwords and tokens, and what becomes of those who guess."""

import base64
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridgehead.admin.access import administrator_file
from bridgehead.admin.access.administrator_file import AdministratorFile
from bridgehead.admin.api.backoff import FREE_FAILURES, FREE_FAILURES_OF_ADDRESS, Backoff
from bridgehead.admin.api.logons import GOOD_FOR_SECONDS, Logons
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.method import Caller, Role
from bridgehead.mail.limits import LOGON_FAILURES_KEPT
from bridgehead.mail.secret import Secret

NOW = 1_800_000_000.0
HERE = "192.0.2.7:4711"
PASSWORD = "correct horse battery"


class World:
    """A file with an administrator, a clock, and what the audit log was told."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.told: list[tuple[str, str]] = []
        self.file = AdministratorFile(folder / "administrators.json")
        self.file.add("anna", Secret(PASSWORD), Role.OPERATOR)
        self.logons = Logons(AdministratorFile(self.file.path), self.report, lambda: self.now)

    async def report(self, caller: Caller, fault: AdminFault | None) -> None:
        self.told.append((caller.name, fault.code if fault else ""))

    async def basic(self, name: str, password: str, origin: str = HERE) -> Caller:
        return await self.logons.caller(f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}", origin)

    async def refused(self, attempt: Awaitable[Caller]) -> str:
        with pytest.raises(AdminFault) as caught:
            await attempt
        return caught.value.code

    def token(self, days: int = 1) -> Secret:
        now = datetime.fromtimestamp(self.now, UTC)
        return self.file.add_token("anna", now, now + timedelta(days=days))[1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_password_makes_the_caller(world: World) -> None:
    assert await world.basic("anna", PASSWORD) == Caller("anna", Role.OPERATOR, HERE)
    assert await world.basic("ANNA", PASSWORD) == Caller("anna", Role.OPERATOR, HERE)


async def test_a_token_makes_the_caller_until_it_expires(world: World) -> None:
    token = world.token(days=1)
    assert await world.logons.caller(f"Bearer {token.reveal()}", HERE) == Caller("anna", Role.OPERATOR, HERE)
    world.now += 86_400 - 1
    assert await world.logons.caller(f"Bearer {token.reveal()}", HERE)
    world.now += 1
    assert await world.refused(world.logons.caller(f"Bearer {token.reveal()}", HERE)) == "unauthenticated"


async def test_a_token_that_is_revoked_is_worth_nothing_at_once(world: World) -> None:
    token = world.token()
    assert await world.logons.caller(f"Bearer {token.reveal()}", HERE)
    world.file.remove_token(token.reveal().split("_")[1])
    assert await world.refused(world.logons.caller(f"Bearer {token.reveal()}", HERE)) == "unauthenticated"


async def test_a_login_that_is_removed_or_changed_is_out_at_once(world: World) -> None:
    await world.basic("anna", PASSWORD)
    world.file.set_password("anna", Secret("another password"))
    assert await world.refused(world.basic("anna", PASSWORD)) == "unauthenticated"
    await world.basic("anna", "another password")
    world.file.remove("anna")
    assert await world.refused(world.basic("anna", "another password")) == "unauthenticated"


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic YW5uYQ==", "Basic Og==", "Digest username=anna", "Bearer", "Bearer bht_x_y",
     "Basic " + base64.b64encode(b"anna:\xff").decode(), "Basic " + base64.b64encode(b"a" * 5000 + b":x").decode()],
)  # fmt: skip
async def test_anything_else_is_refused(world: World, authorization: str) -> None:
    assert await world.refused(world.logons.caller(authorization, HERE)) == "unauthenticated"


async def test_each_first_success_and_each_failure_is_told(world: World) -> None:
    await world.basic("anna", PASSWORD)
    await world.basic("anna", PASSWORD)
    await world.refused(world.basic("anna", "wrong"))
    await world.refused(world.basic("bert", PASSWORD))
    world.now += GOOD_FOR_SECONDS
    await world.basic("anna", PASSWORD)
    assert world.told == [("anna", ""), ("anna", "unauthenticated"), ("bert", "unauthenticated"), ("anna", "")]


async def test_what_was_right_from_one_address_is_compared_anew_for_another(world: World) -> None:
    await world.basic("anna", PASSWORD)
    await world.basic("anna", PASSWORD, "198.51.100.9:1")
    assert world.told == [("anna", ""), ("anna", "")]


async def test_after_some_failures_even_the_right_password_has_to_wait(world: World) -> None:
    for _ in range(FREE_FAILURES):
        await world.refused(world.basic("anna", "wrong"))
    assert await world.refused(world.basic("anna", PASSWORD)) == "too_many_attempts"
    assert await world.basic("anna", PASSWORD, "198.51.100.9:1"), "nobody can lock out an administrator elsewhere"
    world.now += 5
    assert await world.basic("anna", PASSWORD)


async def test_passwords_are_compared_away_from_the_event_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(
        administrator_file, "password_matches", lambda *_: threads.append(threading.current_thread()) or True
    )
    await world.basic("anna", PASSWORD)
    assert threads != [threading.main_thread()]


async def test_an_unknown_name_takes_the_same_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def counting(_: bytes, credential: object) -> bool:
        rounds.append(credential.iterations)  # type: ignore[attr-defined]
        return False

    monkeypatch.setattr(administrator_file, "password_matches", counting)
    await world.refused(world.basic("anna", "x"))
    await world.refused(world.basic("nobody", "x"))
    assert rounds[0] == rounds[1] > 0


def test_pauses_grow_and_end() -> None:
    backoff, pauses = Backoff(), []
    for _ in range(FREE_FAILURES + 12):
        backoff.failed("anna", "192.0.2.7", NOW)
        pauses.append(backoff.pause("anna", "192.0.2.7", NOW))
    assert pauses[:FREE_FAILURES] == [0, 0, 0, 0, 5]
    assert pauses[FREE_FAILURES : FREE_FAILURES + 3] == [10, 20, 40]
    assert max(pauses) == pauses[-1] == 900
    assert backoff.pause("anna", "192.0.2.7", NOW + 900) == 0
    assert backoff.pause("anna", "192.0.2.8", NOW) == 0


def test_an_address_that_tries_many_names_is_paused_for_all() -> None:
    backoff = Backoff()
    for number in range(FREE_FAILURES_OF_ADDRESS):
        backoff.failed(f"user{number}", "192.0.2.7", NOW)
    assert backoff.pause("another", "192.0.2.7", NOW) > 0
    backoff.succeeded("another", "192.0.2.7")
    assert backoff.pause("another", "192.0.2.7", NOW) > 0, "one good login does not free an address that guesses"


def test_failures_of_long_ago_count_no_more() -> None:
    backoff = Backoff()
    for _ in range(FREE_FAILURES - 1):
        backoff.failed("anna", "192.0.2.7", NOW)
    backoff.failed("anna", "192.0.2.7", NOW + 3601)
    assert backoff.pause("anna", "192.0.2.7", NOW + 3601) == 0


def test_it_says_how_long_what_it_remembers_counts() -> None:
    """So long its process stays, or waiting would be a way to begin anew."""
    backoff = Backoff()
    assert backoff.remember_seconds(NOW) == 0
    backoff.failed("anna", "192.0.2.7", NOW)
    backoff.failed("bob", "192.0.2.8", NOW + 60)
    assert backoff.remember_seconds(NOW + 100) == 3560
    assert backoff.remember_seconds(NOW + 5000) == 0


def test_what_is_remembered_is_bounded() -> None:
    backoff = Backoff()
    for number in range(LOGON_FAILURES_KEPT):
        backoff.failed(f"user{number}", f"2001:db8::{number:x}", NOW)
    assert len(backoff._failures) == LOGON_FAILURES_KEPT


Change = Callable[[AdministratorFile], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.add("anna", Secret(PASSWORD), Role.VIEWER), "already"),
        (lambda file: file.add("a b", Secret(PASSWORD), Role.VIEWER), "printable"),
        (lambda file: file.add("a:b", Secret(PASSWORD), Role.VIEWER), "colons"),
        (lambda file: file.add("bert", Secret("short"), Role.VIEWER), "12 to"),
        (lambda file: file.add("bert", Secret(PASSWORD), Role.VIEWER, "two\nlines"), "one line"),
        (lambda file: file.remove("bert"), "no administrator"),
        (lambda file: file.remove_token("123"), "no token"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(world: World, change: Change, words: str) -> None:
    before = world.file.path.read_bytes()
    with pytest.raises(AdminFault, match=words):
        change(world.file)
    assert world.file.path.read_bytes() == before


def test_the_file_is_for_its_owner_and_holds_no_secret(world: World) -> None:
    token = world.token()
    text = world.file.path.read_text()
    assert world.file.path.stat().st_mode & 0o077 == 0
    assert PASSWORD not in text
    assert token.reveal() not in text
    assert token.reveal().split("_", 2)[2] not in text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown_name_secret":"x","administrators":[{"name":"x"}]}'])
def test_a_damaged_file_lets_nobody_in(world: World, text: str) -> None:
    world.file.path.write_text(text)
    with pytest.raises(AdminFault, match="cannot be used"):
        AdministratorFile(world.file.path).with_password("anna", Secret(PASSWORD))
