# SPDX-License-Identifier: MIT
"""The supervisor of several workers: owns the listening sockets, starts and ends the workers, answers for them all.

No mail passes it. It reads the configuration, and a worker follows the one that the supervisor has found good; what
operators ask goes to the workers and comes back as one answer (`asking.py`).
"""

import asyncio
import logging
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bridgehead import __version__
from bridgehead.admin.calls.channel import Request
from bridgehead.admin.calls.control import ControlServer
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.health.alarms import AlarmReport
from bridgehead.admin.methods import every_method
from bridgehead.admin.ports import ReloadOutcome
from bridgehead.admin.queue.action_record import ACTION
from bridgehead.admin.queue.standing_rules import RULE
from bridgehead.delivery.resubmit_request import RESUBMIT_REQUEST
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.clock import SystemClock
from bridgehead.net.ip_range import Binding
from bridgehead.queues.numbers import ALL_NUMBERS, Numbers
from bridgehead.queues.sqlite import shards
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.server import bind_sockets
from bridgehead.receive.workers.company import CompanyKeeper, make_memory
from bridgehead.server.config.check import load_checked
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.problem import ConfigurationError
from bridgehead.server.config.reloaded import refused
from bridgehead.server.management import Management
from bridgehead.server.notify import Notifier
from bridgehead.server.process import CANNOT_START, Bound, announce, reload_on_signal, stop_on_signals, tell_gathered
from bridgehead.server.rooms import open_directory
from bridgehead.server.workers.asking import SYSTEM, Asked, combined
from bridgehead.server.workers.desk import WorkerDesk
from bridgehead.server.workers.elsewhere import Trouble
from bridgehead.server.workers.gathering import JOINED_NOTES
from bridgehead.server.workers.orders import Orders
from bridgehead.server.workers.place import TELL_SECONDS, Place, shared_note_numbers
from bridgehead.server.workers.running import WorkerProcess
from bridgehead.server.workers.together import Series, Together
from bridgehead.tracking.alarms import Severity

log = logging.getLogger("bridgehead.server")


