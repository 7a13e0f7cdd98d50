# SPDX-License-Identifier: MIT
"""Mail that carries a TLS report, written and read (RFC 8460 §5.3): multipart/report; report-type=tlsrpt."""

import base64
from binascii import Error as Base64Error
from binascii import a2b_base64
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import msgspec

from bridgehead.mail.header import HeaderBlock, split_header
from bridgehead.mail.limits import TLS_REPORT_MAIL_BYTES
from bridgehead.mail.mime import BOUNDARY_CHARACTERS, content_type, parts_of
from bridgehead.tracking.tls_reports.document import NotATlsReport

GZIP: Final = "application/tlsrpt+gzip"
JSON: Final = "application/tlsrpt+json"
_LENIENT: Final = ("application/gzip", "application/x-gzip", "application/json")


class ReportMail(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail with a report is made of. Names are domains in A-labels.

    Attributes:
        domain: whom the report is about. submitter: whose it is.
        begin, end: Unix times. unique: letters and digits that no other report has.
        document: the report, gzip.
        explanation: for people.
    """

    domain: str
    submitter: str
    sender: str
    recipients: tuple[str, ...]
    report_id: str
    unique: str
    begin: float
    end: float
    now: float
    document: bytes
    explanation: str


def compose(mail: ReportMail) -> bytes:
    """The message, CR LF."""
    boundary = f"tlsrpt-{mail.unique}"
    name = f"{mail.submitter}!{mail.domain}!{int(mail.begin)}!{int(mail.end)}!{mail.unique[:8]}.json.gz"
    header = (
        f"From: TLS reports of {mail.submitter} <{mail.sender}>",
        f"To: {', '.join(mail.recipients)}",
        f"Subject: Report Domain: {mail.domain}",
        f" Submitter: {mail.submitter}",
        f" Report-ID: <{mail.report_id}>",
        f"Date: {format_datetime(datetime.fromtimestamp(mail.now, UTC))}",
        f"Message-ID: <{mail.unique}@{mail.submitter}>",
        f"TLS-Report-Domain: {mail.domain}",
        f"TLS-Report-Submitter: {mail.submitter}",
        "TLS-Required: No",  # a report on broken TLS must get there in spite of it (RFC 8460 §3, RFC 8689 §5)
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *mail.explanation.splitlines(),
        "",
        f"--{boundary}",
        f"Content-Type: {GZIP}",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{name}"',
        "",
    )
    encoded = base64.encodebytes(mail.document).replace(b"\n", b"\r\n")
    return "\r\n".join(header).encode("ascii", "replace") + b"\r\n" + encoded + f"--{boundary}--\r\n".encode()


def is_report(data: bytes) -> bool:
    """Whether a message says that it carries a TLS report."""
    block = HeaderBlock(split_header(data)[0])
    kind, parameters = content_type(block)
    return (
        parameters.get("report-type", "").lower() == "tlsrpt"
        or kind in (GZIP, JSON)
        or bool(block.first(b"tls-report-domain"))
    )


def extract(data: bytes) -> bytes:
    """The report in a message, as it was attached. Raises NotATlsReport."""
    if len(data) > TLS_REPORT_MAIL_BYTES:
        raise NotATlsReport(f"the message is larger than {TLS_REPORT_MAIL_BYTES} octets")
    header, body = split_header(data)
    block = HeaderBlock(header)
    kind, parameters = content_type(block)
    if kind in (GZIP, JSON):
        return _decoded(body.removeprefix(b"\r\n"), block)
    boundary = parameters.get("boundary", "")
    if not kind.startswith("multipart/") or not boundary or len(boundary) > BOUNDARY_CHARACTERS:
        raise NotATlsReport("the message is not of type multipart/report; report-type=tlsrpt")
    found = b""
    for part, content in parts_of(body, boundary):
        part_kind = content_type(part)[0]
        if part_kind in (GZIP, JSON):
            return _decoded(content, part)
        if part_kind in _LENIENT and not found:
            found = _decoded(content, part)
    if not found:
        raise NotATlsReport(f"no part of the message is of type {GZIP} or {JSON}")
    return found


def _decoded(content: bytes, part: HeaderBlock) -> bytes:
    if part.first(b"content-transfer-encoding").strip().lower() != b"base64":
        return content
    try:
        return a2b_base64(content)
    except Base64Error:
        raise NotATlsReport("the report is not valid base64") from None
