# SPDX-License-Identifier: MIT
"""The server engine: legality as the table says, content whole whatever the segments, state after every refusal."""

import itertools

import pytest

from bridgehead.mail.reply import Reply
from bridgehead.smtp import replies
from bridgehead.smtp.commands import parse_mail
from bridgehead.smtp.errors import LocalProtocolError
from bridgehead.smtp.events import (
    Auth,
    AuthResponse,
    Bdat,
    ChunkEnd,
    ContentPiece,
    Data,
    Event,
    Hello,
    Mail,
    Rcpt,
    StartTls,
    Violation,
)
from bridgehead.smtp.extensions import Features, ehlo_lines
from bridgehead.smtp.server import ServerConnection
from bridgehead.smtp.states import VERBS, State

FEATURES = Features(starttls=True, auth_mechanisms=("PLAIN",), max_message_size=1000)
OK = Reply(250, "2.0.0", "OK")
GO_ON = {Data: replies.START_MAIL_INPUT, Auth: replies.AUTH_OK, StartTls: replies.READY_FOR_TLS}


class Driver:
    """Answers every event at once: positively, unless `refuse` names its type."""

    def __init__(self, features: Features = FEATURES, **options: bool) -> None:
        self.engine = ServerConnection(features, **options)
        self.engine.greet(Reply(220, "", "ready"))
        self.events: list[Event] = []
        self.messages: list[bytes] = []
        self.content = b""
        self.refuse: dict[type[Event], Reply] = {}
        self.engine.data_to_send()

    def feed(self, data: bytes) -> bytes:
        self.engine.receive_data(data)
        while (event := self.engine.next_event()) is not None:
            self.events.append(event)
            self._answer(event)
        return self.engine.data_to_send()

    def _answer(self, event: Event) -> None:
        refusal = self.refuse.get(type(event))
        if isinstance(event, Violation):
            self.engine.reply(event.reply)
        elif isinstance(event, ContentPiece):
            self.content += event.data
            if event.final:
                self._message(refusal)
        elif isinstance(event, Bdat):
            self.engine.begin_chunk()
        elif isinstance(event, ChunkEnd):
            self._chunk(event, refusal)
        elif isinstance(event, Hello) and refusal is None:
            self.engine.hello(Reply(250, "", "host"), event.extended)
        else:
            self.engine.reply(refusal or GO_ON.get(type(event), OK))

    def _chunk(self, event: ChunkEnd, refusal: Reply | None) -> None:
        bdat = next(one for one in reversed(self.events) if isinstance(one, Bdat))
        if bdat.size < 0:
            self.content = b""
            self.engine.reply(replies.BAD_SEQUENCE)
        elif event.last:
            self._message(refusal)
        else:
            self.engine.reply(refusal or OK)

    def _message(self, refusal: Reply | None) -> None:
        if refusal is None:
            self.messages.append(self.content)
        self.content = b""
        self.engine.reply(refusal or OK)


def codes(out: bytes) -> list[int]:
    return [int(line[:3]) for line in out.splitlines() if line[3:4] == b" "]


def ready(driver: Driver) -> Driver:
    driver.feed(b"EHLO client.test\r\n")
    return driver


TO_STATE = {
    State.CONNECTED: b"",
    State.READY: b"EHLO a.test\r\n",
    State.MAIL: b"EHLO a.test\r\n|MAIL FROM:<a@a.test>\r\n",
    State.RCPT: b"EHLO a.test\r\n|MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n",
    State.BDAT: b"EHLO a.test\r\n|MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 2\r\nhi",
}
LINES = {
    b"EHLO": b"EHLO x.test", b"HELO": b"HELO x.test", b"LHLO": b"LHLO x.test", b"MAIL": b"MAIL FROM:<>",
    b"RCPT": b"RCPT TO:<c@c.test>", b"DATA": b"DATA", b"BDAT": b"BDAT 0", b"RSET": b"RSET", b"NOOP": b"NOOP",
    b"VRFY": b"VRFY a", b"EXPN": b"EXPN a", b"HELP": b"HELP", b"AUTH": b"AUTH PLAIN AGEAYQ==", b"STARTTLS": b"STARTTLS",
    b"QUIT": b"QUIT",
}  # fmt: skip


def in_state(state: State) -> Driver:
    driver = Driver()
    for part in TO_STATE[state].split(b"|"):
        driver.feed(part)
    assert driver.engine.state is state
    return driver