class Supervisor:
    """All workers of a server.

    Args:
        bound: every socket.
    """

    def __init__(self, loaded: Loaded, path: Path | None, bound: Bound) -> None:
        self.loaded, self._path, self._bound = loaded, path, bound
        configuration = loaded.configuration
        self._count = configuration.server.workers
        self.clock = SystemClock()
        self.action_numbers = self.request_numbers = Series(ALL_NUMBERS)
        fqdn = configuration.server.fqdn or socket.getfqdn()
        self.stop_requested = asyncio.Event()
        self.notifier = Notifier()
        self._places: dict[int, Place] = {}
        self._company = CompanyKeeper(make_memory(self._count))
        self._management = Management(loaded, fqdn, self.clock.now)
        channel = self._management.channel
        self.workers = [
            WorkerProcess(number, channel.with_name(f"{channel.stem}-{number}{channel.suffix}"),
                          partial(self._orders, number), partial(self._company.absent, number - 1))
            for number in range(1, self._count + 1)
        ]  # fmt: skip
        own = {
            "server.reload": lambda _: self.reload(),
            "actions.preview": lambda order: self._together().preview(order),
        }
        self._asked = Asked(self.workers, own, self._together)
        asked: Any = self._asked
        self._control = ControlServer(
            lambda: combined(every_method()), asked, channel, self._management.audit, self._management.interface_pid
        )
        self._reloading = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bring the queues into order, start every worker, answer. Raises what keeps a server from starting."""
        await asyncio.to_thread(self._prepare)
        started = await asyncio.gather(*(worker.start() for worker in self.workers), return_exceptions=True)
        for fault in started:
            if fault is not None:
                raise fault
        self._management.api.listen(self._bound.api, self._bound.probe)
        await self._control.start()
        self._management.api.start()
        if (interval := self.notifier.watchdog_interval) is not None:
            self._tasks.append(asyncio.get_running_loop().create_task(self._tend_watchdog(interval)))
        self._tasks.append(asyncio.get_running_loop().create_task(self._tell_troubles()))

    def _prepare(self) -> None:
        """On a thread: the queues of workers that are no more come to the first one; the others know its rules."""
        queue = self.loaded.within(self.loaded.configuration.queues.queue_database_path)
        tell_gathered(shards.gather(queue, self._count, JOINED_NOTES))
        shards.hand_out(queue, self._count, [RULE])
        entries, notes = shards.numbers_from(queue, self._count), shards.notes_from(queue, self._count, ACTION)
        self.action_numbers = Series(shared_note_numbers(notes, self._count))
        self.request_numbers = Series(Numbers(shards.notes_from(queue, self._count, RESUBMIT_REQUEST)))
        for number in range(1, self._count + 1):
            self._places[number] = Place(number, self._count, entries, notes)

    def _orders(self, number: int, handover: int) -> Orders:
        place, early = self._places[number], self._bound.early
        return Orders(
            loaded=self.loaded,
            path=self._path,
            place=place,
            channel=self.workers[number - 1].channel,
            handover=handover,
            memory=self._company.memory,
            receive={str(binding): one.fileno() for binding, one in self._bound.receive.items()},
            acme={str(binding): one.fileno() for binding, one in early.acme.items()} if place.is_first else {},
            policy=early.policy.fileno() if early.policy is not None and place.is_first else -1,
        )

    async def stop(self) -> None:
        """Accept no more, have every worker finish what is under way."""
        self.notifier.stopping()
        for task in self._tasks:
            task.cancel()
        await self._management.api.stop()
        await self._control.close()
        for one in self._bound.receive.values():
            one.close()
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        self._bound.early.close()
        self._management.audit.close()

    async def _tell_troubles(self) -> None:
        """Have the first worker tell of what is wrong with the others and with us, as it tells of its own alarms, and
        watch over those that sent mail to others."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                await self._tell(await self._troubles())
                await self._pass_on_senders()
            except AdminFault as fault:
                log.warning("alarms of workers are not told: %s", fault)

    async def _troubles(self) -> list[Trouble]:
        found = [Trouble(id, Severity.WARNING, text) for id, text in self._management.troubles().items() if text]
        for worker in self.workers[1:]:
            if not worker.ready.is_set():
                text = worker.trouble or "is being started"
                found.append(Trouble("down", Severity.CRITICAL, text, "see the log for why", worker.number))
                continue
            answer = await worker.core.ask(Request(id=0, method="alarms.list", caller=SYSTEM))
            found += (
                Trouble(one.id, Severity(one.severity), one.text, one.remedy, worker.number)
                for one in msgspec.json.decode(answer.result, type=AlarmReport).alarms
            )
        return found

    async def _tell(self, troubles: list[Trouble]) -> None:
        if self.workers[0].ready.is_set():
            await self._asked.first(WorkerDesk.note_troubles, troubles=troubles)

    async def _pass_on_senders(self) -> None:
        working = [one for one in self.workers if one.ready.is_set()]
        if self.workers[0] not in working:
            return
        for worker in working[1:]:
            heard = await self._asked.step(worker, WorkerDesk.senders)
            await self._asked.first(WorkerDesk.note_senders, senders=heard)

    def _together(self) -> Together:
        return Together(self._asked, self)

    async def _tend_watchdog(self, interval: float) -> None:
        """Say that we live as long as every worker answers, or is being started."""
        while True:
            await asyncio.sleep(interval)
            try:
                async with asyncio.timeout(interval):
                    await asyncio.gather(
                        *(one.core.ask(Request(id=0, method="health.live", caller=SYSTEM))
                          for one in self.workers if one.ready.is_set())
                    )  # fmt: skip
            except (AdminFault, TimeoutError) as fault:
                silent = [one.number for one in self.workers if one.ready.is_set()]
                log.error("a worker among %s does not answer: %s", silent, fault)
                continue
            self.notifier.watchdog()

    # --- configuration ----------------------------------------------------------------------------------------------

    async def reload(self) -> ReloadOutcome:
        """Read the configuration anew, all or nothing: whatever can fail is tried before a worker is told."""
        async with self._reloading:
            try:
                loaded = load_checked(self._path)
                opened = self._open(loaded)
            except ConfigurationError as error:
                return refused(*error.problems)
            except (OSError, DirectoryUnavailable) as error:
                return refused(error)
            try:
                management = self._management.prepare(loaded)
            except (OSError, CertificateError) as error:
                for one in opened.values():
                    one.close()
                return refused(error)
            self.notifier.reloading()
            before, self.loaded = self.loaded, loaded
            self._bound.receive.update(opened)
            outcomes = await asyncio.gather(*(self._reload_one(worker, opened) for worker in self.workers))
            wanted = set(ReceiveConnectors(loaded.configuration.receive_connectors).listening())
            for binding in [one for one in self._bound.receive if one not in wanted]:
                self._bound.receive.pop(binding).close()
            self._management.reconfigure(loaded, management)
            self.notifier.ready()
            told = next((one for one in outcomes if one is not None), ReloadOutcome())
            if before.configuration.server.workers != loaded.configuration.server.workers:
                log.warning("the number of workers changes with a restart")
            return told

    def _open(self, loaded: Loaded) -> dict[Binding, socket.socket]:
        """New listening sockets, once the directory is seen to open. Raises OSError, DirectoryUnavailable."""
        configuration = loaded.configuration
        open_directory(
            loaded.within(configuration.directory.recipients_file), configuration.categorizer.plus_addressing_enabled
        )
        return bind_sockets(configuration.receive_connectors, self._bound.receive)

    async def _reload_one(self, worker: WorkerProcess, opened: dict[Binding, socket.socket]) -> ReloadOutcome | None:
        """One that cannot follow is started again, and then has the configuration that is in force."""
        if not worker.ready.is_set():
            return None
        try:
            worker.hand_over(opened)
            answer = await worker.core.ask(Request(id=0, method="server.reload", caller=SYSTEM))
            outcome = msgspec.json.decode(answer.result, type=ReloadOutcome)
            if not outcome.problems:
                return outcome
            reason = "; ".join(outcome.problems)
        except (AdminFault, OSError) as fault:
            reason = str(fault)
        log.error("worker %d could not follow a reload and is started again: %s", worker.number, reason)
        worker.end()
        return None


async def supervise(loaded: Loaded, path: Path | None) -> int:
    """Run a server with several workers to its end. Returns the exit code."""
    bound = Bound()
    supervisor: Supervisor | None = None
    try:
        bound.bind(loaded)
        supervisor = Supervisor(loaded, path, bound)
        stop_on_signals(supervisor.stop_requested)
        await supervisor.start()
    except CANNOT_START as error:
        log.critical("the server cannot start: %s", error)
        if supervisor is not None:
            await supervisor.stop()
        bound.close()
        return 1
    reload_on_signal(supervisor.reload)
    supervisor.notifier.ready(f"Bridgehead {__version__} accepts mail")
    announce(loaded)
    log.info("Bridgehead %s is ready with %d workers, process %d", __version__, len(supervisor.workers), os.getpid())
    await supervisor.stop_requested.wait()
    log.info("stopping")
    await supervisor.stop()
    log.info("stopped")
    return 0
