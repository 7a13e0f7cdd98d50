# SPDX-License-Identifier: MIT
"""A runner of actions over a store and a real dispatcher that delivers nothing by itself."""

from collections.abc import Callable

from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.queue.action_runner import ActionRunner
from bridgehead.delivery.actions import MessageActions
from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.ports import Courier, WorkSource
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.next_hop import DeliveryType, NextHop
from support.delivery_world import Events


class GivenClock:
    """Implements `net.clock.Clock` on a function."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now()


class Around:
    """Implements `admin.queue.action_runner.Surroundings`: one connector, "Backup", that routes by DNS."""

    def __init__(self, now: Callable[[], float], settings: QueueSettings) -> None:
        self.now, self._settings = now, settings

    def queue_settings(self) -> QueueSettings:
        return self._settings

    def expiration_time(self, entry: QueuedItem) -> float:
        item = entry.item
        return deadline_of(item.received_at, self._settings, True, item.expires_at, item.priority)

    def next_hop_through(self, connector: str, smart_host: str) -> NextHop:
        if connector != "Backup":
            raise AdminFault(NOT_FOUND, f'there is no connector "{connector}"', "one of Backup")
        return NextHop(DeliveryType.DNS_CONNECTOR, smart_host, connector)


class Woken:
    """Implements `delivery.actions.Submission`."""

    def __init__(self) -> None:
        self.times = 0

    def wake(self) -> None:
        self.times += 1


def idle_dispatcher(store: MemoryQueueStore | SqliteQueueStore, now: Callable[[], float], events: Events) -> Dispatcher:
    """A dispatcher that was not started: it takes nothing up."""
    clock, settings, delivery = GivenClock(now), QueueSettings(), DeliverySettings()
    reporter = NotifyReporter(
        allocate_id=store.allocate_id, clock=clock, random_bytes=lambda count: b"\x22" * count,
        delivery_settings=delivery, queue_settings=settings, fqdn="mx.contoso.com",
    )  # fmt: skip

    def courier_for(next_hop: NextHop, source: WorkSource) -> Courier:
        raise AssertionError("nothing is delivered here")

    return Dispatcher(
        store, settings, delivery, events, clock, lambda: 0.5, courier_for, reporter, lambda entry: None,
    )  # fmt: skip


def actions_over(store: MemoryQueueStore, now: Callable[[], float]) -> ActionRunner:
    """A runner, not started."""
    events = Events()
    dispatcher = idle_dispatcher(store, now, events)
    return ActionRunner(store, MessageActions(dispatcher, Woken()), events, Around(now, dispatcher.settings))
