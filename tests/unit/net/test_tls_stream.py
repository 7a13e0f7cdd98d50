# SPDX-License-Identifier: MIT
"""TLS over connections of the loopback, against ourselves, against Python's `ssl` by hand and against OpenSSL's server."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridgehead.net.tls_stream import TlsStream
from support.certificates import Authority, Pair
from support.ports import free_port

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SIZES = [1, 2, 5000, 16_384, 16_385, 300_000]
PATIENCE = 15.0


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Authority(tmp_path / "ca").issue("localhost")


def trusting(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


class End(asyncio.Protocol):
    """One end of a connection, which begins TLS at once and notes what happens; `answer` makes what it says."""

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, first: bytes = b"",
        answer: Callable[[bytes], bytes] | None = None, bye: bytes = b"",
    ) -> None:  # fmt: skip
        self.context, self.server_side, self.first, self.answer, self.bye = context, server_side, first, answer, bye
        self.heard = b""
        self.reads = 0
        self.failure: Exception | None = None
        self.ended = False
        self.paused = 0
        self.open = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.stream: TlsStream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = TlsStream(transport, self, self.context, server_side=self.server_side)  # type: ignore[arg-type]

    def handshake_done(self) -> None:
        self.open = True
        if self.first:
            self.stream.write(self.first)

    def handshake_failed(self, error: Exception) -> None:
        assert self.failure is None, "told once"
        self.failure = error

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.reads += 1
        if self.answer is not None:
            self.stream.write(self.answer(data))
        if self.bye and data.endswith(self.bye):
            self.stream.close()

    def eof_received(self) -> None:
        self.ended = True

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def listening(pair: Pair, **more: Callable[[bytes], bytes] | bytes) -> AsyncIterator[tuple[int, list[End]]]:
    """A server whose connections begin with TLS: its port and its ends."""
    ends: list[End] = []
    context = pair.server_context()
    context.num_tickets = 1

    def end() -> End:
        ends.append(End(context, server_side=True, **more))  # type: ignore[arg-type]
        return ends[-1]

    server = await asyncio.get_running_loop().create_server(end, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], ends
        for one in ends:
            one.stream.abort()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def connected(port: int, context: ssl.SSLContext, first: bytes = b"") -> End:
    _, end = await asyncio.get_running_loop().create_connection(
        lambda: End(context, server_side=False, first=first), "127.0.0.1", port
    )
    await until(lambda: end.open or end.lost.done())
    return end


class Hand:
    """A client whose every octet on the wire is the test's business."""

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext) -> "Hand":
        return cls(context, *await asyncio.open_connection("127.0.0.1", port))

    async def hear(self) -> None:
        self.incoming.write(await asyncio.wait_for(self.reader.read(65536), PATIENCE))

    async def shake_hands(self) -> bytes:
        """The handshake but for its last flight, which is returned."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.writer.write(self.outgoing.read())
                await self.hear()
            else:
                return self.outgoing.read()

    def segments(self) -> int:
        """How many have brought octets so far (tcpi_data_segs_in, include/uapi/linux/tcp.h)."""
        info = self.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int(struct.unpack_from("=I", info, 152)[0])

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    async def said(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self.tls.read(65536)
            except ssl.SSLWantReadError:
                await self.hear()
        return data

    async def goodbye(self) -> None:
        """Wait for close_notify."""
        while True:
            try:
                assert self.tls.read() == b""
            except ssl.SSLWantReadError:
                await self.hear()
            else:
                return


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_said_arrives_whole_both_ways(pair: Pair, version: ssl.TLSVersion) -> None:
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        client = await connected(port, trusting(version))
        said = b""
        for size in SIZES:
            piece = (b"abcdefg" * (size // 7 + 1))[:size]
            client.stream.write(piece)
            said += piece
            await until(lambda: len(client.heard) == len(said))  # noqa: B023
        assert ends[0].heard == said
        assert client.heard == said.swapcase()
        spoken = {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
        assert client.stream.get_extra_info("ssl_object").version() == spoken
        assert client.stream.get_extra_info("peername")[1] == port
        client.stream.abort()


@pytest.mark.parametrize("version", VERSIONS)
async def test_octet_by_octet(pair: Pair, version: ssl.TLSVersion) -> None:
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        hand = await Hand.connect(port, trusting(version))
        write = hand.writer.write

        def slowly(data: bytes) -> None:
            for octet in data:
                write(bytes((octet,)))

        hand.writer.write = slowly  # type: ignore[method-assign]
        slowly(await hand.shake_hands() + (hand.sealed(b"one") if version is VERSIONS[1] else b""))
        if version is VERSIONS[0]:
            await until(lambda: ends[0].open)
            slowly(hand.sealed(b"one"))
        slowly(hand.sealed(b"two"))
        assert await hand.said(6) == b"ONETWO"
        assert ends[0].heard == b"onetwo"
        hand.writer.transport.abort()


async def test_the_first_words_go_with_the_end_of_the_handshake(pair: Pair) -> None:
    seen: list[bytes] = []
    context = pair.server_context()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        for _ in range(2):
            incoming.write(await reader.read(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            writer.write(outgoing.read())
        seen.append(tls.read(100))
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        client = await connected(server.sockets[0].getsockname()[1], trusting(), b"EHLO a.test\r\n")
        await asyncio.wait_for(client.lost, PATIENCE)
    assert seen == [b"EHLO a.test\r\n"]


async def test_a_ticket_waits_for_the_first_answer(pair: Pair) -> None:
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        hand = await Hand.connect(port, trusting())
        hand.writer.write(await hand.shake_hands())
        await until(lambda: ends[0].open)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hand.reader.read(1), 0.05)
        hand.writer.write(hand.sealed(b"a"))
        assert await hand.said(1) == b"A"
        assert hand.tls.session is not None
        assert hand.tls.session.has_ticket
        hand.writer.transport.abort()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_is_taken_up_again(pair: Pair, version: ssl.TLSVersion) -> None:
    context = trusting(version)
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        hand = await Hand.connect(port, context)
        hand.writer.write(await hand.shake_hands())
        await until(lambda: ends[0].open)
        hand.writer.write(hand.sealed(b"a"))
        assert await hand.said(1) == b"A"
        again = await Hand.connect(port, context)
        again.tls.session = hand.tls.session
        again.writer.write(await again.shake_hands())
        assert again.tls.session_reused
        for one in (hand, again):
            one.writer.transport.abort()


@pytest.mark.parametrize("rubbish", [b"EHLO a.test\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70, b"\0" * 300])
async def test_what_is_no_handshake_ends_the_connection(pair: Pair, rubbish: bytes) -> None:
    async with listening(pair) as (port, ends):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rubbish)
        with contextlib.suppress(ConnectionResetError):
            alert = await asyncio.wait_for(reader.read(), PATIENCE)
            assert alert[:1] in (b"\x15", b"")
        assert isinstance(await asyncio.wait_for(ends[0].lost, PATIENCE), ssl.SSLError)
        assert isinstance(ends[0].failure, ssl.SSLError)
        assert not ends[0].open
        writer.transport.abort()


async def test_the_alert_says_why(pair: Pair) -> None:
    async with listening(pair) as (port, ends):
        context = pair.server_context()
        ends.clear()
        strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        strict.check_hostname = False
        strict.load_verify_locations(Authority(pair.certificate.parent / "other").root)
        client = await connected(port, strict)
        assert isinstance(client.failure, ssl.SSLCertVerificationError)
        failure = await asyncio.wait_for(ends[0].lost, PATIENCE)
        assert isinstance(failure, ssl.SSLError)
        assert "UNKNOWN_CA" in str(failure.reason)
        assert context is not None


async def test_a_connection_lost_in_the_handshake(pair: Pair) -> None:
    async with listening(pair) as (port, ends):
        hand = await Hand.connect(port, trusting())
        with pytest.raises(ssl.SSLWantReadError):
            hand.tls.do_handshake()
        hand.writer.write(hand.outgoing.read())
        await hand.hear()
        hand.writer.close()
        await until(lambda: ends[0].lost.done())
        assert isinstance(ends[0].failure, ConnectionResetError)


async def test_a_handshake_that_is_given_up(pair: Pair) -> None:
    async with listening(pair) as (port, ends):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bool(ends))
        ends[0].stream.give_up(TimeoutError())
        assert isinstance(await asyncio.wait_for(ends[0].lost, PATIENCE), TimeoutError)
        assert isinstance(ends[0].failure, TimeoutError)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.transport.abort()


async def test_a_record_that_was_tampered_with(pair: Pair) -> None:
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        hand = await Hand.connect(port, trusting())
        last, good, bad = await hand.shake_hands(), hand.sealed(b"good"), hand.sealed(b"bad")
        hand.writer.write(last + good + bad[:-1] + bytes((bad[-1] ^ 1,)))
        assert isinstance(await asyncio.wait_for(ends[0].lost, PATIENCE), ssl.SSLError)
        assert ends[0].failure is None
        assert ends[0].heard == b"good"
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            await hand.said(1)
        hand.writer.transport.abort()


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_end_is_said_with_the_last_words(pair: Pair, version: ssl.TLSVersion) -> None:
    async with listening(pair) as (port, ends):
        hand = await Hand.connect(port, trusting(version))
        hand.writer.write(await hand.shake_hands())
        await until(lambda: ends[0].open)
        ends[0].stream.write(b"bye")
        ends[0].stream.close()
        ends[0].stream.write(b"too late")
        assert ends[0].stream.is_closing()
        assert await hand.said(3) == b"bye"
        with contextlib.suppress(ssl.SSLWantReadError):
            hand.tls.unwrap()
        assert not ends[0].lost.done()
        hand.writer.write(hand.outgoing.read())
        assert await asyncio.wait_for(ends[0].lost, PATIENCE) is None
        hand.writer.transport.abort()


async def test_a_short_session_takes_three_segments_of_ours(pair: Pair) -> None:
    """The handshake; the ticket with the first answer; the last answer with close_notify."""
    async with listening(pair, answer=bytes.swapcase, bye=b"quit") as (port, ends):
        hand = await Hand.connect(port, trusting())
        hand.writer.write(await hand.shake_hands() + hand.sealed(b"hello"))
        assert await hand.said(5) == b"HELLO"
        assert hand.segments() == 2
        hand.writer.write(hand.sealed(b"quit"))
        assert await hand.said(4) == b"QUIT"
        await hand.goodbye()
        assert hand.segments() == 3
        hand.writer.transport.abort()
        await asyncio.wait_for(ends[0].lost, PATIENCE)


async def test_nothing_waits_for_the_garbage_collector(pair: Pair) -> None:
    async with listening(pair, answer=bytes.swapcase, bye=b"quit") as (port, ends):
        gc.collect()
        gc.disable()
        try:
            hand = await Hand.connect(port, trusting())
            hand.writer.write(await hand.shake_hands() + hand.sealed(b"quit"))
            assert await hand.said(4) == b"QUIT"
            hand.writer.transport.abort()
            await asyncio.wait_for(ends[0].lost, PATIENCE)
            stream = weakref.ref(ends[0].stream.get_extra_info("ssl_object"))
            ends.clear()
            await until(lambda: stream() is None)
        finally:
            gc.enable()


async def test_data_after_our_goodbye_ends_the_connection(pair: Pair) -> None:
    async with listening(pair) as (port, ends):
        hand = await Hand.connect(port, trusting())
        hand.writer.write(await hand.shake_hands())
        await until(lambda: ends[0].open)
        ends[0].stream.close()
        hand.writer.write(hand.sealed(b"but"))
        assert await asyncio.wait_for(ends[0].lost, PATIENCE) is None
        assert ends[0].heard == b""
        hand.writer.transport.abort()


async def test_the_other_sides_goodbye_comes_with_its_last_words(pair: Pair) -> None:
    async with listening(pair, answer=bytes.swapcase) as (port, ends):
        hand = await Hand.connect(port, trusting())
        hand.writer.write(await hand.shake_hands() + hand.sealed(b"last"))
        assert await hand.said(4) == b"LAST"
        data = hand.sealed(b"words")
        with contextlib.suppress(ssl.SSLWantReadError):
            hand.tls.unwrap()
        hand.writer.write(data + hand.outgoing.read())
        assert await asyncio.wait_for(ends[0].lost, PATIENCE) is None
        assert (ends[0].heard, ends[0].ended) == (b"lastwords", True)
        hand.writer.transport.abort()


async def test_reading_can_be_paused_and_writing_says_when_it_is_too_much(pair: Pair) -> None:
    async with listening(pair) as (port, ends):
        client = await connected(port, trusting())
        await until(lambda: ends[0].open)
        ends[0].stream.pause_reading()
        while not client.paused:
            client.stream.write(b"x" * 100_000)
            await asyncio.sleep(0)
        assert ends[0].heard == b""
        ends[0].stream.resume_reading()
        await until(lambda: not client.paused)
        client.stream.close()
        await asyncio.wait_for(client.lost, PATIENCE)
        assert set(ends[0].heard) == set(b"x")
        assert ends[0].ended


async def test_a_server_that_renegotiates(pair: Pair) -> None:
    """What is written in the meantime arrives when it is over."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", str(port), "-cert", pair.certificate, "-key", pair.key, "-tls1_2",
        "-no_ticket", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    client = await connected(port, trusting(ssl.TLSVersion.TLSv1_2))
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            tls: ssl.SSLObject = client.stream.get_extra_info("ssl_object")
            before = tls.get_channel_binding("tls-unique")
            process.stdin.write(b"R\n")
            number, heard = 0, b""
            while tls.get_channel_binding("tls-unique") == before:
                client.stream.write(b"line %d\n" % number)
                number += 1
                await asyncio.sleep(0)
            client.stream.write(b"line end\n")
            while b"line end\n" not in heard:
                heard += await process.stdout.read(65536)
        lines = [line for line in heard.split(b"\n") if line.startswith(b"line")]
        assert lines == [b"line %d" % n for n in range(number)] + [b"line end"]
        client.stream.abort()
        await asyncio.wait_for(client.lost, PATIENCE)
    finally:
        process.kill()
        await process.communicate()
