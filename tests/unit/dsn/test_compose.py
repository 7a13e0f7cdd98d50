# SPDX-License-Identifier: MIT
"""Reports as messages, read back by the standard library's parser and by our own."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import BinaryIO

import pytest

from bridgehead.dsn.compose import ComposedReport, Composition, compose
from bridgehead.dsn.original import Original, read_original
from bridgehead.dsn.parse import NotAReport, parse_report
from bridgehead.dsn.report import Report, ReportedRecipient
from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.delivery_status import Action, DeliveryStatus

HEADER = (
    b"Received: from printer\r\n by mail.contoso.com; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"X-MS-Exchange-Organization-SCL: -1\r\nX-MS-Exchange-Forest-Language:\r\n en\r\n"
    b"From: ana@contoso.com\r\nSubject: Offer\r\nMessage-ID: <1@contoso.com>\r\n"
)
ANA, BOB = Mailbox("ana", "contoso.com"), Mailbox("bob", "example.com")
PLAIN = HEADER + b"\r\nDear all,\r\nhere it is.\r\n"
GONE = DeliveryStatus(
    action=Action.FAILED, status="5.1.1", diagnostic="550 5.1.1 User unknown", remote_mta="mx.example.com"
)


def composed(
    *statuses: DeliveryStatus, content: bytes = PLAIN, to: Mailbox = ANA, max_size: int = 10_000,
    headers_only: bool = False, final: Mailbox = BOB, original_recipient: str = "",
    **more: object,
) -> ComposedReport:  # fmt: skip
    recipients = [
        ReportedRecipient(
            final_recipient=final,
            status=status,
            original_recipient=original_recipient,
            last_attempt=1_800_000_100.0,
            will_retry_until=1_800_100_000.0,
        )
        for status in statuses
    ]
    fields: dict[str, object] = {
        "report": Report(
            reporting_mta="mail.contoso.com", recipients=recipients, envelope_id="QQ314159", arrival=1_800_000_000.0
        ),
        "original": read_original(BytesContent(content), headers_only=headers_only, max_size=max_size),
        "to": to,
        "postmaster": Mailbox("postmaster", "contoso.com"),
        "message_id": "<report@mail.contoso.com>",
        "boundary": "b0123456789",
        "now": 1_800_000_200.0,
        "original_subject": "Offer",
        "original_message_id": "<1@contoso.com>",
    }
    return compose(Composition(**(fields | more)))  # type: ignore[arg-type]


def read(report: ComposedReport) -> EmailMessage:
    message = email.message_from_bytes(report.data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    parts: list[EmailMessage] = [message]
    for part in parts:
        assert not part.defects, (part.get_content_type(), part.defects)
        # The standard library does not decode message/* parts, though RFC 6533 lets the UTF-8 forms be encoded.
        if part.is_multipart() and part["Content-Transfer-Encoding"] != "base64":
            parts += part.get_payload()  # type: ignore[arg-type]
    return message


def parts(report: ComposedReport) -> list[EmailMessage]:
    return list(read(report).iter_parts())  # type: ignore[arg-type]


def lines_are_legal(report: ComposedReport) -> bool:
    lines = report.data.split(b"\r\n")
    return all(len(line) <= 998 and b"\n" not in line and b"\r" not in line and b"\0" not in line for line in lines)


def test_the_whole_of_a_failure_report() -> None:
    report = composed(GONE)
    message = read(report)
    assert message["Subject"] == "Undeliverable: Offer"
    assert message["To"] == "ana@contoso.com"
    assert "postmaster@contoso.com" in message["From"]
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<1@contoso.com>"
    assert message["Content-Language"] == "en-US"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    readable, fields, original = parts(report)
    assert [part.get_content_type() for part in readable.iter_parts()] == ["text/plain", "text/html"]
    assert fields.get_content_type() == "message/delivery-status"
    assert original.get_content_type() == "message/rfc822"
    groups = fields.get_payload()
    assert [group.items() for group in groups] == [  # type: ignore[union-attr]
        [
            ("Original-Envelope-Id", "QQ314159"),
            ("Reporting-MTA", "dns;mail.contoso.com"),
            ("Arrival-Date", "Fri, 15 Jan 2027 08:00:00 -0000"),
        ],
        [
            ("Final-Recipient", "rfc822;bob@example.com"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns;mx.example.com"),
            ("Diagnostic-Code", "smtp;550 5.1.1 User unknown"),
            ("Last-Attempt-Date", "Fri, 15 Jan 2027 08:01:40 -0000"),
        ],
    ]
    returned = original.get_payload(0)
    assert isinstance(returned, EmailMessage)
    assert returned["Subject"] == "Offer"
    assert returned.get_content() == "Dear all,\r\nhere it is.\r\n"
    assert lines_are_legal(report)
    assert report.data.isascii()


def test_readable_part_has_exchanges_layout() -> None:
    readable = parts(composed(GONE))[0]
    plain, rich = (part.get_content() for part in readable.iter_parts())
    for text in (plain, rich):
        order = [
            "Your message could not be delivered",
            "The address does not exist.",
            "Diagnostic information for administrators:",
            "Generating server: mail.contoso.com",
            "Remote Server: mx.example.com",
            "550 5.1.1 User unknown",
            "Original message headers:",
            "Subject: Offer",
        ]
        assert sorted(text.index(piece) for piece in order) == [text.index(piece) for piece in order]


def test_no_html_where_it_is_not_wanted() -> None:
    assert parts(composed(GONE, send_html=False))[0].get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("action", "status", "word"),
    [
        ("failed", "5.4.7", "Undeliverable"),
        ("delayed", "4.4.7", "Delivery delayed"),
        ("delivered", "2.0.0", "Delivered"),
        ("relayed", "2.0.0", "Relayed"),
        ("expanded", "2.0.0", "Expanded"),
    ],
)
def test_subjects(action: str, status: str, word: str) -> None:
    report = composed(DeliveryStatus(action=Action(action), status=status))
    assert read(report)["Subject"] == f"{word}: Offer"
    assert parse_report(report.data).recipients[0].action == action


def test_the_gravest_outcome_names_a_mixed_report() -> None:
    report = composed(DeliveryStatus(action=Action.RELAYED, status="2.0.0"), GONE)
    assert read(report)["Subject"] == "Undeliverable: Offer"
    assert [recipient.action for recipient in parse_report(report.data).recipients] == ["relayed", "failed"]


def test_only_a_delay_says_until_when() -> None:
    delayed = DeliveryStatus(action=Action.DELAYED, status="4.4.1", diagnostic="no answer")
    assert parse_report(composed(delayed).data).recipients[0].will_retry_until
    assert not parse_report(composed(GONE).data).recipients[0].will_retry_until


def test_our_own_words_are_not_called_smtp() -> None:
    report = composed(DeliveryStatus(action=Action.FAILED, status="5.4.4", diagnostic="the domain does not exist"))
    assert b"Diagnostic-Code: x-bridgehead;the domain does not exist" in report.data


def test_what_is_internal_does_not_leave_the_house() -> None:
    report = composed(GONE)
    assert b"X-MS-Exchange" not in report.data
    assert b"\r\n en\r\n" not in report.data


def test_headers_only_on_request() -> None:
    report = composed(GONE, headers_only=True)
    returned = parts(report)[2]
    assert returned.get_content_type() == "text/rfc822-headers"
    assert b"here it is" not in report.data


def test_headers_only_above_the_limit() -> None:
    large = HEADER + b"\r\n" + b"x" * 70 + b"\r\n"
    assert parts(composed(GONE, content=large, max_size=len(large)))[2].get_content_type() == "message/rfc822"
    assert parts(composed(GONE, content=large, max_size=len(large) - 1))[2].get_content_type() == "text/rfc822-headers"


class CountingContent:
    """A file's content that tells how much of it was read."""

    def __init__(self, path: Path) -> None:
        self.path, self.most = path, 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def data(self) -> bytes | None:
        return None

    def open(self) -> BinaryIO:
        content = self

        class Stream:
            def __init__(self) -> None:
                self.file = content.path.open("rb")

            def __enter__(self) -> "Stream":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def read(self, size: int) -> bytes:
                assert size >= 0
                content.most = max(content.most, size)
                return self.file.read(size)

        return Stream()  # type: ignore[return-value]


