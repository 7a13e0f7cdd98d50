# SPDX-License-Identifier: MIT
"""One connection to an LDAP server: bind and search, one request at a time.

Everything waits on the event loop alone, so that a caller's time limit holds in every state, TLS handshakes included.
What a server sends is bounded; what it sends unasked ends the connection.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import msgspec

from bridgehead.ldap import ber, messages
from bridgehead.ldap.messages import Code, Entry, Result, Search
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LDAP_ANSWER_BYTES
from bridgehead.mail.secret import Secret
from bridgehead.net.dialer import DialError, dial, shown
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.tls import handshake_error
from bridgehead.net.trust import verifying_context

_ADDRESSES: Final = 4
_DIAGNOSTIC: Final = 200
Tell = Callable[[str, str], None]
"""Is told of each step as it ends: its name, what came of it."""


class LdapFault(Exception):
    """A server cannot be asked, or not any more. The message says why, without what was sent."""


class LdapServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is and how it is talked to.

    Attributes:
        url: as it is configured, for people.
        implicit_tls: TLS from the first octet (ldaps). `start_tls`: StartTLS before anything else.
        ca_file: trust anchors, "" for the system's.
        check_name: the certificate must be for `host`.
    """

    url: str
    host: str
    port: int
    implicit_tls: bool
    start_tls: bool
    ca_file: str = ""
    check_name: bool = True


class _Wire(asyncio.Protocol):
    """Octets to whole messages."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.ready: deque[bytes] = deque()
        self.size = 0
        """Octets of the answer that is awaited."""
        self.fault = ""
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.size += len(data)
        if self.size > LDAP_ANSWER_BYTES:
            self.fail(f"it answers with more than {LDAP_ANSWER_BYTES} octets")
            return
        try:
            while length := ber.whole(self.buffer, LDAP_ANSWER_BYTES):
                self.ready.append(bytes(self.buffer[:length]))
                del self.buffer[:length]
        except ber.BerError as error:
            self.fail(str(error))
        self._wake()

    def eof_received(self) -> None:
        self.fail("it ended the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection was lost: {error}" if error else "it ended the connection")

    def fail(self, fault: str) -> None:
        """The connection is of no use any more."""
        self.fault = self.fault or fault
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def message(self) -> bytes:
        """The next message. Raises LdapFault."""
        while not self.ready:
            if self.fault:
                raise LdapFault(self.fault)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.ready.popleft()


class LdapConnection:
    """A connection that `connect` made."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._number = 0

    @property
    def usable(self) -> bool:
        """Whether a request may be tried: nothing came that was not asked for, not even the end."""
        return not self._wire.fault and not self._wire.ready and not self._wire.buffer

    async def bind(self, name: str, password: Secret) -> Result:
        """Bind by name and password. Raises LdapFault; a refusal is a result."""
        result, _ = await self._ask(lambda number: messages.bind(number, name, password))
        return result

    async def search(self, wanted: Search) -> tuple[Result, list[Entry]]:
        """Look for entries. Raises LdapFault; a refusal is a result."""
        return await self._ask(lambda number: messages.search(number, wanted))

    def close(self) -> None:
        """End it at once: nobody waits for the other side's good-bye."""
        self._wire.fail("it was given up")

    async def _ask(self, request: Callable[[int], bytes]) -> tuple[Result, list[Entry]]:
        wire, entries = self._wire, list[Entry]()
        if not self.usable:
            raise LdapFault(wire.fault or "it sent what it was not asked for")
        self._number += 1
        wire.size = 0
        assert wire.transport is not None
        wire.transport.write(request(self._number))
        while True:
            try:
                number, response = messages.decode(await wire.message())
            except ber.BerError as error:
                raise LdapFault(str(error)) from None
            if number != self._number:  # 0: notice of disconnection (RFC 4511 §4.4.1)
                raise LdapFault(
                    f"it ends the connection: {words(response)}" if number == 0 else "its answers are mixed up"
                )
            if isinstance(response, Result):
                return response, entries
            if response is not None:
                entries.append(response)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Take up TLS now. Raises LdapFault."""
        wire, loop = self._wire, asyncio.get_running_loop()
        raw = wire.transport
        assert raw is not None
        if not self.usable:  # what came in clear before the handshake is nobody's word
            raise LdapFault(wire.fault or "it sent something in clear before TLS")
        try:
            wire.transport = await loop.start_tls(raw, wire, context, server_hostname=host)
        except (OSError, ssl.SSLError) as error:
            raise LdapFault(clean_text(handshake_error(error), _DIAGNOSTIC)) from None
        finally:
            if wire.transport is raw:
                raw.abort()
        if wire.transport is None:
            raise LdapFault("the connection was lost in the TLS handshake")

    async def ask_for_tls(self) -> None:
        """StartTLS. Raises LdapFault."""
        result, _ = await self._ask(messages.start_tls)
        if result.code != Code.SUCCESS:
            raise LdapFault(f"it refuses StartTLS: {words(result)}")


async def connect(server: LdapServer, dns: DnsLookup, seconds: float, tell: Tell) -> LdapConnection:
    """A connection under the protection that is configured. Raises LdapFault; the caller limits the time.

    Args:
        seconds: for one address, so that a dead one leaves time for the next.
    """
    context = None
    if server.implicit_tls or server.start_tls:
        try:  # made anew for each connection, so that renewed trust anchors are used at once
            context = await asyncio.to_thread(_context, server)
        except (OSError, ssl.SSLError) as error:
            raise LdapFault(f"ca_file cannot be used: {clean_text(str(error), _DIAGNOSTIC)}") from None
    connection = LdapConnection(await _dial(server, dns, seconds, tell))
    try:
        if server.start_tls:
            await connection.ask_for_tls()
            tell("StartTLS", "accepted")
        if context is not None:
            await connection.start_tls(context, server.host)
            tell("TLS", f"the certificate is valid{f' for {server.host}' if server.check_name else ''}")
    except BaseException:
        connection.close()
        raise
    return connection


async def _dial(server: LdapServer, dns: DnsLookup, seconds: float, tell: Tell) -> _Wire:
    addresses: tuple[str, ...] = (server.host,)
    if ":" not in server.host and not server.host.replace(".", "").isdigit():
        found = await dns.addresses(server.host)
        addresses = tuple(found.values[:_ADDRESSES])
        if not addresses:
            raise LdapFault(f"{server.host} has no address: {found.reason}")
        tell("address", ", ".join(addresses))
    fault = ""
    for address in addresses:
        try:
            wire = await dial(_Wire, address, server.port, seconds=seconds / len(addresses))
        except DialError as error:
            fault = str(error)
        else:
            tell("connection", shown(address, server.port))
            return wire
    raise LdapFault(fault)


def _context(server: LdapServer) -> ssl.SSLContext:
    context = verifying_context(server.ca_file)
    context.check_hostname = server.check_name
    return context


def words(response: Result | Entry | None) -> str:
    """A result for people: its code by name, and the server's own text."""
    if not isinstance(response, Result):
        return "no result"
    name = str(response.code)
    with contextlib.suppress(ValueError):
        name = Code(response.code).name.lower().replace("_", " ")
    text = clean_text(response.diagnostic.rstrip("\0"), _DIAGNOSTIC)
    return f"{name} ({text})" if text else f"result {name}" if name.isdigit() else name
