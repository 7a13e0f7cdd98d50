# SPDX-License-Identifier: MIT
"""Any bytes of a server, in any chunks: the client engine gives events or RemoteProtocolError, and every recipient ends
with exactly one status. Nothing it sends ever holds a bare CR or LF."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import AuthenticationFailed, ContentWanted, HelloDone, TlsAccepted, Transaction
from bridgehead.smtp.client_replies import Transcript
from bridgehead.smtp.client_states import ClientState
from bridgehead.smtp.errors import RemoteProtocolError

replies = st.sampled_from([
    b"220 hi\r\n", b"250 ok\r\n", b"250-a\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 STARTTLS\r\n", b"250-x\r\n",
    b"250-a\r\n250 PIPELINING\r\n", b"354 go\r\n", b"421 bye\r\n", b"450 4.2.1 later\r\n", b"550 5.1.1 no\r\n",
    b"503 what\r\n", b"334 YQ==\r\n", b"235 ok\r\n", b"221 bye\r\n", b"454 no\r\n", b"250", b"\r", b"\n", b" ", b"-",
])  # fmt: skip
server_bytes = st.lists(replies | st.binary(max_size=12), max_size=30).map(b"".join)


class Sasl:
    mechanism = "X"

    def initial_response(self):
        return b"secret"

    def respond(self, challenge):
        return challenge


def drive(data: bytes, cuts: list[int], lmtp: bool, content: bytes, upgrade: bool) -> tuple[list[Transaction], bytes]:
    """One conversation with a server that says `data`, cut at `cuts`; gives all transactions and what was sent."""
    engine = ClientConnection("me.example", lmtp=lmtp)
    begun: list[Transaction] = []
    sent = b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        try:
            events = engine.receive_data(data[start:end])
        except RemoteProtocolError:
            assert engine.state is ClientState.CLOSED
            break
        for event in events:
            if isinstance(event, HelloDone) and not engine.is_ready:
                continue  # a 421 came with it
            if isinstance(event, ContentWanted):
                half = len(content) // 2
                engine.send_content(content[:half], last=False)
                if engine.wants_content(event.transaction):
                    engine.send_content(content[half:])
            elif isinstance(event, TlsAccepted):
                engine.tls_established()
            elif isinstance(event, HelloDone) and upgrade and event.extensions.starttls and not engine.secure:
                engine.start_tls()
            elif isinstance(event, HelloDone) and upgrade:
                engine.authenticate(Sasl())
            elif isinstance(event, AuthenticationFailed):
                engine.quit()
        while engine.may_begin and len(begun) < 6:
            people = [EnvelopeRecipient(parse_mailbox(f"r{n}@example.net")) for n in range(1 + len(begun) % 3)]
            chunked = engine.extensions.chunking and len(begun) % 2 == 0
            begun.append(Transaction(reverse_path=parse_mailbox("a@example.com"), recipients=people, chunked=chunked))
            engine.begin(begun[-1])
        sent += engine.data_to_send()
    engine.connection_lost("gone")
    return begun, sent


@settings(max_examples=400, deadline=None)
@given(server_bytes, st.lists(st.integers(0, 500), max_size=8), st.booleans(), st.binary(max_size=60), st.booleans())
def test_any_server_in_any_chunks(data, cuts, lmtp, content, upgrade):
    transactions, sent = drive(data, cuts, lmtp, content, upgrade)
    for transaction in transactions:
        assert len(transaction.statuses) == len(transaction.recipients)
        assert all(status is not None for status in transaction.statuses)
        for status in transaction.statuses:
            assert status.diagnostic.isprintable()
            if status.in_doubt:
                assert status.action is Action.DELAYED
    pairs = sent.count(b"\r\n")
    assert sent.count(b"\r") == pairs == sent.count(b"\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(replies, max_size=25).map(b"".join), st.lists(st.integers(0, 500), max_size=8), st.booleans())
def test_the_cut_makes_no_difference_to_what_is_learned(data, cuts, lmtp):
    """Where our own commands do not depend on timing: the statuses of one transaction are the same however it is cut."""

    def outcome(edges: list[int]) -> object:
        engine = ClientConnection("me.example", lmtp=lmtp)
        engine.receive_data(b"220 x\r\n")
        engine.receive_data(b"250-a\r\n250 PIPELINING\r\n")
        people = [EnvelopeRecipient(parse_mailbox(f"r{n}@example.net")) for n in range(2)]
        one = Transaction(reverse_path=parse_mailbox("a@example.com"), recipients=people)
        engine.begin(one)
        for start, end in itertools.pairwise(edges):
            try:
                engine.receive_data(data[start:end])
            except RemoteProtocolError:
                break
        engine.connection_lost("gone")
        return [(status.action, status.status, status.diagnostic) for status in one.statuses]

    whole = outcome([0, len(data)])
    assert outcome(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})) == whole


usual = st.sampled_from([
    b"250 2.0.0 ok\r\n", b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
    b"354 go\r\n", b"250 queued as 1\r\n", b"250 queued as 2\r\n",
])  # fmt: skip
_PATHS = ("a@example.com", "b@b\u00fccher.example", '"a b"@example.net')


def conversation(
    reads: list[bytes], offers: bytes, content: bytes, choices: int, transcript: Transcript | None
) -> object:
    """What is told and sent; a transcript makes the engine take the plain way."""
    engine = ClientConnection("me.example", transcript=transcript)
    engine.receive_data(b"220 x\r\n")
    engine.receive_data(b"250-a\r\n250-8BITMIME\r\n" + offers + b"250 PIPELINING\r\n")
    engine.data_to_send()
    told: list[object] = []
    begun: list[Transaction] = []
    for read in [b"", *reads]:
        try:
            events = engine.receive_data(read)
        except RemoteProtocolError as error:
            told.append(str(error))
            break
        for event in events:
            told.append(type(event))
            if isinstance(event, ContentWanted):
                engine.send_content(content)
        if engine.may_begin:
            begun.append(chosen(choices >> len(begun)))
            engine.begin(begun[-1])
        told += [engine.data_to_send(), engine.phase]
    engine.connection_lost("gone")
    return told, begun, engine.state


def chosen(number: int) -> Transaction:
    people = [EnvelopeRecipient(parse_mailbox(_PATHS[number % 3]))]
    if number % 5 == 1:
        people[0].original_recipient = "rfc822;x@example.com"
        people.append(EnvelopeRecipient(parse_mailbox("c@example.net")))
    return Transaction(
        reverse_path=parse_mailbox(_PATHS[number % 2]), recipients=people, size=number % 4,
        body=BodyType.EIGHT_BIT_MIME if number & 2 else None, envelope_id="id" if number % 7 == 1 else "",
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.lists(usual | usual | usual | replies, max_size=12),
    st.sampled_from([b"", b"250-SIZE 5000\r\n", b"250-DSN\r\n250-SIZE\r\n"]),
    st.binary(max_size=20),
    st.integers(0, 2**10 - 1),
)
def test_the_quick_way_is_the_plain_one(reads, offers, content, choices):
    quick = conversation(reads, offers, content, choices, None)
    assert quick == conversation(reads, offers, content, choices, lambda mark, line: None)


@pytest.mark.parametrize("other", [
    b"250 2.0.0 queued as 7", b"251 ok", b"250-2.0.0 more", b"250", b"354 go", b"421 bye", b"452 later", b"550 no", b"",
    b"250 a\nb", b"250 a\rb", b"250 " + b"x" * 600,
])  # fmt: skip
def test_the_quick_way_leaves_to_the_plain_one_what_is_not_usual(other):
    group = [b"250 2.0.0 queued as 5", b"250 ok", b"250 ok", b"354 go"]
    first = b"\r\n".join(group[1:]) + b"\r\n"
    for place in range(4):
        changed = b"\r\n".join([*group[:place], other, *group[place + 1 :]]) + b"\r\n"
        for reads in ([first, changed, b"250 2.0.0 queued as 6\r\n"], [changed, changed], [first, first, changed]):
            quick = conversation(reads, b"", b"x\r\n", 0, None)
            assert quick == conversation(reads, b"", b"x\r\n", 0, lambda mark, line: None), (reads, place)


def test_each_message_keeps_the_reply_that_it_got():
    group = b"250 ok\r\n250 ok\r\n354 go\r\n"
    reads = [group, *(b"250 2.0.0 queued as %d\r\n" % number + group for number in (5, 5, 6))]
    _, begun, _ = conversation(reads, b"", b"x\r\n", 0, None)
    told = [one.statuses[0].diagnostic for one in begun[:3]]
    assert told == ["250 2.0.0 queued as 5", "250 2.0.0 queued as 5", "250 2.0.0 queued as 6"]
    assert told == [one.reply for one in begun[:3]]


def test_the_harness_reaches_a_delivery():
    """Guards the test itself: with honest replies transactions do succeed here."""
    data = b"220 x\r\n250-a\r\n250 PIPELINING\r\n" + b"250 ok\r\n250 ok\r\n354 go\r\n" + b"250 ok\r\n"
    transactions, sent = drive(data, [7, 31, 56, 59], False, b"x\r\n", False)
    assert transactions[0].statuses[0].action is Action.RELAYED, sent