def test_of_a_large_original_only_the_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(HEADER + b"\r\n" + b"line\r\n" * 500_000)
    content = CountingContent(path)
    original = read_original(content, headers_only=False, max_size=1_000_000)
    assert original.body is None
    assert original.header.endswith(b"Message-ID: <1@contoso.com>\r\n")
    assert content.most <= 262_144


def test_an_original_in_a_file_is_returned_whole(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(PLAIN)
    assert read_original(CountingContent(path), headers_only=False, max_size=1000).body is not None


def test_an_original_to_be_encoded_has_a_smaller_bound() -> None:
    header = "Subject: Grüße\r\n".encode()
    for lines, whole in ((10, True), (200_000, False)):
        content = BytesContent(header + b"\r\n" + b"line\r\n" * lines)
        original = read_original(content, headers_only=False, max_size=10_000_000, strict=True)
        assert (original.header, original.body is not None) == (header, whole)


@pytest.mark.parametrize("strict", [True, False])
def test_lines_of_a_large_original_are_measured(strict: bool) -> None:
    for length, whole in ((998, True), (999, False)):
        body = b"\r\n" + b"line\r\n" * 50_000 + b"x" * length + b"\r\n" + b"line\r\n" * 10
        original = read_original(BytesContent(HEADER + body), headers_only=False, max_size=1_000_000, strict=strict)
        assert (original.body is not None) == whole


def test_only_binary_originals_are_searched_for_bare_line_ends() -> None:
    content = BytesContent(HEADER + b"\r\nbare\nfeed\r\n")
    assert read_original(content, headers_only=False, max_size=1000).body is None
    assert read_original(content, headers_only=False, max_size=1000, strict=True).body is not None


def test_an_original_that_is_gone_is_still_reported(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(PLAIN)
    content = CountingContent(path)

    class Gone(CountingContent):
        def open(self) -> BinaryIO:
            raise FileNotFoundError(path)

    original = read_original(Gone(content.path), headers_only=False, max_size=1000)
    assert b"not available" in original.header


def test_eight_bit_original_keeps_its_bytes() -> None:
    content = HEADER + "\r\nGrüße\r\n".encode()
    report = composed(GONE, content=content)
    message = read(report)
    assert report.has_8bit
    assert not report.headers_utf8
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert parts(report)[2]["Content-Transfer-Encoding"] == "8bit"
    assert "\r\nGrüße\r\n".encode() in report.data


def test_original_with_utf8_header_is_global_and_the_report_stays_seven_bit() -> None:
    content = "Subject: Grüße\r\n\r\nHallo\r\n".encode()
    report = composed(GONE, content=content)
    assert parts(report)[2].get_content_type() == "message/global"
    assert report.data.isascii()
    assert not report.has_8bit
    only_header = composed(GONE, content=content, headers_only=True)
    assert parts(only_header)[2].get_content_type() == "message/global-headers"
    assert parse_report(only_header.data).original_header == "Subject: Grüße\r\n".encode()


@pytest.mark.parametrize(
    "body", [b"\r\n\0\r\n", b"\r\nbare\nfeed\r\n", b"\r\nbare\rreturn\r\n", b"\r\n" + b"x" * 1200 + b"\r\n"]
)
def test_binary_original_is_returned_as_header(body: bytes) -> None:
    report = composed(GONE, content=HEADER + body)
    assert parts(report)[2].get_content_type() == "text/rfc822-headers"
    assert lines_are_legal(report)


def test_international_addresses_in_both_forms() -> None:
    final = Mailbox("grün", "exämple.com")
    ascii_form = composed(GONE, final=final, original_recipient="utf-8;grün@exämple.com")
    assert ascii_form.data.isascii()
    assert b"Final-Recipient: utf-8;gr\\x{FC}n@ex\\x{E4}mple.com" in ascii_form.data
    utf8_form = composed(GONE, final=final, original_recipient="utf-8;grün@exämple.com", utf8=True)
    assert parts(utf8_form)[1].get_content_type() == "message/global-delivery-status"
    for report in (ascii_form, utf8_form):
        recipient = parse_report(report.data).recipients[0]
        assert recipient.final_recipient == recipient.original_recipient == "grün@exämple.com"


def test_sender_with_international_address_needs_smtputf8_and_one_with_such_a_domain_does_not() -> None:
    assert composed(GONE, to=Mailbox("grün", "example.com")).headers_utf8
    report = composed(GONE, to=Mailbox("ana", "exämple.com"))
    assert not report.headers_utf8
    assert read(report)["To"] == "ana@xn--exmple-cua.com"


def test_nothing_from_outside_breaks_out() -> None:
    evil = DeliveryStatus(
        action=Action.FAILED,
        status="5.0.0",
        diagnostic="550 <script>alert(1)</script>\r\nAction: delivered\r\n\r\n--b0123456789--",
        remote_mta="mx\r\nX-Evil: 1",
    )
    report = composed(
        evil,
        content=b"Subject: <script>x</script>\r\n\r\nhi\r\n",
        original_subject="Hi\r\nBcc: all@example.com\r\n\r\n<b>",
        original_message_id="<a@b>\r\nX-Evil: 1",
        original_recipient="rfc822;a@b\r\nX-Evil: 1",
    )
    message = read(report)
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert message["In-Reply-To"] is None
    readable, fields, original = parts(report)
    assert original.get_content_type() == "message/rfc822"
    rich = list(readable.iter_parts())[1].get_content()
    assert "<script>" not in rich
    assert "&lt;script&gt;" in rich
    recipient = fields.get_payload(1)
    assert recipient.get_all("Action") == ["failed"]  # type: ignore[union-attr]
    assert recipient["X-Evil"] is None  # type: ignore[index]


@pytest.mark.parametrize("subject", ["Grüße aus Köln " * 40, "x" * 990, "=?utf-8?q?fake?=", "a " * 450, "\ud800"])
def test_any_subject_gives_legal_lines(subject: str) -> None:
    report = composed(GONE, original_subject=subject)
    assert lines_are_legal(report)
    shown = read(report)["Subject"]
    if subject.isascii():
        assert shown.replace(" ", "") == f"Undeliverable: {subject}"[:1000].replace(" ", "")


def test_long_words_in_diagnostics_are_broken() -> None:
    status = DeliveryStatus(action=Action.FAILED, status="5.0.0", diagnostic="550 " + "x" * 1900)
    assert lines_are_legal(composed(status))


def test_original_without_a_body_or_line_end() -> None:
    report = composed(GONE, content=b"Subject: x")
    assert lines_are_legal(report)
    assert parse_report(report.data).recipients[0].status == "5.1.1"
    assert read_original(None, headers_only=False, max_size=10).body is None
    assert read_original(BytesContent(b""), headers_only=False, max_size=10) == Original(
        b"X-Original-Message: header not available\r\n"
    )


def test_our_parser_reads_everything_back() -> None:
    parsed = parse_report(composed(GONE, original_recipient="rfc822;sales@contoso.com").data)
    recipient = parsed.recipients[0]
    assert (parsed.reporting_mta, parsed.envelope_id) == ("mail.contoso.com", "QQ314159")
    assert recipient.final_recipient == "bob@example.com"
    assert recipient.original_recipient == "sales@contoso.com"
    assert (recipient.action, recipient.status) == ("failed", "5.1.1")
    assert (recipient.remote_mta, recipient.diagnostic) == ("mx.example.com", "550 5.1.1 User unknown")
    assert b"Subject: Offer" in parsed.original_header


def test_ordinary_mail_is_no_report() -> None:
    with pytest.raises(NotAReport, match="multipart/report"):
        parse_report(PLAIN)
