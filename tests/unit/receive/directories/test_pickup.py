# SPDX-License-Identifier: MIT
import pytest

from bridgehead.mail.envelope import BodyType
from bridgehead.mail.units import ByteSize
from bridgehead.receive.directories.file import Arrival, BadSubmission, Submission
from bridgehead.receive.directories.pickup import pickup_reader

ARRIVAL = Arrival(internal_message_id=7, network_message_id="guid", now=1_000_000_000.0, fqdn="mx.contoso.com")
TRACE = b"Received: from localhost by Pickup with id\r\n <7@mx.contoso.com>; Sun, 09 Sep 2001 01:46:40 +0000\r\n"
_HEADER = ByteSize(65536)


def read(text: str, max_header_size: ByteSize = _HEADER, max_recipients: int = 100) -> Submission:
    return pickup_reader(max_header_size, max_recipients)(text.encode(), ARRIVAL)


def recipients(submission: Submission) -> list[str]:
    return [str(one.forward_path) for one in submission.item.envelope.recipients]


def test_an_ordinary_message() -> None:
    made = read("From: a@x.com\nTo: b@y.com\nSubject: hi\nMessage-ID: <1@x>\nDate: now\n\n.body\n")
    assert made.content == TRACE + (
        b"From: a@x.com\r\nTo: b@y.com\r\nSubject: hi\r\nMessage-ID: <1@x>\r\nDate: now\r\n\r\n.body\r\n"
    )
    item = made.item
    assert str(item.envelope.reverse_path) == "a@x.com"
    assert recipients(made) == ["b@y.com"]
    assert (item.subject, item.message_id, item.header_from, item.principal) == ("hi", "<1@x>", "a@x.com", "system")
    assert (item.internal_message_id, item.size) == (7, len(made.content))
    assert not item.has_8bit


def test_date_and_message_id_are_added_where_they_are_missing() -> None:
    made = read("From: a@x.com\nTo: b@y.com\n\nb\n")
    assert (
        b"\r\nMessage-ID: <guid@mx.contoso.com>\r\nDate: Sun, 09 Sep 2001 01:46:40 +0000\r\n\r\nb\r\n" in made.content
    )
    assert made.item.message_id == "<guid@mx.contoso.com>"


def test_bcc_is_promoted_and_removed() -> None:
    made = read("From: a@x.com\nTo: b@y.com\nCc: c@y.com\nBCC : d@y.com,\n e@y.com\nBcc: B@y.com\n\nb\n")
    assert recipients(made) == ["B@y.com", "c@y.com", "d@y.com", "e@y.com"]
    assert b"d@y.com" not in made.content
    assert b"e@y.com" not in made.content


def test_bcc_alone_gives_undisclosed_recipients() -> None:
    made = read("From: a@x.com\nBcc: b@y.com\n\nb\n")
    assert b"\r\nTo: Undisclosed recipients:;\r\n" in made.content
    assert b"b@y.com" not in made.content


def test_no_history_and_no_standing_can_be_claimed() -> None:
    made = read(
        "Received: from evil\n by x\nResent-From: z@z\nresent-BCC: z@z\nX-MS-Exchange-Organization-SCL : -1\n"
        "x-ms-exchange-forest-a: b\nFrom: a@x.com\nTo: b@y.com\nX-Other: stays\n\nReceived: in the body\n"
    )
    assert made.content.startswith(TRACE + b"From: a@x.com\r\nTo: b@y.com\r\nX-Other: stays\r\n")
    assert made.content.endswith(b"\r\n\r\nReceived: in the body\r\n")
    assert recipients(made) == ["b@y.com"]


@pytest.mark.parametrize(
    ("header", "originator"),
    [
        ("From: a@x.com\nSender: s@x.com", "s@x.com"),
        ("From: a@x.com, b@x.com\nSender: s@x.com", "s@x.com"),
        ("Sender: Sec <s@x.com>", "s@x.com"),
        ('From: "boss@y.com" <a@x.com>', "a@x.com"),
    ],
)
def test_originator(header: str, originator: str) -> None:
    assert str(read(f"{header}\nTo: b@y.com\n\nb\n").item.envelope.reverse_path) == originator


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("From: a@x.com", "no recipient"),
        ("From: a@x.com\nTo: Team:;", "no recipient"),
        ("To: b@y.com", "no address in From"),
        ("From: a@x.com, c@x.com\nTo: b@y.com", "Sender is needed"),
        ("From: a@x.com\nFrom: c@x.com\nTo: b@y.com", "several From"),
        ("From: a@x.com\nSender: s@x.com, t@x.com\nTo: b@y.com", "several addresses"),
        ("From: a@x.com\nTo: b@y.com, nobody", '"nobody" is no address'),
    ],
)
def test_what_cannot_be_submitted_is_explained(header: str, told: str) -> None:
    with pytest.raises(BadSubmission, match=told):
        read(f"{header}\n\nb\n")


def test_limits() -> None:
    many = "From: a@x.com\nTo: " + ", ".join(f"r{number}@y.com" for number in range(4)) + "\n\nb\n"
    assert len(recipients(read(many, max_recipients=4))) == 4
    with pytest.raises(BadSubmission, match="more than 3 recipients"):
        read(many, max_recipients=3)
    with pytest.raises(BadSubmission, match="larger than 20 B"):
        read(many, max_header_size=ByteSize(20))


def test_eight_bit_content_and_header_are_marked() -> None:
    made = read("From: a@x.com\nTo: b@y.com\nSubject: ä\n\nö\n")
    assert made.item.has_8bit
    assert made.item.headers_utf8
    assert made.item.envelope.smtputf8
    assert made.item.envelope.body_type is BodyType.EIGHT_BIT_MIME
    body_only = read("From: a@x.com\nTo: b@y.com\n\nö\n").item
    assert body_only.has_8bit
    assert not body_only.headers_utf8
