# SPDX-License-Identifier: MIT
"""Opens one TCP or Unix connection, from a given source address, within a given time."""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from bridgehead.net.own_connections import Announce

P = TypeVar("P", bound=asyncio.BaseProtocol)


class DialError(Exception):
    """No connection; the message names the address and the cause in words fit for a log.

    Attributes:
        number: errno, 0 for none.
    """

    def __init__(self, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.number = number


def source_for(address: str, sources: Sequence[str]) -> str:
    """The source address of the same family, "" where none is given. Addresses in text form."""
    version = ipaddress.ip_address(address).version
    for source in sources:
        if ipaddress.ip_address(source).version == version:
            return source
    return ""


async def dial(
    factory: Callable[[], P], address: str, port: int, *, sources: Sequence[str] = (), seconds: float,
    announce: Announce | None = None,
) -> P:  # fmt: skip
    """Connect to one address. Raises DialError on refusal, time-out, or no route.

    Args:
        factory: makes the protocol.
        sources: at most one address for each family; none of the right family: the system chooses.
        seconds: time-out.
        announce: hears from which address and port it will be, before the other side can see it.
    """
    loop = asyncio.get_running_loop()
    source = source_for(address, sources)
    try:
        async with asyncio.timeout(seconds):
            if announce is not None:
                connection = await _connected(address, port, source, announce)
                _, protocol = await loop.create_connection(factory, sock=connection)
                return protocol
            _, protocol = await loop.create_connection(
                factory, address, port, local_addr=(source, 0) if source else None
            )
            return protocol
    except TimeoutError:
        raise DialError(f"{shown(address, port)}: no connection within {seconds:g} s", errno.ETIMEDOUT) from None
    except OSError as error:
        raise DialError(f"{shown(address, port)}: {error.strerror or error}", error.errno or 0) from None


async def _connected(address: str, port: int, source: str, announce: Announce) -> socket.socket:
    """A connected socket that was announced before. Raises OSError."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.bind((source, 0))
        announce(connection.getsockname()[:2])
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def dial_unix(factory: Callable[[], P], path: str, *, seconds: float) -> P:
    """Connect to a Unix socket. Raises DialError."""
    try:
        async with asyncio.timeout(seconds):
            _, protocol = await asyncio.get_running_loop().create_unix_connection(factory, path)
            return protocol
    except TimeoutError:
        raise DialError(f"unix:{path}: no connection within {seconds:g} s", errno.ETIMEDOUT) from None
    except OSError as error:
        raise DialError(f"unix:{path}: {error.strerror or error}", error.errno or 0) from None


def is_local_address(address: str) -> bool:
    """Whether an IP address is one of this machine's: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def shown(address: str, port: int) -> str:
    """An address and port as logs show them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
