# SPDX-License-Identifier: MIT
"""The servers of an LDAP directory: kept connections, fail-over, and what is done about a server that fails.

A server that fails is asked by no logon until it works again: it is looked at in the background, at growing intervals.
So a dead or silent one costs the first logon its time limit, and later ones nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bridgehead.mail.limits import LDAP_IDLE_SECONDS, LDAP_RETRY_SECONDS_MAX, LDAP_RETRY_SECONDS_MIN, LDAP_WAITING
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.ldap_connection import LdapConnection, LdapFault, LdapServer, connect
from bridgehead.receive.logons.ldap.settings import LdapSettings, server_address

T = TypeVar("T")
Work = Callable[[LdapConnection], Awaitable[T]]


class LoginsUnavailable(Exception):
    """Nobody can tell now. The message says why, for the log."""


def servers_of(settings: LdapSettings, ca_file: str) -> list[LdapServer]:
    """Where the servers are, and how they are talked to. `ca_file`: absolute."""
    return [
        LdapServer(
            url=one.url, host=one.host, port=one.port, implicit_tls=one.implicit_tls,
            start_tls=settings.start_tls and not one.implicit_tls, ca_file=ca_file,
            check_name=settings.check_server_name,
        )
        for one in map(server_address, settings.servers)
    ]  # fmt: skip


class ServerLink:
    """One server: whether it works, and connections to it that are kept.

    Attributes:
        fault: why it is not asked, "" while it is.
    """

    def __init__(self, server: LdapServer, dns: Callable[[], DnsLookup], seconds: float, keep: int) -> None:
        self.server, self._dns, self._seconds, self._keep = server, dns, seconds, keep
        self.fault = ""
        self._idle: deque[tuple[float, LdapConnection]] = deque()

    async def ask(self, work: Work[T]) -> T:
        """Do something on a connection, within the time limit. Raises LdapFault."""
        try:
            async with asyncio.timeout(self._seconds):
                kept = self._kept()
                if kept is not None:
                    try:
                        return await self._do(kept, work)
                    except LdapFault:
                        self.forget()  # the server may have ended it, and the others, long ago
                return await self._do(await connect(self.server, self._dns(), self._seconds, _nobody), work)
        except TimeoutError:
            self.forget()
            raise LdapFault(f"no answer within {self._seconds:g} s") from None

    async def _do(self, connection: LdapConnection, work: Work[T]) -> T:
        try:
            done = await work(connection)
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < self._keep:
            self._idle.append((time.monotonic(), connection))
            asyncio.get_running_loop().call_later(LDAP_IDLE_SECONDS, self._tidy)
        else:
            connection.close()
        return done

    def _kept(self) -> LdapConnection | None:
        """A kept connection that may still work, the one last used."""
        self._tidy()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    def _tidy(self) -> None:
        """Close what was not used for long."""
        while self._idle and self._idle[0][0] <= time.monotonic() - LDAP_IDLE_SECONDS:
            self._idle.popleft()[1].close()

    def forget(self) -> None:
        """End the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()


def _nobody(step: str, came: str) -> None:
    """Steps of logons are of no interest."""


class LdapServers:
    """The servers, in the order in which they are preferred.

    Args:
        servers: those that are configured.
        dns: how to find their addresses.
        seconds: for the whole of one logon at one server.
        connections: to one server at a time.
        check: finds out on a new connection whether a server can be asked. Raises LdapFault.
        told: is told (server's url, fault) when a server fails, and "" as fault when it works again.
    """

    def __init__(
        self, servers: Sequence[LdapServer], dns: Callable[[], DnsLookup], *, seconds: float, connections: int,
        check: Work[None], told: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.links = [ServerLink(server, dns, seconds, connections) for server in servers]
        self._seconds, self._check, self._told = seconds, check, told
        self._turns = asyncio.Semaphore(connections)
        self._waiting = 0
        self._watches: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Look at every server now, so that a wrong setting is known before the first logon."""
        for link in self.links:
            self._watch(link, 0.0)

    async def ask(self, work: Work[T]) -> T:
        """Do something at the first server that works. Raises LoginsUnavailable."""
        if self._waiting >= LDAP_WAITING:
            raise LoginsUnavailable("too many logons wait for the LDAP directory")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise LoginsUnavailable("the logons before this one wait for the LDAP directory") from None
        finally:
            self._waiting -= 1
        try:
            return await self._ask(work)
        finally:
            self._turns.release()

    async def _ask(self, work: Work[T]) -> T:
        for link in self.links:
            if link.fault:
                continue
            try:
                return await link.ask(work)
            except LdapFault as fault:
                self._failed(link, str(fault))
        raise LoginsUnavailable(self._trouble())

    def _trouble(self) -> str:
        faults = "; ".join(f"{link.server.url}: {link.fault}" for link in self.links)
        return f"no LDAP server can be asked: {faults}"

    def _failed(self, link: ServerLink, fault: str) -> None:
        first = not link.fault
        self._mark(link, fault)
        if first:
            self._watch(link, LDAP_RETRY_SECONDS_MIN)

    def _mark(self, link: ServerLink, fault: str) -> None:
        link.fault = fault
        self._told(link.server.url, fault)
        if all(one.fault for one in self.links):
            self._told("", self._trouble())

    def _watch(self, link: ServerLink, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._look_until_well(link, delay))
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _look_until_well(self, link: ServerLink, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            try:
                await link.ask(self._check)
            except LdapFault as fault:
                self._mark(link, str(fault))
                delay = min(max(2 * delay, LDAP_RETRY_SECONDS_MIN), LDAP_RETRY_SECONDS_MAX)
            else:
                self._mark(link, "")
                return

    def close(self) -> None:
        """End everything."""
        for task in self._watches:
            task.cancel()
        for link in self.links:
            link.forget()