def test_help_names_every_command_there_is() -> None:
    named = replies.HELP.text.partition("\n")[2].split()
    assert sorted(named) == sorted(verb.decode() for verb in VERBS if verb != b"LHLO")


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(TO_STATE, VERBS)))
def test_every_cell_of_the_table(state: State, verb: bytes) -> None:
    driver = in_state(state)
    out = driver.feed(LINES[verb] + b"\r\n")
    legal = state in VERBS[verb].allowed
    assert len(codes(out)) == 1
    assert (codes(out)[0] < 400) is legal
    if legal and (leads_to := VERBS[verb].leads_to) is not None:
        assert driver.engine.state is leads_to


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(
    [State.READY, State.MAIL, State.RCPT], [Hello, Mail, Rcpt, Data, StartTls, Auth])))  # fmt: skip
def test_a_negative_reply_never_moves_the_state(state: State, kind: type[Event]) -> None:
    driver = in_state(state)
    driver.refuse[kind] = replies.LOCAL_ERROR
    line = {Hello: b"EHLO y.test", Mail: b"MAIL FROM:<>", Rcpt: b"RCPT TO:<c@c.test>", Data: b"DATA",
            StartTls: b"STARTTLS", Auth: b"AUTH PLAIN AGEAYQ=="}[kind]  # fmt: skip
    driver.feed(line + b"\r\n")
    assert driver.engine.state is state


def test_pipelined_envelope_is_answered_in_one_go() -> None:
    driver = ready(Driver())
    out = driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\n")
    assert codes(out) == [250, 250, 250, 354]
    assert codes(driver.feed(b"Subject: x\r\n\r\n..dot\r\n.\r\nMAIL FROM:<>\r\n")) == [250, 250]
    assert driver.messages == [b"Subject: x\r\n\r\n.dot\r\n"]


def test_empty_content_and_a_lone_dot_line() -> None:
    driver = ready(Driver())
    driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    assert codes(driver.feed(b".\r\n")) == [250]
    assert driver.messages == [b""]


# CVE-2023-51764 and its kin: two servers must not disagree about where a message ends.
ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
]


@pytest.mark.parametrize("end", ENDS)
def test_smuggling_only_crlf_dot_crlf_ends_data(end: bytes) -> None:
    content = b"Subject: x\r\n\r\none" + end + b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\ntwo\r\n"
    for cut in range(len(content)):
        driver = ready(Driver())
        driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
        driver.feed(content[:cut])
        driver.feed(content[cut:])
        assert driver.messages == []
        driver.feed(b".\r\n")
        assert len(driver.messages) == 1
        assert driver.messages[0].replace(b"\r\n.", b"\r\n") == content.replace(b"\r\n.", b"\r\n")


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\0OP\r\n", b"NOOP x\ny\r\n", b"MAIL FROM:<a@a\n.test>\r\n"]
)
def test_bare_cr_lf_and_nul_in_commands_end_the_conversation(line: bytes) -> None:
    driver = ready(Driver())
    assert codes(driver.feed(line + b"NOOP\r\n")) == [500]
    assert driver.engine.state is State.CLOSED


def test_bare_lf_is_repaired_where_the_connector_says_so() -> None:
    driver = Driver(repair_bare_lf=True)
    for octet in b"EHLO printer\nMAIL FROM:<a@a.test>\nRCPT TO:<b@b.test>\nDATA\n":
        driver.feed(bytes([octet]))
    for octet in b"Subject: scan\n\nline\r\nline\n.\n":
        driver.feed(bytes([octet]))
    assert driver.messages == [b"Subject: scan\r\n\r\nline\r\nline\r\n"]


def test_starttls_injection_plaintext_behind_it_is_refused() -> None:
    driver = ready(Driver())
    out = driver.feed(b"STARTTLS\r\nMAIL FROM:<evil@evil.test>\r\n")
    assert codes(out) == [503]
    assert driver.engine.state is State.CLOSED
    assert not any(isinstance(event, Mail) for event in driver.events)


def test_starttls_injection_in_a_later_segment_is_refused() -> None:
    driver = ready(Driver())
    assert codes(driver.feed(b"STARTTLS\r\n")) == [220]
    driver.feed(b"RSET\r\n")
    assert driver.engine.state is State.CLOSED
    with pytest.raises(LocalProtocolError):
        driver.engine.tls_established(FEATURES)


