# SPDX-License-Identifier: MIT
"""TLS reports read and written: RFC 8460's own example, what others write, bombs and rubbish."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridgehead.mail.limits import TLS_REPORT_BYTES, TLS_REPORT_FAILURES, TLS_REPORT_POLICIES
from bridgehead.tracking.tls_reports.document import NotATlsReport, decode, encode
from bridgehead.tracking.tls_reports.mail import GZIP, ReportMail, compose, extract, is_report
from bridgehead.tracking.tls_reports.making import DAY, Destination, destinations, make_report
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType, TlsResult

EXAMPLE: dict[str, Any] = {
    "organization-name": "Company-X",
    "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
    "contact-info": "sts-reporting@company-x.example",
    "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
    "policies": [{
        "policy": {
            "policy-type": "sts",
            "policy-string": ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"],
            "policy-domain": "company-y.example",
            "mx-host": "*.mail.company-y.example",
        },
        "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
        "failure-details": [
            {"result-type": "certificate-expired", "sending-mta-ip": "2001:db8:abcd:0012::1",
             "receiving-mx-hostname": "mx1.mail.company-y.example", "failed-session-count": 100},
            {"result-type": "starttls-not-supported", "sending-mta-ip": "2001:db8:abcd:0013::1",
             "receiving-mx-hostname": "mx2.mail.company-y.example", "receiving-ip": "203.0.113.56",
             "failed-session-count": 200, "additional-information": "https://reports.company-x.example/report_info"},
            {"result-type": "validation-failure", "sending-mta-ip": "198.51.100.62", "receiving-ip": "203.0.113.58",
             "receiving-mx-hostname": "mx-backup.mail.company-y.example", "failed-session-count": 3,
             "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"},
        ],
    }],
}  # fmt: skip
"""RFC 8460, appendix B."""


def example(**changes: Any) -> bytes:
    return json.dumps(EXAMPLE | changes).encode()


def test_the_example_of_rfc_8460() -> None:
    for data in (example(), gzip.compress(example())):
        report = decode(data)
        assert (report.organization_name, report.successes, report.failures) == ("Company-X", 5326, 303)
        policy = report.policies[0]
        assert policy.policy.mx_host == ["*.mail.company-y.example"]
        assert [one.failed_session_count for one in policy.failure_details] == [100, 200, 3]
        assert policy.failure_details[2].failure_reason_code == "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"


def test_what_is_written_is_read_again() -> None:
    good = TlsResult(domain="fabrikam.test", policy_type=PolicyType.STS, policy_strings=("version: STSv1",))
    bad = TlsResult(
        domain="fabrikam.test", policy_type=PolicyType.STS, policy_strings=("version: STSv1",),
        result=ResultType.CERTIFICATE_EXPIRED, receiving_host="mx.fabrikam.test", receiving_ip="192.0.2.1",
    )  # fmt: skip
    dane = TlsResult(domain="fabrikam.test", policy_type=PolicyType.TLSA, result=ResultType.TLSA_INVALID)
    report = make_report(
        "fabrikam.test", 20_000, [(good, 7), (bad, 2), (dane, 1)], organization="Contoso", contact="a@contoso.test",
        report_id="1@contoso.test",
    )  # fmt: skip
    found = decode(encode(report))
    assert (found.successes, found.failures) == (7, 3)
    assert [one.policy.policy_type for one in found.policies] == ["sts", "tlsa"]
    assert (found.date_range.end_datetime - found.date_range.start_datetime).total_seconds() == DAY - 1
    raw = json.loads(gzip.decompress(encode(report)))
    assert raw["date-range"]["start-datetime"] == "2024-10-04T00:00:00Z"
    assert raw["policies"][0]["failure-details"][0]["result-type"] == "certificate-expired"


# --- D9 ------------------------------------------------------------------------------------------------------------------


def test_d9_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * (TLS_REPORT_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(NotATlsReport, match="grows beyond"):
        decode(bomb)
    with pytest.raises(NotATlsReport, match="too early"):
        decode(gzip.compress(example())[:-20])
    with pytest.raises(NotATlsReport, match="not compressed"):
        decode(b"\x1f\x8b" + b"x" * 100)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b"{" * 100_000, b'{"a":' * 100_000, b"[" * 1_000_000, b"\xff\xfe", b'"' + b"x" * 100,
        example(policies=[{"policy": {}}]), example(**{"date-range": {"start-datetime": "yesterday"}}),
        example(**{"date-range": {"start-datetime": "2016-04-02T00:00:00Z", "end-datetime": "2016-04-01T00:00:00Z"}}),
        example(policies=EXAMPLE["policies"] * (TLS_REPORT_POLICIES + 1)),
        example(policies=[EXAMPLE["policies"][0] | {"summary": {"total-failure-session-count": -1}}]),
        example(policies=[EXAMPLE["policies"][0] | {"summary": {"total-failure-session-count": 10**30}}]),
        example(extra="[" * 100_000)[:-1],
    ],
)  # fmt: skip
def test_d9_rubbish_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(NotATlsReport):
        decode(data)


def test_d9_endless_details_and_controls_are_cut() -> None:
    policy = EXAMPLE["policies"][0]
    detail = {"result-type": "\x1b[31mred\r\n", "failed-session-count": 1, "additional-information": "x" * 100_000}
    report = decode(example(policies=[policy | {"failure-details": [detail] * 60}]))
    assert "\x1b" not in report.policies[0].failure_details[0].result_type
    assert len(report.policies[0].failure_details[0].additional_information) < 1000
    many = [{"result-type": "x", "failed-session-count": 1}] * (TLS_REPORT_FAILURES + 10)
    assert len(decode(example(policies=[policy | {"failure-details": many}])).policies[0].failure_details) == 5000


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_d9_any_octets_are_a_report_or_none(data: bytes) -> None:
    for candidate in (data, b"\x1f\x8b\x08" + data, example()[: len(data)] + data):
        try:
            decode(candidate)
        except NotATlsReport:
            pass


# --- mail ------------------------------------------------------------------------------------------------------------------


def mail(document: bytes) -> bytes:
    return compose(
        ReportMail(
            domain="fabrikam.test", submitter="contoso.test", sender="postmaster@contoso.test",
            recipients=("tls@fabrikam.test",), report_id="1@contoso.test", unique="abcdef012345", begin=0.0,
            end=86399.0, now=86500.0, document=document, explanation="What this is.",
        )
    )  # fmt: skip


def test_a_report_travels_by_mail_as_the_rfc_has_it() -> None:
    document = gzip.compress(example())
    message = mail(document)
    assert b'Content-Type: multipart/report; report-type="tlsrpt"; boundary=' in message
    assert b"TLS-Report-Domain: fabrikam.test\r\nTLS-Report-Submitter: contoso.test\r\nTLS-Required: No\r\n" in message
    assert b'filename="contoso.test!fabrikam.test!0!86399!abcdef01.json.gz"' in message
    assert not [
        line for line in message.split(b"\r\n") if len(line) > 78 and b"filename" not in line and b"Type" not in line
    ]
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert is_report(message)
    assert extract(message) == document


@pytest.mark.parametrize(
    "message",
    [
        b"Content-Type: application/tlsrpt+json\r\n\r\n" + example(),
        b"Content-Type: multipart/mixed; boundary=b\r\nTLS-Report-Domain: x\r\n\r\n--b\r\n"
        b"Content-Type: application/gzip\r\n\r\n" + gzip.compress(example()) + b"\r\n--b--\r\n",
    ],
)
def test_what_others_write(message: bytes) -> None:
    assert is_report(message)
    assert decode(extract(message)).organization_name == "Company-X"


def test_d9_mail_without_a_report_is_refused() -> None:
    good = mail(gzip.compress(example()))
    for bad in (
        b"", b"Subject: hi\r\n\r\nhello", good.replace(GZIP.encode(), b"text/plain"), good[:700],
        b"Content-Type: multipart/report; boundary=" + b"b" * 71 + b"\r\n\r\n",
        b"Content-Type: multipart/report; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 100_000,
    ):  # fmt: skip
        with pytest.raises(NotATlsReport):
            decode(extract(bad))


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (b"v=TLSRPTv1;rua=mailto:reports@example.com", [Destination(mail="reports@example.com")]),
        (b"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt", [Destination(url="https://reporting.example.com/v1/tlsrpt")]),
        (b"v=TLSRPTv1; rua=mailto:a@b.test,https://c.test/x;", [Destination(mail="a@b.test"), Destination(url="https://c.test/x")]),
        (b"v=TLSRPTv1; rua=http://reporting.example.com/", []),
        (b"v=TLSRPTv1; rua=mailto:no address", []),
        (b"v=TLSRPTv1", []),
        (b"v=STSv1; id=1", []),
    ],
)  # fmt: skip
def test_where_a_domain_wants_its_reports(record: bytes, found: list[Destination]) -> None:
    assert destinations([record])[0] == found
    assert bool(destinations([record])[1]) is not bool(found)


def test_several_records_count_as_none() -> None:
    assert destinations([b"v=TLSRPTv1; rua=mailto:a@b.test"] * 2)[0] == []
