# SPDX-License-Identifier: MIT
"""A TLS report as JSON, read and written (RFC 8460 §4), and compressed (RFC 1952). Everything read is bounded."""

import zlib
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import TLS_REPORT_BYTES, TLS_REPORT_FAILURES, TLS_REPORT_POLICIES, TLS_REPORT_TEXT

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_GZIP: Final = 31
"""zlib's window bits for gzip with its header (zlib.h)."""


class NotATlsReport(ValueError):
    """What came is no report; the text says why."""


class DateRange(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The time a report is about."""

    start_datetime: datetime
    end_datetime: datetime


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """The policy that was applied. `mx_host`: one name or several; both are in use."""

    policy_type: str
    policy_domain: str
    policy_string: list[str] | str = []
    mx_host: list[str] | str = []


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Sessions."""

    total_successful_session_count: _Count = 0
    total_failure_session_count: _Count = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Sessions that failed in the same way (RFC 8460 §4.3)."""

    result_type: str
    failed_session_count: _Count = 0
    sending_mta_ip: str = ""
    receiving_mx_hostname: str = ""
    receiving_mx_helo: str = ""
    receiving_ip: str = ""
    additional_information: str = ""
    failure_reason_code: str = ""


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """What happened under one policy."""

    policy: Policy
    summary: Summary
    failure_details: list[Failure] = []


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """One report (RFC 8460 §4.4)."""

    organization_name: str
    date_range: DateRange
    contact_info: str
    report_id: str
    policies: list[PolicyReport]

    @property
    def successes(self) -> int:
        return sum(one.summary.total_successful_session_count for one in self.policies)

    @property
    def failures(self) -> int:
        return sum(one.summary.total_failure_session_count for one in self.policies)


_decoder: Final = msgspec.json.Decoder(Report)


def encode(report: Report) -> bytes:
    """JSON, compressed."""
    packer = zlib.compressobj(9, wbits=_GZIP)
    return packer.compress(msgspec.json.encode(report)) + packer.flush()


def decompress(data: bytes) -> bytes:
    """What gzip holds, up to the bound. Raises NotATlsReport."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        found = unpacker.decompress(data, TLS_REPORT_BYTES)
    except zlib.error as error:
        raise NotATlsReport(f"it is not compressed as it says: {clean_text(str(error), 100)}") from None
    if unpacker.unconsumed_tail:
        raise NotATlsReport(f"it grows beyond {TLS_REPORT_BYTES} octets when decompressed")
    if not unpacker.eof:
        raise NotATlsReport("the compressed data ends too early")
    return found


def decode(data: bytes) -> Report:
    """Read a report; `data` is JSON or gzip. Its text is cleaned, what is too much cut. Raises NotATlsReport."""
    if data.startswith(b"\x1f\x8b"):
        data = decompress(data)
    if len(data) > TLS_REPORT_BYTES:
        raise NotATlsReport(f"it is larger than {TLS_REPORT_BYTES} octets")
    try:
        report = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotATlsReport(f"it is no JSON as RFC 8460 describes it: {clean_text(str(error), 200)}") from None
    if len(report.policies) > TLS_REPORT_POLICIES:
        raise NotATlsReport(f"it tells of more than {TLS_REPORT_POLICIES} policies")
    if report.date_range.end_datetime.astimezone(UTC) < report.date_range.start_datetime.astimezone(UTC):
        raise NotATlsReport("it ends before it begins")
    return _cleaned(report)


def _cleaned(report: Report) -> Report:
    room = TLS_REPORT_FAILURES
    policies = []
    for one in report.policies:
        details = one.failure_details[: max(room, 0)]
        room -= len(details)
        policies.append(
            PolicyReport(
                policy=Policy(
                    policy_type=_text(one.policy.policy_type), policy_domain=_text(one.policy.policy_domain).lower(),
                    policy_string=_texts(one.policy.policy_string), mx_host=_texts(one.policy.mx_host),
                ),
                summary=one.summary,
                failure_details=[
                    Failure(
                        result_type=_text(detail.result_type), failed_session_count=detail.failed_session_count,
                        sending_mta_ip=_text(detail.sending_mta_ip),
                        receiving_mx_hostname=_text(detail.receiving_mx_hostname),
                        receiving_mx_helo=_text(detail.receiving_mx_helo), receiving_ip=_text(detail.receiving_ip),
                        additional_information=_text(detail.additional_information),
                        failure_reason_code=_text(detail.failure_reason_code),
                    )
                    for detail in details
                ],
            )
        )  # fmt: skip
    return Report(
        organization_name=_text(report.organization_name), contact_info=_text(report.contact_info),
        date_range=report.date_range, report_id=_text(report.report_id), policies=policies,
    )  # fmt: skip


def _text(value: str) -> str:
    return clean_text(value, TLS_REPORT_TEXT)


def _texts(values: list[str] | str) -> list[str]:
    return [_text(value) for value in ([values] if isinstance(values, str) else values)[:100]]