def test_nothing_survives_starttls() -> None:
    driver = ready(Driver())
    driver.feed(b"STARTTLS\r\n")
    driver.engine.tls_established(Features())
    assert driver.engine.state is State.CONNECTED
    assert codes(driver.feed(b"MAIL FROM:<a@a.test>\r\n")) == [503]


def test_after_a_refused_message_the_transaction_is_gone() -> None:
    """Postfix 2026-08-03: MAIL and RCPT survived a rejection at the end of data, and the next DATA skipped all checks."""
    driver = ready(Driver())
    driver.refuse[ContentPiece] = replies.MESSAGE_TOO_LARGE
    driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    assert codes(driver.feed(b"x\r\n.\r\n")) == [552]
    assert codes(driver.feed(b"DATA\r\n")) == [503]
    assert codes(driver.feed(b"RCPT TO:<c@b.test>\r\n")) == [503]


def test_after_a_refused_chunk_the_transaction_is_gone() -> None:
    """Postfix 2026-07-24: RCPT state survived a BDAT error, and DATA without MAIL crashed it."""
    driver = ready(Driver())
    driver.refuse[ChunkEnd] = replies.MESSAGE_TOO_LARGE
    driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n")
    assert codes(driver.feed(b"BDAT 3\r\nabc")) == [552]
    assert codes(driver.feed(b"DATA\r\n")) == [503]
    assert codes(driver.feed(b"BDAT 6 LAST\r\nQUIT\r\n")) == [503]
    assert driver.engine.state is State.READY


@pytest.mark.parametrize("state", [State.CONNECTED, State.READY, State.MAIL])
def test_octets_of_a_chunk_out_of_order_are_never_commands(state: State) -> None:
    driver = in_state(state)
    assert codes(driver.feed(b"BDAT 6 LAST\r\nQUIT\r\n")) == [503]
    assert driver.engine.state is not State.CLOSED
    assert driver.messages == []


def test_chunks_make_one_message() -> None:
    driver = ready(Driver())
    driver.feed(b"MAIL FROM:<a@a.test> BODY=BINARYMIME\r\nRCPT TO:<b@b.test>\r\n")
    assert codes(driver.feed(b"DATA\r\n")) == [503]
    assert codes(driver.feed(b"BDAT 5\r\nab\0\r\nBDAT 4 LAST\r\n\n.\r\n")) == [250, 250]
    assert driver.messages == [b"ab\0\r\n\n.\r\n"]
    assert driver.engine.state is State.READY


def test_thousands_of_tiny_chunks_are_cut_off() -> None:
    driver = ready(Driver())
    driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n")
    for _ in range(30_000):
        driver.feed(b"BDAT 1\r\nx")
        driver.events.clear()
        if driver.engine.state is State.CLOSED:
            return
    pytest.fail("no end")


def test_a_line_without_end_is_refused_and_not_collected() -> None:
    driver = ready(Driver())
    assert codes(driver.feed(b"NOOP " + b"x" * 5000)) == [500]
    assert driver.engine.state is State.CLOSED
    driver.feed(b"y" * 100_000)
    assert driver.engine.pending_bytes < 10_000


def test_nothing_may_be_pipelined_behind_data() -> None:
    driver = ready(Driver())
    out = driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nSubject: early\r\n.\r\n")
    assert codes(out) == [250, 250, 503]
    assert driver.messages == []


def test_long_content_comes_in_pieces() -> None:
    driver = ready(Driver())
    driver.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    line = b"." + b"x" * 76 + b"\r\n"
    for _ in range(20_000):
        driver.feed(b"." + line)
    assert driver.engine.pending_bytes < 300_000
    driver.feed(b".\r\n")
    assert driver.messages == [line * 20_000]
    assert sum(isinstance(event, ContentPiece) for event in driver.events) > 4


def test_a_ticket_or_a_token_may_come_with_auth_and_nothing_else_may_be_as_long() -> None:
    """Clients of the field send their first word with AUTH, however long (RFC 4954 §4 has no number)."""
    driver = ready(Driver())
    for whole in (True, False):
        line = b"auth plain " + b"A" * 12_000 + b"\r\n"
        parts = [line] if whole else [line[:3000], line[3000:]]
        driver.refuse[Auth] = replies.AUTH_FAILED
        assert codes(b"".join(driver.feed(part) for part in parts)) == [535]
        assert driver.events[-1] == Auth("PLAIN", bytes(9000))
    for long in (b"AUTH PLAIN " + b"A" * 12_300, b"AUTHOR " + b"A" * 3000, b"NOOP AUTH " + b"A" * 3000):
        driver = ready(Driver())
        assert codes(driver.feed(long)) == [500]
        assert driver.engine.state is State.CLOSED


