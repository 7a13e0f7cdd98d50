# SPDX-License-Identifier: MIT
"""Any octets in any segments give the server engine's events and replies, never an exception, whatever the segments."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bridgehead.mail.reply import Reply
from bridgehead.smtp import replies
from bridgehead.smtp.events import Bdat, ChunkEnd, ContentPiece, Data, Event, Hello, StartTls, Violation
from bridgehead.smtp.extensions import Features
from bridgehead.smtp.server import ServerConnection
from bridgehead.smtp.states import State

LINES = st.sampled_from([
    b"EHLO a.test\r\n", b"HELO a\r\n", b"MAIL FROM:<a@a.test>\r\n", b"MAIL FROM:<> BODY=BINARYMIME\r\n", b"RCPT TO:<b@b.test>\r\n",
    b"DATA\r\n", b"BDAT 4\r\nQUIT", b"BDAT 0 LAST\r\n", b"BDAT 7 LAST\r\nRSET\r\n.", b"RSET\r\n", b"NOOP\r\n", b"VRFY x\r\n",
    "VRFY ü\r\n".encode(), b"AUTH PLAIN\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"*\r\n", b"text\r\n", b"\r\n.\r\n", b".\r\n", b"..\r\n", b"\n.\n",
    b"STARTTLS\r\n", b"QUIT\r\n", b"\r", b"\n", b"\0", b"x" * 300 + b"\r\n",
])  # fmt: skip
STREAMS = st.lists(LINES | st.binary(max_size=20), max_size=40).map(b"".join)
FEATURES = Features(starttls=False, auth_mechanisms=("PLAIN",))
REFUSALS = (replies.UNABLE_TO_RELAY, replies.LOCAL_ERROR)


class Reference:
    """What must hold whatever happened: MAIL and at least one RCPT were accepted in this transaction."""

    def __init__(self) -> None:
        self.mail = False
        self.recipients = 0


def run(stream: bytes, cuts: list[int], verdicts: list[int], *, feed: bool = False) -> tuple[list[str], bytes]:
    """Drive the engine; `verdicts` say which answers are refusals. Returns the events (content joined) and the replies."""
    engine = ServerConnection(FEATURES)
    engine.greet(Reply(220, "", "hi"))
    out, trail, reference, content, asked, bad_chunk = b"", [], Reference(), b"", 0, False
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        waiting = engine.feed(stream[start:end]) if feed else engine.receive_data(stream[start:end])
        while (event := waiting or engine.next_event()) is not None:
            waiting = None
            if isinstance(event, ContentPiece) and not event.final:
                content += event.data
                continue
            if isinstance(event, Bdat):
                bad_chunk = event.size < 0
                engine.begin_chunk()
                continue
            refused = verdicts[asked % len(verdicts)] if verdicts else 0
            asked += 1
            trail.append(repr(event))
            _answer(engine, event, refused or bad_chunk, reference, trail, content)
            if isinstance(event, ContentPiece | ChunkEnd):
                content, bad_chunk = b"", False
        out += engine.data_to_send()
    return trail, out


def _answer(
    engine: ServerConnection, event: Event, refused: int, reference: Reference, trail: list[str], content: bytes
) -> None:
    if isinstance(event, Violation):
        engine.reply(event.reply)
    elif refused:
        engine.reply(REFUSALS[refused % 2])
    elif isinstance(event, Hello):
        engine.hello(Reply(250, "", "host"), event.extended)
    elif isinstance(event, ContentPiece) or (isinstance(event, ChunkEnd) and event.last):
        assert reference.mail
        assert reference.recipients
        trail.append(f"message {content!r}")
        engine.reply(Reply(250, "2.6.0", "queued"))
    elif isinstance(event, Data):
        engine.reply(replies.START_MAIL_INPUT)
    elif isinstance(event, StartTls):
        engine.reply(replies.TLS_NOT_OFFERED)
    else:
        engine.reply(Reply(250, "2.0.0", "OK"))
        name = type(event).__name__
        reference.mail = reference.mail or name == "Mail"
        reference.recipients += name == "Rcpt"
    if engine.state in (State.CONNECTED, State.READY):
        reference.mail, reference.recipients = False, 0


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 5000), max_size=12), st.lists(st.integers(0, 2), max_size=7))
def test_no_octets_break_the_engine(stream: bytes, cuts: list[int], verdicts: list[int]) -> None:
    whole = b"EHLO a.test\r\n" + stream
    assert run(whole, cuts, verdicts) == run(whole, cuts, verdicts, feed=True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([
        b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n", b"BDAT 4\r\nQUIT", b"BDAT 6 LAST\r\nRSET\r\n", b"RSET\r\n", b"NOOP\r\n", b"RCPT TO:<c@c>\r\n",
    ]), max_size=20).map(b"".join),
    st.lists(st.integers(0, 5000), max_size=12),
    st.lists(st.integers(0, 2), max_size=7),
)  # fmt: skip
def test_segments_make_no_difference(stream: bytes, cuts: list[int], verdicts: list[int]) -> None:
    assert run(stream, cuts, verdicts) == run(stream, [], verdicts)
    assert run(stream, cuts, verdicts, feed=True) == run(stream, [], verdicts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"a", b".", b"\r\n", b"\r", b"\n", b"..", b"\r\n.", b"\0", b"\xff"]), max_size=60).map(b"".join),
       st.lists(st.integers(0, 500), max_size=12), st.booleans())  # fmt: skip
def test_content_survives_any_segments(content: bytes, cuts: list[int], feed: bool) -> None:
    lines = content.split(b"\r\n")
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    trail: list[bytes] = []
    engine = ServerConnection(FEATURES)
    for part in (b"HELO a\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@b>\r\n", b"DATA\r\n"):
        engine.receive_data(part)
        event = engine.next_event()
        assert event is not None
        engine.reply(replies.START_MAIL_INPUT if isinstance(event, Data) else Reply(250, "2.0.0", "OK"))
    stream = stuffed + b"\r\n.\r\nNOOP\r\n"
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    for start, end in pairwise(edges):
        waiting = engine.feed(stream[start:end]) if feed else engine.receive_data(stream[start:end])
        while (event := waiting or engine.next_event()) is not None:
            waiting = None
            if isinstance(event, ContentPiece):
                trail.append(event.data)
                if event.final:
                    engine.reply(Reply(250, "2.6.0", "queued"))
            else:
                engine.reply(Reply(250, "2.0.0", "OK"))
    assert b"".join(trail) == content + b"\r\n"
    assert engine.data_to_send().endswith(b"250 2.6.0 queued\r\n250 2.0.0 OK\r\n")
