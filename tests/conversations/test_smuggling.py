# SPDX-License-Identifier: MIT
"""SMTP smuggling (CVE-2023-51764 and its relatives): one message in is at most one message out, whatever ends it.

Every combination of line ends and octets around a dot is sent as if it ended the content, with another transaction
behind it. Only CR LF . CR LF may end content; everything else is refused once the true end has come.
"""

from typing import Any

import pytest

from support.server import Server
from support.sink import Sink
from support.talk import Talk

ENDS = {
    "CR": b"\r",
    "LF": b"\n",
    "CRLF": b"\r\n",
    "CRCRLF": b"\r\r\n",
    "LFCR": b"\n\r",
    "NUL": b"\0",
    "CRNULLF": b"\r\0\n",
    "VT": b"\x0b",
    "nothing": b"",
}
HARMLESS = {b"\x0b", b""}
"""Ends that are no line ends and no forbidden octets: the dot is then text."""


def smuggled(unique: str) -> bytes:
    return (
        b"MAIL FROM:<smuggler@fabrikam.test>\r\nRCPT TO:<carol@contoso.test>\r\nDATA\r\n"
        b"Message-ID: <smuggled-%s@client.test>\r\n\r\nsmuggled\r\n" % unique.encode()
    )


def one_of(before: bytes, after: bytes) -> str:
    """What must become of content whose false end is these octets: "ended", "refused" or "text"."""
    if before == after == b"\r\n":
        return "ended"
    if {before, after} <= HARMLESS | {b"\r\n"}:
        return "text"
    return "refused"


@pytest.mark.parametrize("after", ENDS)
@pytest.mark.parametrize("before", ENDS)
def test_only_crlf_dot_crlf_ends_content(
    before: str, after: str, conversation_server: Server, unique_name: Any
) -> None:
    unique = unique_name("smuggle")
    fate = one_of(ENDS[before], ENDS[after])
    if fate == "ended":
        pytest.skip("this is the true end")
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(
            b"Message-ID: <first-%s@client.test>\r\n\r\nhello%b.%b" % (unique.encode(), ENDS[before], ENDS[after])
            + smuggled(unique)
            + b".\r\n"
        )
        reply = talk.read()
        if fate == "refused":
            assert reply.matches("550 5.6.11*"), f"not refused: {reply}"
            assert talk.closed()
        else:
            assert reply.matches("250 2.6.0*"), str(reply)
            # the next reply is that to NOOP: nothing of the smuggled transaction was taken for commands
            talk.expect("NOOP", "250 2.0.0*")
            talk.expect("DATA", "503 5.5.2*")
    conversation_server.send(
        "sender@fabrikam.test", "bob@contoso.test", b"Message-ID: <last-%s@x>\r\n\r\n" % unique.encode(), "anonymous"
    )
    conversation_server.wait_for_event("RECEIVE", message_id=f"<last-{unique}@x>")
    assert not conversation_server.events("RECEIVE", message_id=f"<smuggled-{unique}@client.test>")
    first = conversation_server.events("RECEIVE", message_id=f"<first-{unique}@client.test>")
    assert len(first) == (fate == "text")


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r"])
def test_cut_at_every_octet(end: bytes, conversation_server: Server, unique_name: Any) -> None:
    """The same wherever the stream is cut."""
    content = b"Subject: x\r\n\r\na" + end + b"MAIL FROM:<s@fabrikam.test>\r\n.\r\n"
    for cut in range(13, len(content) - 1):
        with Talk(conversation_server.port("anonymous")) as talk:
            talk.hello()
            talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
            talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
            talk.expect("DATA", "354 *")
            talk.send(content[:cut])
            talk.send(content[cut:])
            reply = talk.read()
            assert reply.matches("550 5.6.11*"), f"cut at {cut}: {reply}"
            assert talk.closed()


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r\n"])
def test_chunks_know_no_dot(end: bytes, conversation_server: Server, conversation_sink: Sink, unique_name: Any) -> None:
    """BDAT: a dot ends nothing; bare CR and LF are refused; what goes on is stuffed anew."""
    unique = unique_name("chunk")
    to = f"{unique}@adatum.test"
    content = b"Message-ID: <%s@client.test>\r\n\r\nhello%bMAIL FROM:<s@fabrikam.test>\r\n" % (unique.encode(), end)
    with Talk(conversation_server.port("relay")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect(f"RCPT TO:<{to}>", "250 *")
        talk.send(b"BDAT %d LAST\r\n" % len(content) + content)
        reply = talk.read()
        if end != b"\r\n.\r\n":
            assert talk.closed()
    if end != b"\r\n.\r\n":
        assert reply.matches("550 5.6.11*"), str(reply)
        return
    assert reply.matches("250 2.6.0*"), str(reply)
    arrived = conversation_sink.wait_for(lambda one: to in one.forward_paths)
    assert arrived.body == b"hello\r\n.\r\nMAIL FROM:<s@fabrikam.test>\r\n"
    assert not arrived.bare_line_ends
    assert len(conversation_sink.to(to)) == 1


def test_what_goes_out_is_stuffed_anew(conversation_server: Server, conversation_sink: Sink, unique_name: Any) -> None:
    """Lines of dots arrive as they were, each counted once."""
    to = f"{unique_name('dots')}@adatum.test"
    lines = b"".join(b"." * count + b"\r\n" for count in range(1, 6)) + b".x\r\n"
    stuffed = b"".join(b"." + line + b"\r\n" for line in lines.split(b"\r\n")[:-1])
    with Talk(conversation_server.port("relay")) as talk:
        talk.hello()
        talk.message("sender@fabrikam.test", to, b"Subject: dots\r\n\r\n" + stuffed)
    assert conversation_sink.wait_for(lambda one: to in one.forward_paths).body == lines
