# SPDX-License-Identifier: MIT
"""SMTP smuggling (CVE-2023-51764 and its relatives): one message in is at most one message out, whatever ends it.

Every combination of line ends and octets around a dot is sent as if it ended the content, with another transaction
behind it. Only CR LF . CR LF may end content; everything else is refused once the true end has come.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.server import Server
from support.sink import Behaviour, Sink
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


def smuggled(unique: str, decoy: str) -> bytes:
    return (
        b"MAIL FROM:<smuggler@fabrikam.test>\r\nRCPT TO:<%s>\r\nDATA\r\n"
        b"Message-ID: <smuggled-%s@client.test>\r\n\r\nsmuggled\r\n..\r\nbehind a dot\r\n"
        % (decoy.encode(), unique.encode())
    )


def one_of(before: bytes, after: bytes) -> str:
    """What must become of content whose false end is these octets: "ended", "refused" or "text"."""
    if before == after == b"\r\n":
        return "ended"
    if {before, after} <= HARMLESS | {b"\r\n"}:
        return "text"
    return "refused"


CELLS = [
    pytest.param(ENDS[before], ENDS[after], id=f"{before} . {after}")
    for before in ENDS
    for after in ENDS
    if one_of(ENDS[before], ENDS[after]) != "ended"
]
"""Every combination but the one true end."""


class Way:
    """A way through the server to somebody who records what arrives.

    Args:
        connector: whom the smuggler talks to.
        arrivals: the next hop or the mail store.
        address: makes the recipient out of a unique text.
        decoy: the recipient of what is smuggled.
    """

    def __init__(
        self, server: Server, connector: str, arrivals: Sink, address: Callable[[str], str], decoy: str
    ) -> None:  # fmt: skip
        self.server, self.connector, self.arrivals = server, connector, arrivals
        self.address, self.decoy = address, decoy


@pytest.fixture(scope="module")
def onward(conversation_server: Server, conversation_sink: Sink) -> Way:
    """To a next hop."""
    return Way(conversation_server, "relay", conversation_sink, "{}@adatum.test".format, "decoy@adatum.test")


@pytest.fixture(scope="module")
def to_mailboxes(conversation_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """To a mail store by LMTP."""
    directory = tmp_path_factory.mktemp("lmtp")
    with Sink(Behaviour(lmtp=True)) as store:
        settings, recipients = conversation_settings(directory, store.port)
        settings["mailbox_store"] = {"name": "Store", "protocol": "LMTP", "address": f"127.0.0.1:{store.port}"}
        with Server(directory, settings, recipients) as server:
            yield Way(server, "anonymous", store, lambda _: "bob@contoso.test", "carol@contoso.test")


@pytest.fixture(params=["onward", "to_mailboxes"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each of the two."""
    chosen: Way = request.getfixturevalue(request.param)
    return chosen


@pytest.mark.parametrize(("before", "after"), CELLS)
def test_only_crlf_dot_crlf_ends_content(before: bytes, after: bytes, way: Way, unique_name: Any) -> None:
    """One message in, exactly one out, the same text and nothing in it that anybody could take for an end; or none."""
    unique = unique_name("smuggle")
    fate = one_of(before, after)
    server, recipient = way.server, way.address(unique)
    content = b"Message-ID: <first-%s@client.test>\r\n\r\nhello%b.%b" % (unique.encode(), before, after)
    content += smuggled(unique, way.decoy)
    with Talk(server.port(way.connector)) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect(f"RCPT TO:<{recipient}>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(content + b".\r\n")
        reply = talk.read()
        if fate == "refused":
            assert reply.matches("550 5.6.11*"), f"not refused: {reply}"
            assert talk.closed()
        else:
            assert reply.matches("250 2.6.0*"), str(reply)
            # the next reply is that to NOOP: nothing of the smuggled transaction was taken for commands
            talk.expect("NOOP", "250 2.0.0*")
            talk.expect("DATA", "503 5.5.2*")
    last = b"Message-ID: <last-%s@x>\r\n\r\n" % unique.encode()
    server.send("sender@fabrikam.test", recipient, last, way.connector)
    server.wait_for_event("RECEIVE", message_id=f"<last-{unique}@x>")
    assert not server.events("RECEIVE", message_id=f"<smuggled-{unique}@client.test>")
    first = server.events("RECEIVE", message_id=f"<first-{unique}@client.test>")
    assert len(first) == (fate == "text")
    way.arrivals.wait_for(lambda one: f"<last-{unique}@x>".encode() in one.data)
    if fate == "text":
        arrived = way.arrivals.wait_for(lambda one: f"<first-{unique}@client.test>".encode() in one.data)
        assert arrived.data.endswith(content.replace(b"\r\n.", b"\r\n"))
        assert not arrived.bare_line_ends
        assert b"\r\n.\r\n" not in arrived.wire
    assert numbers(way, unique) == (["first", "last"] if fate == "text" else ["last"])


def numbers(way: Way, unique: str) -> list[str]:
    """Which messages of a run arrived, as often as they did."""
    heads = [one.data.partition(b"\r\n\r\n")[0] for one in list(way.arrivals.transactions)]
    return sorted(
        which
        for head in heads
        for which in ("first", "last", "smuggled")
        if f"Message-ID: <{which}-{unique}@".encode() in head
    )


def test_nothing_smuggled_has_arrived_in_the_end(way: Way) -> None:
    """Once all queues are empty nobody has got anything that was only the content of another message."""
    way.server.wait_until_empty()
    assert way.arrivals.transactions
    assert not way.arrivals.to(way.decoy)


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
