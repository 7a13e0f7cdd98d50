# SPDX-License-Identifier: MIT
"""The watch over a real store: from what it sees to what is told, and across restarts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bridgehead.mail.units import Duration
from bridgehead.monitoring import herald as herald_module
from bridgehead.monitoring.book import AlarmBook, Notice, Occasion
from bridgehead.monitoring.channels import ChannelFault
from bridgehead.monitoring.herald import Herald
from bridgehead.monitoring.rules import Verdict
from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.monitoring.watch import ALARMS_FILE, CONFIRM_SECONDS, SOURCES_FILE, Watch
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.store import QueueKind, Transaction
from bridgehead.tracking.alarms import Severity
from support.certificates import Authority
from support.clock import JumpingClock
from support.monitored_store import MonitoredStore
from support.queue_store_contract import entry

DAY = 86400.0


class Ears:
    """A channel that keeps what it is told; `fault` makes it fail."""

    def __init__(self, name: str = "ears") -> None:
        self.name = name
        self.heard: list[Notice] = []
        self.fault = ""

    async def send(self, notices: Sequence[Notice]) -> None:
        if self.fault:
            raise ChannelFault(self.fault)
        self.heard += notices

    def take(self) -> list[tuple[Occasion, str]]:
        taken, self.heard = self.heard, []
        return [(one.occasion, one.alarm.id) for one in taken]


class World:
    """A watch with a clock that jumps; heralds tell when they are asked to."""

    def __init__(self, directory: Path, clock: JumpingClock | None = None) -> None:
        self.clock = clock or JumpingClock()
        self.store = MemoryQueueStore()
        self.monitored = MonitoredStore(self.store, self.clock.now)
        self.settings = AlarmSettings(hold_time=Duration(0), all_clear_delay=Duration(minutes=2))
        self.book = AlarmBook(self.clock.now, reminder_interval=4 * 3600.0, all_clear_delay=120.0)
        self.ears = Ears()
        self.watch = Watch(self.monitored, self.book, self.settings, [self.ears], directory)
        self.herald = Herald(self.ears, self.book, 1.0)

    async def look(self) -> list[tuple[Occasion, str]]:
        await self.watch.look()
        assert await self.herald.tell()
        return self.ears.take()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.store.open()
    return made


async def test_a_poison_message_is_told_until_it_is_gone(world: World) -> None:
    assert await world.look() == []
    poison = entry(world.store, QueueKind.POISON, received_at=world.clock.now())
    await world.store.committed(Transaction(put=[poison]))
    assert await world.look() == [(Occasion.RAISED, "poison_queue")]
    assert await world.look() == []
    await world.store.committed(Transaction(remove=[poison.id]))
    assert await world.look() == []
    world.clock.advance(120)
    assert await world.look() == [(Occasion.CLEARED, "poison_queue")]
    assert await world.look() == []
    assert world.book.state().alarms == []


async def test_what_the_server_knows_of_itself_is_told(world: World) -> None:
    world.monitored.found = [Verdict("store", Severity.CRITICAL, "mail cannot be stored: no space left")]
    assert await world.look() == [(Occasion.RAISED, "store")]
    world.monitored.found = [Verdict("store", None)]
    await world.look()
    world.clock.advance(120)
    assert await world.look() == [(Occasion.CLEARED, "store")]


async def test_certificates_are_told_at_thirty_fourteen_and_three_days(world: World, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("mx.contoso.test", days=29)
    world.clock.set_wall_clock(pair.certificate.stat().st_mtime)
    world.monitored.files = {pair.certificate: 'receive connector "Default"'}
    id = f"certificate/{pair.certificate}"
    assert await world.look() == [(Occasion.RAISED, id)]
    [alarm] = world.book.standing()
    assert 'receive connector "Default"' in alarm.text
    assert "expires in 28 d 23 h" in alarm.text
    for days, occasion in ((10, []), (6, [(Occasion.WORSE, id)]), (9, []), (2, [(Occasion.WORSE, id)]), (1, [])):
        world.clock.advance(days * DAY)
        assert await world.look() == occasion, days
    assert world.book.standing()[0].severity is Severity.CRITICAL
    Authority(tmp_path / "ca2")
    renewed = Authority(tmp_path / "new").issue("mx.contoso.test", days=3000)
    pair.certificate.write_bytes(renewed.certificate.read_bytes())
    await world.look()
    assert world.book.standing() == []


async def test_a_source_that_falls_silent_is_told_and_so_is_its_return(world: World) -> None:
    for _ in range(3 * 7 * 24):
        world.monitored.senders = ["192.0.2.7", "user:scanner"]
        assert await world.look() == []
        world.clock.advance(3600)
    told = []
    for _ in range(6):
        world.monitored.senders = ["user:scanner"]
        told += await world.look()
        world.clock.advance(3600)
    id = "source_silent/192.0.2.7"
    assert told == [(Occasion.RAISED, id), (Occasion.REMINDER, id)]
    assert "192.0.2.7 has sent nothing for" in world.book.standing()[0].text
    world.monitored.senders = ["user:scanner", "192.0.2.7"]
    await world.look()
    world.clock.advance(120)
    assert await world.look() == [(Occasion.CLEARED, "source_silent/192.0.2.7")]


async def test_a_source_with_a_time_of_its_own_is_not_judged_by_habit(world: World) -> None:
    for _ in range(3 * 7 * 24):
        world.monitored.senders = ["device:printer-3"]
        await world.look()
        world.clock.advance(3600)
    world.monitored.timed = {"device:printer-3"}
    world.clock.advance(10 * 3600)
    assert await world.look() == []
    world.monitored.timed = set()
    assert await world.look() == [(Occasion.RAISED, "source_silent/device:printer-3")]


async def test_a_restart_goes_on_where_the_former_run_ended(world: World, tmp_path: Path) -> None:
    await world.watch.start()
    for _ in range(8 * 24):
        world.monitored.senders = ["192.0.2.7"]
        await world.watch.look()
        world.clock.advance(3600)
    world.book.raise_("disk", Severity.WARNING, "full")
    await world.herald.tell()
    await world.watch.stop()
    assert {path.name for path in tmp_path.iterdir()} == {ALARMS_FILE, SOURCES_FILE}
    again = World(tmp_path, world.clock)
    await again.store.open()
    await again.watch.start()
    assert [alarm.id for alarm in again.book.standing()] == ["disk"]
    assert await again.look() == [], "the alarm was told before"
    world.clock.advance(CONFIRM_SECONDS)
    await again.look()
    assert again.book.standing() == [], "nobody raised it again"
    for _ in range(4):
        world.clock.advance(3600)
        await again.watch.look()
    assert again.book.is_raised("source_silent/192.0.2.7"), "its habit is known still"
    await again.watch.stop()


async def test_a_state_file_that_is_no_state_is_set_aside(world: World, tmp_path: Path) -> None:
    (tmp_path / ALARMS_FILE).write_bytes(b'{"alarms": [17')
    await world.watch.start()
    await world.watch.stop()
    assert (tmp_path / "alarms.bad").read_bytes() == b'{"alarms": [17'
    assert json.loads((tmp_path / ALARMS_FILE).read_text())["alarms"] == []


async def test_a_channel_that_fails_is_an_alarm_on_the_others_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = JumpingClock()
    book = AlarmBook(clock.now, reminder_interval=3600.0, all_clear_delay=0.0)
    mail, hook = Ears("mail"), Ears("webhook")
    mail.fault = "relay.test:25: Connection refused"
    heralds = [Herald(mail, book, 1.0), Herald(hook, book, 1.0)]
    book.raise_("disk", Severity.WARNING, "full")
    assert not await heralds[0].tell()
    assert await heralds[1].tell()
    assert hook.take() == [(Occasion.RAISED, "disk"), (Occasion.RAISED, "alarm_channel/mail")]
    assert "Connection refused" in book.standing()[0].text
    mail.fault = ""
    assert await heralds[0].tell()
    assert mail.take() == [(Occasion.RAISED, "disk")]
    await heralds[1].tell()
    assert hook.take() == [(Occasion.CLEARED, "alarm_channel/mail")]


async def test_a_herald_tells_by_itself_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald_module, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(herald_module, "FIRST_PAUSE", 0.01)
    clock = JumpingClock()
    book = AlarmBook(clock.now, reminder_interval=0.0, all_clear_delay=0.0)
    import asyncio

    class Fickle(Ears):
        tries = 0
        told = asyncio.Event()

        async def send(self, notices: Sequence[Notice]) -> None:
            self.tries += 1
            if self.tries < 3:
                raise ChannelFault("not yet")
            await super().send(notices)
            self.told.set()

    ears = Fickle()
    herald = Herald(ears, book, 60.0)
    book.on_change = herald.wake
    herald.start()
    book.raise_("disk", Severity.WARNING, "full")
    async with asyncio.timeout(10):
        await ears.told.wait()
    await herald.stop()
    assert (ears.tries, ears.take()) == (3, [(Occasion.RAISED, "disk")])


async def test_a_test_alarm_goes_by_every_channel(world: World) -> None:
    [outcome] = await world.watch.test("root")
    assert (outcome.channel, outcome.fault) == ("ears", "")
    assert "root" in world.ears.heard[0].alarm.text
    world.ears.fault = "deaf"
    [outcome] = await world.watch.test("root")
    assert outcome.fault == "deaf"


async def test_other_channels_and_thresholds_are_in_force_at_once(world: World) -> None:
    await world.watch.start()
    await world.store.committed(
        Transaction(put=[entry(world.store, QueueKind.UNREACHABLE, received_at=world.clock.now())])
    )
    await world.watch.look()
    assert world.book.is_raised("unreachable_queue")
    other = Ears("other")
    await world.watch.reconfigure(AlarmSettings(unreachable_queue_length=0), [other])
    assert world.watch.channels == ["other"]
    await world.watch.look()
    assert not world.book.is_raised("unreachable_queue")
    await world.watch.stop()
