# SPDX-License-Identifier: MIT
"""From counted results to a report (RFC 8460 §4), and from a domain's TXT record to where it wants it (§3). Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.limits import TLS_REPORT_ADDRESSES
from bridgehead.tracking.tls_reports.document import DateRange, Failure, Policy, PolicyReport, Report, Summary
from bridgehead.tracking.tls_reports.port import ResultType, TlsResult

DAY: Final = 86400


def make_report(
    domain: str, day: int, results: Sequence[tuple[TlsResult, int]], *, organization: str, contact: str, report_id: str
) -> Report:  # fmt: skip
    """One report on one domain and UTC day."""
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[tuple[TlsResult, int]]] = {}
    for result, sessions in results:
        key = (result.policy_type.value, result.policy_strings, result.mx_patterns)
        groups.setdefault(key, []).append((result, sessions))
    begin = datetime.fromtimestamp(day * DAY, UTC)
    end = datetime.fromtimestamp(day * DAY + DAY - 1, UTC)
    return Report(
        organization_name=organization, contact_info=contact, report_id=report_id,
        date_range=DateRange(start_datetime=begin, end_datetime=end),
        policies=[
            PolicyReport(
                policy=Policy(
                    policy_type=kind, policy_string=list(strings), policy_domain=domain, mx_host=list(patterns)
                ),
                summary=Summary(
                    total_successful_session_count=sum(n for one, n in group if one.result is ResultType.SUCCESS),
                    total_failure_session_count=sum(n for one, n in group if one.result is not ResultType.SUCCESS),
                ),
                failure_details=[_failure(one, n) for one, n in group if one.result is not ResultType.SUCCESS],
            )
            for (kind, strings, patterns), group in groups.items()
        ],
    )  # fmt: skip


def _failure(result: TlsResult, sessions: int) -> Failure:
    return Failure(
        result_type=result.result.value, failed_session_count=sessions, sending_mta_ip=result.sending_ip,
        receiving_mx_hostname=result.receiving_host, receiving_mx_helo=result.receiving_helo,
        receiving_ip=result.receiving_ip, additional_information=result.information,
    )  # fmt: skip


class Destination(msgspec.Struct, frozen=True):
    """Where a report goes: a mail address, or an https address."""

    mail: str = ""
    url: str = ""


def destinations(records: Sequence[bytes]) -> tuple[list[Destination], str]:
    """Where a domain wants reports, by the TXT records of _smtp._tls; and why nowhere (RFC 8460 §3)."""
    ours = [record for record in records if record.replace(b" ", b"").startswith(b"v=TLSRPTv1")]
    if not ours:
        return [], "the domain asks for no reports"
    if len(ours) > 1:
        return [], "the domain publishes several TLSRPT records, which counts as none"
    found: list[Destination] = []
    for field in ours[0].decode("utf-8", "replace").split(";")[1:]:
        name, _, value = field.partition("=")
        if name.strip() == "rua":
            found += [one for uri in value.split(",") if (one := _destination(uri.strip())) is not None]
    return found[:TLS_REPORT_ADDRESSES], "" if found else "the domain's TLSRPT record names no address of use"


def _destination(uri: str) -> Destination | None:
    try:
        parts = urlsplit(uri)
        if parts.scheme.lower() == "mailto":
            mailbox = parse_mailbox(unquote(parts.path))
            return Destination(mail=str(mailbox))
        if parts.scheme.lower() == "https" and parts.hostname:
            return Destination(url=uri)
    except ValueError:
        pass
    return None
