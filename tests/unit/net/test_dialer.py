# SPDX-License-Identifier: MIT
"""Connections from a given source, to both families, and the errors of those that fail."""

import asyncio

import pytest

from bridgehead.net.dialer import DialError, dial, dial_unix, is_local_address, shown, source_for
from support.ports import free_port


class Until(asyncio.Protocol):
    """Waits for the end of its connection."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.ended.set_result(None)


def test_the_source_of_the_same_family():
    sources = ["127.0.0.2", "::1"]
    assert source_for("192.0.2.1", sources) == "127.0.0.2"
    assert source_for("2001:db8::1", sources) == "::1"
    assert source_for("2001:db8::1", ["127.0.0.2"]) == ""


async def test_connecting_from_a_source_address():
    seen = []

    async def serve(reader, writer):
        seen.append(writer.get_extra_info("peername")[0])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await dial(Until, "127.0.0.1", port, sources=["127.0.0.9", "::1"], seconds=5)
    await client.ended
    assert seen == ["127.0.0.9"]
    server.close()


async def test_refusal_names_the_address():
    port = free_port()
    with pytest.raises(DialError, match=f"127.0.0.1:{port}: "):
        await dial(asyncio.Protocol, "127.0.0.1", port, seconds=5)


async def test_a_source_that_is_not_ours():
    with pytest.raises(DialError):
        await dial(asyncio.Protocol, "127.0.0.1", free_port(), sources=["192.0.2.1"], seconds=5)


async def test_no_unix_socket(tmp_path):
    with pytest.raises(DialError, match="unix:"):
        await dial_unix(asyncio.Protocol, str(tmp_path / "none"), seconds=5)


def test_local_addresses():
    assert is_local_address("127.0.0.1")
    assert not is_local_address("192.0.2.1")
    assert shown("::1", 25) == "[::1]:25"
