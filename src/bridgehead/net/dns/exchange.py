# SPDX-License-Identifier: MIT
"""One DNS question and its answer, by UDP and, where that is cut short, by TCP (RFC 1035 §4.2, RFC 7766).

dnspython reads the wire, record by record: one that cannot be read is left out and told of in the answer's `errors`,
so that a garbled record never hides the others.
"""

import asyncio
import struct

import dns.exception
import dns.flags
import dns.message


class NoAnswer(Exception):
    """Nothing came that is an answer. The message says why."""


async def exchange(question: dns.message.Message, address: str, port: int, seconds: float) -> dns.message.Message:
    """The answer to a question. Raises NoAnswer."""
    wire = question.to_wire()
    try:
        async with asyncio.timeout(seconds):
            answer = await _by_udp(question, wire, address, port)
            if answer.flags & dns.flags.TC:
                answer = await _by_tcp(question, wire, address, port)
    except TimeoutError:
        raise NoAnswer(f"no answer within {seconds:g} s") from None
    except (OSError, EOFError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from None
    return answer


def _read(question: dns.message.Message, data: bytes) -> dns.message.Message | None:
    """An answer to the question; None for anything else."""
    try:
        answer = dns.message.from_wire(data, ignore_trailing=True, continue_on_error=True)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error):
        return None
    return answer if question.is_response(answer) else None


class _Once(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; what else comes is passed over."""

    def __init__(self, question: dns.message.Message) -> None:
        self.answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()
        self._question = question

    def datagram_received(self, data: bytes, addr: object) -> None:
        answer = _read(self._question, data)
        if answer is not None and not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_udp(question: dns.message.Message, wire: bytes, address: str, port: int) -> dns.message.Message:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Once(question), remote_addr=(address, port)
    )
    try:
        transport.sendto(wire)
        return await protocol.answer
    finally:
        protocol.answer.cancel()
        transport.close()


async def _by_tcp(question: dns.message.Message, wire: bytes, address: str, port: int) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = _read(question, await reader.readexactly(length))
    finally:
        writer.transport.abort()
    if answer is None:
        raise OSError("what came by TCP is no answer")
    return answer
