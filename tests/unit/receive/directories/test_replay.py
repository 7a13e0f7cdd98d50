# SPDX-License-Identifier: MIT
import pytest

from bridgehead.mail.envelope import BodyType, Notify, Return
from bridgehead.receive.directories.file import Arrival, BadSubmission, Submission
from bridgehead.receive.directories.replay import read_replay

ARRIVAL = Arrival(internal_message_id=7, network_message_id="guid", now=1_000_000_000.0, fqdn="mx.contoso.com")
DATE = b"Sun, 09 Sep 2001 01:46:40 +0000"
MESSAGE = "Received: by old\nResent-From: r@x.com\nFrom: a@x.com\nBcc: z@x.com\nMessage-ID: <1@x>\nDate: d\n\nbody\n"


def read(text: str) -> Submission:
    return read_replay(text.encode(), ARRIVAL)


def test_envelope_comes_from_injected_fields_and_leaves_with_them() -> None:
    made = read(
        "X-Sender: <s@x.com> BODY=8BITMIME RET=HDRS ENVID=id+2B1\n"
        "X-Receiver: <r1@y.com> NOTIFY=SUCCESS,FAILURE ORcpt=rfc822;orig@y.com\nX-Receiver: r2@y.com\n"
        "X-CreatedBy: Other\nX-HeloDomain: client.x.com\nX-SourceIPAddress: ::ffff:192.0.2.7\nX-Source: Import\n"
        "X-ExtendedMessageProps: abc\nX-EndOfInjectedXHeaders: 300\n" + MESSAGE
    )
    envelope = made.item.envelope
    assert str(envelope.reverse_path) == "s@x.com"
    assert (envelope.body_type, envelope.ret, envelope.envelope_id) == (BodyType.EIGHT_BIT_MIME, Return.HEADERS, "id+1")
    first, second = envelope.recipients
    assert (str(first.forward_path), first.notify, first.original_recipient) == (
        "r1@y.com", Notify.SUCCESS | Notify.FAILURE, "rfc822;orig@y.com",
    )  # fmt: skip
    assert str(second.forward_path) == "r2@y.com"
    assert (made.item.client_ip, made.item.helo) == ("192.0.2.7", "client.x.com")
    assert made.content == (
        b"Received: from client.x.com ([192.0.2.7]) by Replay with id\r\n <7@mx.contoso.com>; " + DATE + b"\r\n"
        b"Received: by old\r\nResent-From: r@x.com\r\nFrom: a@x.com\r\nMessage-ID: <1@x>\r\nDate: d\r\n\r\nbody\r\n"
    )


def test_null_sender_and_absent_source() -> None:
    made = read("X-Sender: <>\nX-Receiver: <r@y.com>\n" + MESSAGE)
    assert made.item.envelope.reverse_path.is_null
    assert made.item.client_ip == "0.0.0.0"
    assert made.content.startswith(b"Received: from unknown ([0.0.0.0]) by Replay with id\r\n")


def test_fields_of_organization_and_forest_stay_for_our_own_files_only() -> None:
    injected = "X-Sender: s@x.com\nX-Receiver: r@y.com\n"
    internal = "X-MS-Exchange-Organization-SCL: 1\nX-MS-Exchange-Forest-A: b\n"
    assert b"X-MS-Exchange" not in read(injected + internal + MESSAGE).content
    assert b"X-MS-Exchange" not in read(injected + "X-CreatedBy: Evil\n" + internal + MESSAGE).content
    kept = read(injected + "X-CreatedBy: MSExchange15\n" + internal + MESSAGE).content
    assert kept.count(b"X-MS-Exchange") == 2


def test_x_fields_after_the_end_mark_are_the_messages_own() -> None:
    made = read("X-Sender: s@x.com\nX-Receiver: r@y.com\nX-EndOfInjectedXHeaders: 1\nX-Source: mine\n" + MESSAGE)
    assert b"X-Source: mine\r\n" in made.content


@pytest.mark.parametrize(
    ("injected", "told"),
    [
        ("X-Receiver: r@y.com\n", "one X-Sender was expected, not 0"),
        ("X-Sender: s@x.com\nX-Sender: t@x.com\nX-Receiver: r@y.com\n", "not 2"),
        ("X-Sender: s@x.com\n", "no X-Receiver"),
        ("X-Sender: s@x.com\nX-Receiver: nobody\n", "X-Receiver: Invalid address"),
        ("X-Sender: s@x.com BODY=x\nX-Receiver: r@y.com\n", "X-Sender"),
        ("X-Sender: s@x.com\nX-Receiver: r@y.com NOTIFY=NEVER,DELAY\n", "X-Receiver"),
        ("X-Sender: s@x.com\nX-Receiver: r@y.com\nX-SourceIPAddress: here\n", "X-SourceIPAddress"),
        ("X-Sender: s@x.com\nX-Receiver: r@y.com\nX-HeloDomain: a b\n", "X-HeloDomain"),
        ("X-Sender: s@x.com\nX-Receiver: r@y.com\nSubject: x\nX-Receiver: late@y.com\n", "above"),
        ("X-Sender: s@x.com\nX-Receiver: <r@y.com>\n <late@y.com>\n", "X-Receiver"),
    ],
)
def test_what_cannot_be_replayed_is_explained(injected: str, told: str) -> None:
    with pytest.raises(BadSubmission, match=told):
        read(injected + MESSAGE)


def test_behind_the_declared_end_a_field_is_the_messages_own() -> None:
    submission = read(
        "X-Sender: s@x.com\nX-Receiver: r@y.com\nX-EndOfInjectedXHeaders: 1\nX-Receiver: own@y.com\n\nbody\n"
    )
    assert [str(one.forward_path) for one in submission.item.envelope.recipients] == ["r@y.com"]
    assert b"\r\nX-Receiver: own@y.com\r\n" in submission.content
