# SPDX-License-Identifier: MIT
"""The client engine: conversations without sockets, honest servers and hostile ones (peers' incidents by name)."""

import pytest

from bridgehead.mail.address import NULL, Mailbox, parse_mailbox
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, Notify, Return
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import (
    Answered,
    Authenticated,
    AuthenticationFailed,
    Closing,
    ContentWanted,
    HelloDone,
    Refused,
    TlsAccepted,
    TlsRefused,
    Transaction,
    TransactionDone,
)
from bridgehead.smtp.errors import LocalProtocolError, RemoteProtocolError

PIPELINED = b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
CHUNKED = b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 8BITMIME\r\n"
PLAIN = b"250 mx.example\r\n"


def ready(ehlo: bytes = PIPELINED, **options) -> ClientConnection:
    """An engine behind its hello."""
    engine = ClientConnection("me.example", remote_mta="mx.example", **options)
    engine.receive_data(b"220 mx.example ESMTP\r\n")
    engine.data_to_send()
    engine.receive_data(ehlo)
    return engine


def transaction(*addresses: str, **fields) -> Transaction:
    fields.setdefault("reverse_path", parse_mailbox("a@example.com"))
    people = [EnvelopeRecipient(parse_mailbox(address)) for address in addresses or ("b@example.net",)]
    return Transaction(recipients=people, **fields)


def done(events) -> list[Transaction]:
    return [event.transaction for event in events if isinstance(event, TransactionDone)]


def wanted(events) -> bool:
    return any(isinstance(event, ContentWanted) for event in events)


# --- hello ------------------------------------------------------------------------------------------------------------


def test_greeting_is_answered_with_ehlo_and_extensions_are_read():
    engine = ClientConnection("me.example")
    assert engine.receive_data(b"220-one\r\n220 two\r\n") == []
    assert engine.data_to_send() == b"EHLO me.example\r\n"
    (event,) = engine.receive_data(
        b"250-mx\r\n250-size 5000\r\n250-Auth PLAIN login\r\n250-AUTH=LOGIN\r\n250-STARTTLS\r\n"
        b"250 LIMITS MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1\r\n"
    )
    assert isinstance(event, HelloDone)
    offered = event.extensions
    assert (offered.size, offered.starttls, offered.pipelining) == (5000, True, False)
    assert {"PLAIN", "LOGIN"} <= set(offered.auth)
    assert (offered.mail_max, offered.rcpt_max, offered.rcpt_domain_max) == (5, 20, 1)


def test_a_server_without_ehlo_gets_helo():
    engine = ClientConnection("me.example")
    engine.receive_data(b"220 old\r\n")
    engine.data_to_send()
    assert engine.receive_data(b"502 what?\r\n") == []
    assert engine.data_to_send() == b"HELO me.example\r\n"
    assert isinstance(engine.receive_data(b"250 old\r\n")[0], HelloDone)


def test_force_helo_and_lhlo():
    for options, wanted_hello in (({"force_helo": True}, b"HELO me\r\n"), ({"lmtp": True}, b"LHLO me\r\n")):
        engine = ClientConnection("me", **options)
        engine.receive_data(b"220 x\r\n")
        assert engine.data_to_send() == wanted_hello


@pytest.mark.parametrize("greeting", [b"554 no\r\n", b"421 busy\r\n", b"450 later\r\n"])
def test_an_unfriendly_greeting_is_refusal(greeting):
    (event,) = ClientConnection("me").receive_data(greeting)
    assert isinstance(event, Refused)


def test_421_to_ehlo_is_refusal():
    engine = ClientConnection("me")
    engine.receive_data(b"220 x\r\n")
    assert isinstance(engine.receive_data(b"421 busy\r\n")[0], Refused)


# --- transactions ---------------------------------------------------------------------------------------------------