def test_auth_exchange_and_cancel() -> None:
    driver = ready(Driver())
    driver.refuse[Auth] = Reply(334, "", "")
    assert codes(driver.feed(b"AUTH PLAIN\r\n")) == [334]
    driver.refuse[AuthResponse] = replies.AUTH_CANCELLED
    assert codes(driver.feed(b"*\r\n")) == [501]
    assert driver.events[-1] == AuthResponse(None)
    assert driver.engine.state is State.READY
    driver.feed(b"AUTH PLAIN\r\n")
    assert codes(driver.feed(b"!!!\r\n")) == [501]
    assert driver.engine.state is State.READY


@pytest.mark.parametrize(("line", "code"), [
    (b"MAIL FROM:<a@a.test> SIZE=12", 250), (b"MAIL FROM:<a@a.test> SIZE=x", 501), (b"MAIL FROM:<a@a.test> FOO=1", 555),
    (b"MAIL FROM:<a@a.test> SIZE=1 SIZE=1", 501), (b"MAIL FROM: <a@a.test>", 250), (b"MAIL FROM:a@a.test", 501),
    (b"MAIL FROM:<a@a.test>x", 501), (b"MAIL FROM:<@h.test,@i.test:a@a.test>", 250), (b"MAIL FROM:<@h.test a@a.test>", 501),
    (b'MAIL FROM:<"a>b"@a.test>', 250), (b"MAIL FROM:<a@a.test", 501), (b"MAIL FROM:<a b@a.test>", 501),
    (b"MAIL TO:<a@a.test>", 501), (b"MAIL FROM:<a@a.test> BODY=8BITMIME RET=HDRS ENVID=x+2By", 250),
    (b"MAIL FROM:<a@a.test> ENVID=x+zz", 501), (b"MAIL FROM:<a@a.test> ENVID=x+0A", 501),
    ("MAIL FROM:<ü@a.test>".encode(), 550), ("MAIL FROM:<ü@a.test> SMTPUTF8".encode(), 250),
    (b"MAIL FROM:<\xff@a.test> SMTPUTF8", 501),
])  # fmt: skip
def test_mail_arguments(line: bytes, code: int) -> None:
    assert codes(ready(Driver()).feed(line + b"\r\n")) == [code]


@pytest.mark.parametrize(("parameter", "offered", "code"), [
    (b"REQUIRETLS", True, 250), (b"requiretls", True, 250), (b"REQUIRETLS=YES", True, 501), (b"REQUIRETLS", False, 555),
    (b"REQUIRETLS REQUIRETLS", True, 501),
])  # fmt: skip
def test_requiretls_is_taken_where_it_is_offered_and_without_a_value(
    parameter: bytes, offered: bool, code: int
) -> None:
    parsed = parse_mail(b"FROM:<a@a.test> " + parameter, Features(require_tls=offered))
    assert (250 if isinstance(parsed, Mail) and parsed.require_tls else parsed.code) == code
    assert ("REQUIRETLS" in ehlo_lines(Features(require_tls=offered))) is offered


@pytest.mark.parametrize(("line", "code"), [
    (b"RCPT TO:<b@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40b.test", 250), (b"RCPT TO:<b@b.test> NOTIFY=NEVER,DELAY", 501),
    (b"RCPT TO:<b@b.test> NOTIFY=SOMETIMES", 501), (b"RCPT TO:<b@b.test> ORCPT=b@b.test", 501), (b"RCPT TO:<Postmaster>", 250),
    (b"RCPT TO:<b>", 250), (b"RCPT TO:<>", 501), (b"RCPT TO:<b@[127.0.0.1]>", 250), (b"RCPT TO:<b@[IPv6:::1]>", 250),
    (b"RCPT TO:<b@[1.2.3]>", 501), (b"RCPT TO:<b@-b.test>", 501),
])  # fmt: skip
def test_rcpt_arguments(line: bytes, code: int) -> None:
    assert codes(in_state(State.MAIL).feed(line + b"\r\n")) == [code]
