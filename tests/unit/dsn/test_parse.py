# SPDX-License-Identifier: MIT
"""Anything may come back as a report: it is read, or it is a `NotAReport`, never another exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.dsn.parse import NotAReport, parse_report

POSTFIX = (
    b'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="4Qx.17/mail"\r\nSubject: x\r\n\r\n'
    b"This is a MIME-encapsulated message.\r\n\r\n--4Qx.17/mail\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\r\n"
    b"--4Qx.17/mail\r\nContent-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; mail.example.org\r\nX-Postfix-Queue-ID: 4Qx\r\n\r\n"
    b"Final-Recipient: rfc822; bob@example.com\r\nOriginal-Recipient: rfc822;bob@example.com\r\nAction: failed\r\n"
    b"Status: 5.1.1\r\nRemote-MTA: dns; mx.example.com\r\nDiagnostic-Code: smtp; 550 5.1.1 <bob@example.com>:\r\n"
    b"    Recipient address rejected\r\n\r\n"
    b"--4Qx.17/mail\r\nContent-Type: message/rfc822\r\n\r\nSubject: hi\r\n\r\nbody\r\n\r\n--4Qx.17/mail--\r\n"
)


def test_a_report_of_postfix() -> None:
    report = parse_report(POSTFIX)
    recipient = report.recipients[0]
    assert report.reporting_mta == "mail.example.org"
    assert recipient.final_recipient == "bob@example.com"
    assert recipient.diagnostic == "550 5.1.1 <bob@example.com>: Recipient address rejected"
    assert report.original_header == b"Subject: hi\r\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"report-type=delivery-status", b"report-type=disposition-notification"), "multipart/report"),
        ((b'boundary="4Qx.17/mail"', b"x=y"), "boundary"),
        ((b"Content-Type: message/delivery-status", b"Content-Type: text/plain"), "no part"),
        ((b"Status: 5.1.1", b"Status: fine"), "status code"),
        ((b"\r\n\r\nFinal-Recipient", b"\r\nFinal-Recipient"), "no recipient"),
    ],
)
def test_what_is_missing_is_named(change: tuple[bytes, bytes], reason: str) -> None:
    with pytest.raises(NotAReport, match=reason):
        parse_report(POSTFIX.replace(*change))


@given(st.binary(max_size=300), st.integers(0, len(POSTFIX)), st.integers(0, 200))
def test_damage_anywhere_is_survived(junk: bytes, position: int, cut: int) -> None:
    try:
        parse_report(POSTFIX[:position] + junk + POSTFIX[position + cut :])
    except NotAReport:
        pass