def test_pipelined_commands_leave_in_one_group_and_the_next_follows_the_final_dot():
    engine = ready()
    engine.begin(transaction(size=10))
    assert engine.data_to_send() == b"MAIL FROM:<a@example.com> SIZE=10\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    assert not engine.may_begin
    assert wanted(engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n"))
    engine.send_content(b"Subject: x\r\n\r\n.hello\r\n")
    engine.begin(transaction())
    assert engine.data_to_send() == (
        b"Subject: x\r\n\r\n..hello\r\n.\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    )
    events = engine.receive_data(b"250 2.6.0 queued\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    (first,) = done(events)
    assert (first.statuses[0].action, first.statuses[0].status) == (Action.RELAYED, "2.6.0")
    assert first.statuses[0].diagnostic == "250 2.6.0 queued"
    assert wanted(events)


def test_without_pipelining_one_command_at_a_time():
    engine = ready(PLAIN)
    engine.begin(transaction("b@example.net", "c@example.net"))
    sent = []
    for reply in (b"250 ok\r\n", b"550 no\r\n", b"250 ok\r\n", b"354 go\r\n"):
        sent.append(engine.data_to_send())
        events = engine.receive_data(reply)
    assert sent == [
        b"MAIL FROM:<a@example.com>\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"RCPT TO:<c@example.net>\r\n",
        b"DATA\r\n",
    ]
    assert wanted(events)
    engine.send_content(b"x\r\n")
    assert not engine.may_begin
    (result,) = done(engine.receive_data(b"250 ok\r\n"))
    assert [status.action for status in result.statuses] == [Action.FAILED, Action.RELAYED]
    assert engine.may_begin


@pytest.mark.parametrize("ehlo", [PLAIN, PIPELINED])
def test_all_recipients_refused_then_the_next_transaction_resets(ehlo):
    engine = ready(ehlo)
    engine.begin(transaction("b@example.net", "c@example.net"))
    events = []
    for reply in (b"250 ok\r\n", b"550 5.1.1 no\r\n", b"450 4.2.1 later\r\n") + (
        (b"554 no valid recipients\r\n",) if ehlo is PIPELINED else ()
    ):
        events += engine.receive_data(reply)
    (result,) = done(events)
    assert [status.status for status in result.statuses] == ["5.1.1", "4.2.1"]
    engine.data_to_send()
    engine.begin(transaction())
    assert engine.data_to_send().startswith(b"RSET\r\n")


def test_data_accepted_without_recipients_gets_a_lone_dot():
    engine = ready()
    engine.begin(transaction())
    engine.data_to_send()
    assert engine.receive_data(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n") == []
    assert engine.data_to_send() == b".\r\n"
    (result,) = done(engine.receive_data(b"250 surprising\r\n"))
    assert result.statuses[0].status == "5.1.1"
    engine.begin(transaction())
    assert engine.data_to_send().startswith(b"MAIL")


def test_mail_refused_gives_all_recipients_that_reply():
    engine = ready()
    engine.begin(transaction("b@example.net", "c@example.net"))
    events = engine.receive_data(b"550 5.7.1 not you\r\n503 x\r\n503 x\r\n503 x\r\n")
    (result,) = done(events)
    assert {status.diagnostic for status in result.statuses} == {"550 5.7.1 not you"}
    assert engine.may_begin


def test_data_refused_is_for_the_accepted_recipients():
    engine = ready()
    engine.begin(transaction("b@example.net", "c@example.net"))
    (result,) = done(engine.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n451 4.3.0 later\r\n"))
    assert [status.status for status in result.statuses] == ["4.3.0", "5.1.1"]


def test_content_refused_after_the_dot():
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    (result,) = done(engine.receive_data(b"554 5.7.1 spam\r\n"))
    assert (result.statuses[0].action, result.statuses[0].status) == (Action.FAILED, "5.7.1")


def test_parameters_only_where_offered():
    asked = transaction(size=7, ret=Return.HEADERS, envelope_id="id +1=", body=BodyType.EIGHT_BIT_MIME, smtputf8=True)
    asked.recipients[0].notify = Notify.SUCCESS | Notify.DELAY
    asked.recipients[0].original_recipient = "rfc822;b+x@example.net"
    engine = ready()
    engine.data_to_send()
    engine.begin(asked)
    assert engine.data_to_send().split(b"\r\n")[:2] == [
        b"MAIL FROM:<a@example.com> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+20+2B1+3D",
        b"RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@example.net",
    ]
    plain = ready(PLAIN)
    plain.data_to_send()
    plain.begin(transaction(size=7, ret=Return.FULL, envelope_id="x"))
    assert plain.data_to_send() == b"MAIL FROM:<a@example.com>\r\n"


def test_statuses_say_whether_dsn_was_passed_on():
    for ehlo, passed in ((PIPELINED, True), (PLAIN, False)):
        engine = ready(ehlo)
        engine.begin(transaction())
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            engine.receive_data(reply)
        engine.send_content(b"x\r\n")
        (result,) = done(engine.receive_data(b"250 ok\r\n"))
        assert result.statuses[0].dsn_passed_on is passed


def test_null_reverse_path_and_a_labels():
    engine = ready()
    engine.data_to_send()
    engine.begin(transaction("x@bücher.example", reverse_path=NULL))
    assert engine.data_to_send().startswith(b"MAIL FROM:<>\r\nRCPT TO:<x@xn--bcher-kva.example>\r\n")


def test_an_address_cannot_smuggle_a_command():
    engine = ready()
    evil = Transaction(reverse_path=NULL, recipients=[EnvelopeRecipient(Mailbox('x"\r\nRSET', "example.net"))])
    engine.data_to_send()
    with pytest.raises(LocalProtocolError):
        engine.begin(evil)
    assert engine.data_to_send() == b""
    engine.begin(transaction())
    assert engine.connection_lost("x")[0].tag is not evil


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"a\nb\rc\r\n.d\n.e\r.f", b".\n.\r\n.\r\n", b"", b"no end", b"x\r", b"\r\r\n\n.\r\n", b"\n.\nQUIT\n", b"\0\r.\r"],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_smuggling_nothing_leaves_with_a_bare_line_end_however_it_is_cut(content, cut):
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.data_to_send()
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)] or [b""]
    for number, piece in enumerate(pieces, 1):
        engine.send_content(piece, last=number == len(pieces))
    wire = engine.data_to_send()
    pairs = wire.count(b"\r\n")
    assert wire.count(b"\r") == pairs == wire.count(b"\n")
    assert wire.endswith(b".\r\n")
    body = wire[:-3]
    assert b"\r\n.\r\n" not in b"\r\n" + body
    unstuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n")[2:]
    whole = ready()
    whole.begin(transaction())
    whole.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    whole.data_to_send()
    whole.send_content(content)
    assert whole.data_to_send() == wire, "the cut shows"
    assert unstuffed.replace(b"\r\n", b"") == content.replace(b"\r", b"").replace(b"\n", b"")


def test_large_content_goes_in_chunks():
    engine = ready(CHUNKED)
    engine.begin(transaction(chunked=True))
    engine.data_to_send()
    assert wanted(engine.receive_data(b"250 ok\r\n250 ok\r\n"))
    engine.send_content(b".line\r\n", last=False)
    engine.send_content(b"end\n", last=True)
    assert engine.data_to_send() == b"BDAT 7\r\n.line\r\nBDAT 5 LAST\r\nend\r\n"
    (result,) = done(engine.receive_data(b"250 ok\r\n250 2.0.0 all\r\n"))
    assert result.statuses[0].action is Action.RELAYED


def test_binary_content_is_not_touched_in_chunks():
    engine = ready(CHUNKED)
    engine.begin(transaction(chunked=True, body=BodyType.BINARY_MIME))
    assert b"BODY=BINARYMIME" in engine.data_to_send()
    engine.receive_data(b"250 ok\r\n250 ok\r\n")
    engine.send_content(b"\0\n\r.\r\n")
    assert engine.data_to_send() == b"BDAT 6 LAST\r\n\0\n\r.\r\n"


def test_a_refused_chunk_stops_the_rest_and_resets():
    engine = ready(CHUNKED)
    engine.begin(transaction(chunked=True))
    engine.receive_data(b"250 ok\r\n250 ok\r\n")
    engine.send_content(b"part\r\n", last=False)
    (result,) = done(engine.receive_data(b"552 5.3.4 too much\r\n"))
    assert result.statuses[0].status == "5.3.4"
    assert not engine.wants_content(result)
    engine.data_to_send()
    engine.begin(transaction(chunked=True))
    assert engine.data_to_send().startswith(b"RSET\r\n")


def test_lmtp_gives_each_recipient_its_own_result():
    engine = ready(lmtp=True)
    engine.begin(transaction("b@example.net", "c@example.net", "d@example.net"))
    engine.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    assert done(engine.receive_data(b"250 2.1.5 stored\r\n")) == []
    (result,) = done(engine.receive_data(b"452 4.2.2 full\r\n"))
    assert [(status.action, status.status) for status in result.statuses] == [
        (Action.DELIVERED, "2.1.5"),
        (Action.FAILED, "5.1.1"),
        (Action.DELAYED, "4.2.2"),
    ]


# --- endings ----------------------------------------------------------------------------------------------------------


def test_lost_before_the_dot_is_no_doubt_and_after_it_is():
    engine = ready()
    first = transaction("b@example.net", "c@example.net")
    engine.begin(first)
    engine.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    second = transaction()
    engine.begin(second)
    assert engine.connection_lost("reset by peer") == [first, second]
    assert [status.in_doubt for status in first.statuses] == [True, False]
    assert first.statuses[1].status == "5.1.1"
    assert not second.statuses[0].in_doubt
    assert not second.begun
    assert second.statuses[0].status == "4.4.2"


def test_421_to_mail_leaves_the_transaction_untouched():
    engine = ready()
    asked = transaction()
    engine.begin(asked)
    (event,) = engine.receive_data(b"421 4.3.2 enough\r\n")
    assert isinstance(event, Closing)
    assert engine.connection_lost("421") == [asked]
    assert not asked.begun


@pytest.mark.parametrize("replies", [b"250 ok\r\n", b"250 ok\r\n250 ok\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n"])
def test_421_in_a_transaction_is_its_transient_outcome(replies):
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(replies)
    if replies.endswith(b"354 go\r\n"):
        engine.send_content(b"x\r\n")
    events = engine.receive_data(b"421 4.3.2 going down\r\n")
    (result,) = done(events)
    assert (result.statuses[0].action, result.statuses[0].status) == (Action.DELAYED, "4.3.2")
    assert not result.statuses[0].in_doubt
    assert isinstance(events[-1], Closing)


def test_a_refusal_in_the_midst_of_content_ends_the_conversation_with_that_outcome():
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n", last=False)
    events = engine.receive_data(b"552 5.3.4 too large\r\n")
    (result,) = done(events)
    assert result.statuses[0].status == "5.3.4"
    assert isinstance(events[-1], Closing)


def test_a_single_command_is_answered_by_itself_and_carries_no_line_end():
    engine = ready()
    engine.ask("MAIL FROM:<>")
    assert engine.data_to_send() == b"MAIL FROM:<>\r\n"
    with pytest.raises(LocalProtocolError):
        engine.ask("RCPT TO:<b@example.net>")  # the reply before it is still due
    (event,) = engine.receive_data(b"250 2.1.0 OK\r\n")
    assert isinstance(event, Answered)
    engine.ask("RCPT TO:<b@example.net>")
    (event,) = engine.receive_data(b"550 5.7.1 no\r\n")
    assert isinstance(event, Answered)
    assert str(event.reply) == "550 5.7.1 no"
    with pytest.raises(LocalProtocolError):
        engine.ask("RSET\r\nDATA")
    engine.quit()
    assert engine.data_to_send().endswith(b"QUIT\r\n")


def test_quit_may_follow_the_last_dot():
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    engine.quit()
    assert engine.data_to_send().endswith(b"\r\n.\r\nQUIT\r\n")
    events = engine.receive_data(b"250 ok\r\n221 bye\r\n")
    assert [type(event) for event in events] == [TransactionDone, Closing]


# --- TLS and AUTH ---------------------------------------------------------------------------------------------------


def test_starttls_forgets_what_was_offered_before():
    engine = ready(b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
    engine.data_to_send()
    engine.start_tls()
    assert engine.data_to_send() == b"STARTTLS\r\n"
    assert isinstance(engine.receive_data(b"220 go\r\n")[0], TlsAccepted)
    engine.tls_established()
    assert engine.extensions.auth == ()
    assert engine.data_to_send() == b"EHLO me.example\r\n"


@pytest.mark.parametrize("rest", [b"250 injected\r\n", b"2", b"250-mx\r\n250 AUTH PLAIN\r\n"])
@pytest.mark.parametrize("split", [True, False])
def test_starttls_response_injection_is_refused(rest, split):
    engine = ready(b"250-mx\r\n250 STARTTLS\r\n")
    engine.start_tls()
    first = b"220 go\r\n"
    if split:
        engine.receive_data(first)
        first = b""
    with pytest.raises(RemoteProtocolError, match="before the handshake"):
        engine.receive_data(first + rest)


def test_starttls_refused():
    engine = ready(b"250-mx\r\n250 STARTTLS\r\n")
    engine.start_tls()
    assert isinstance(engine.receive_data(b"454 not now\r\n")[0], TlsRefused)
    assert engine.may_begin


class TwoSteps:
    mechanism = "TEST"

    def __init__(self, initial=None):
        self.initial = initial

    def initial_response(self):
        return self.initial

    def respond(self, challenge):
        if challenge == b"bad":
            raise ValueError("not to be trusted")
        return b"answer to " + challenge


def test_auth_with_challenges_and_a_transcript_without_secrets():
    seen = []
    engine = ready(transcript=lambda event, line: seen.append(line))
    engine.data_to_send()
    engine.authenticate(TwoSteps(b"s3cret"))
    assert engine.data_to_send() == b"AUTH TEST czNjcmV0\r\n"
    engine.receive_data(b"334 Y2hhbGxlbmdl\r\n")
    assert engine.data_to_send() == b"YW5zd2VyIHRvIGNoYWxsZW5nZQ==\r\n"
    assert isinstance(engine.receive_data(b"235 ok\r\n")[0], Authenticated)
    assert not any("czNjcmV0" in line or "YW5zd2Vy" in line or "Y2hhbGxl" in line for line in seen)


@pytest.mark.parametrize("challenge", [b"334 YmFk\r\n", b"334 not base64!\r\n"])
def test_auth_gives_up_on_a_server_that_is_not_to_be_trusted(challenge):
    engine = ready()
    engine.authenticate(TwoSteps())
    engine.data_to_send()
    engine.receive_data(challenge)
    assert engine.data_to_send() == b"*\r\n"
    assert isinstance(engine.receive_data(b"501 gave up\r\n")[0], AuthenticationFailed)


# --- hostile servers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        b"250-one\r\n251 two\r\n",
        b"hello\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"999 x\r\n",
        b"250+x\r\n",
        b"250 bare\n",
        b"250 bare\rmiddle\r\n",
        b"250 twice\r\r\n",
        b"\r\n",
        b"\n",
        b"354 not yet\r\n",
        b"250-" + b"x" * 3000,
        b"250 " + b"x" * 3000 + b"\r\n",
        b"250-endless\r\n" * 200,
    ],
)
def test_malformed_or_misplaced_replies_are_protocol_errors(reply):
    engine = ready()
    engine.begin(transaction())
    with pytest.raises(RemoteProtocolError):
        engine.receive_data(reply)
    assert engine.receive_data(b"250 ok\r\n") == [], "nothing is believed afterwards"


def test_a_ten_megabyte_line_is_given_up_early():
    engine = ready()
    engine.begin(transaction())
    pieces = iter([b"x" * 1024] * 10_000)
    with pytest.raises(RemoteProtocolError):
        list(map(engine.receive_data, pieces))
    assert len(list(pieces)) > 9_990


def test_early_250_is_not_believed():
    engine = ready()
    asked = transaction()
    engine.begin(asked)
    with pytest.raises(RemoteProtocolError):
        engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken already\r\n")
    (lost,) = engine.connection_lost("protocol error", "4.5.0")
    assert (lost.statuses[0].action, lost.statuses[0].in_doubt) == (Action.DELAYED, False)


def test_354_twice_leaves_the_outcome_in_doubt():
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    with pytest.raises(RemoteProtocolError):
        engine.receive_data(b"354 again\r\n")
    assert engine.connection_lost("protocol error")[0].statuses[0].in_doubt


def test_unasked_replies_are_protocol_errors():
    with pytest.raises(RemoteProtocolError):
        ready().receive_data(b"250 hello again\r\n")


def test_controls_in_a_reply_do_not_reach_the_status():
    engine = ready()
    engine.begin(transaction())
    (result,) = done(engine.receive_data(b"550 5.1.1 bad\x00\x1b[31m\x7f\xff\r\n503 x\r\n503 x\r\n"))
    assert result.statuses[0].diagnostic.isprintable()
    engine = ready()
    engine.begin(transaction())
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.send_content(b"x\r\n")
    (result,) = done(engine.receive_data(b"250 2.x.9 \x1b[2J\x00\r\n"))
    assert result.statuses[0].diagnostic.isprintable()
    assert result.statuses[0].status == "2.0.0"


def test_a_slow_drip_gives_the_same_events():
    engine = ready()
    engine.begin(transaction())
    events = []
    for octet in b"250 ok\r\n250-two\r\n250 lines\r\n354 go\r\n":
        events += engine.receive_data(bytes([octet]))
    assert wanted(events)
