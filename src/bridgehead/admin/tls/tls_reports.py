# SPDX-License-Identifier: MIT
"""TLS reports, told in sentences: who could not deliver to us over TLS and why, and how our own sessions went."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from bridgehead.admin.faults import FAILED, NOT_FOUND, AdminFault
from bridgehead.admin.times import moment
from bridgehead.tracking.tls_reports.document import Failure, NotATlsReport, Report, decode
from bridgehead.tracking.tls_reports.file import Outgoing, Received
from bridgehead.tracking.tls_reports.port import ResultType, TlsResult

_DAY: Final = 86400
_LINES: Final = 100

MEANINGS: Final[dict[str, tuple[str, str]]] = {
    "starttls-not-supported": (
        "the host did not offer STARTTLS",
        "offer it: auth_mechanism with Tls at the connector, and no firewall between that strips it",
    ),
    "certificate-host-mismatch": (
        "the certificate is for another name",
        "show one with the name that MX points to: bridgehead certificate list",
    ),
    "certificate-expired": ("the certificate had expired", "renew it: bridgehead certificate renew"),
    "certificate-not-trusted": (
        "the certificate's issuer is not trusted",
        "use one of a public authority, with its whole chain: bridgehead certificate check",
    ),
    "validation-failure": ("the session failed for another reason", "see the further information, if any"),
    "tlsa-invalid": (
        "no TLSA record fits the certificate",
        "publish TLSA records for the certificate in use: bridgehead dns check",
    ),
    "dnssec-invalid": ("DNSSEC does not validate", "repair the zone's signatures, or its DS record"),
    "dane-required": ("DANE is required and there are no usable TLSA records", "publish them: bridgehead dns check"),
    "sts-policy-fetch-error": (
        "the MTA-STS policy could not be fetched",
        "see that https://mta-sts.<domain>/.well-known/mta-sts.txt answers",
    ),
    "sts-policy-invalid": ("the MTA-STS policy is not valid", "repair it: bridgehead dns check"),
    "sts-webpki-invalid": (
        "the certificate of the MTA-STS policy host, or of the mail host under the policy, is not valid",
        "give both certificates of a public authority",
    ),
}
"""Result types of RFC 8460 §4.3: what each means, and what the receiving side can do."""


class ReceivedReportView(msgspec.Struct, frozen=True, kw_only=True):
    """A report of somebody else's on mail to us.

    Attributes:
        id: for `show`.
        begin, end: what time it is about.
        domains: of ours that it is about.
        sentences: what failed and what to do; empty where nothing failed.
    """

    id: int
    received_at: datetime | None
    organization: str
    contact: str
    report_id: str
    begin: datetime
    end: datetime
    domains: list[str]
    successes: int
    failures: int
    sentences: list[str]


class SentReportView(msgspec.Struct, frozen=True, kw_only=True):
    """Our sessions with one domain on one day, and what became of the report on them.

    Attributes:
        day: "2026-11-23", UTC.
        state: "counting" (the day is not over, or the report is not made), "waiting", "sent", "failed", "nobody".
        destinations: where the domain wants it.
        reason: what stands in the way.
        sentences: what failed.
    """

    day: str
    domain: str
    successes: int
    failures: int
    state: str
    destinations: str
    reason: str
    sentences: list[str]


class TlsReportDesk(Protocol):
    """The server's TLS reports. Calls raise sqlite3.Error."""

    async def received(self, since: float) -> Sequence[Received]: ...
    async def report(self, number: int) -> Received | None: ...
    async def results(self, first: int, domain: str = "") -> Sequence[tuple[int, TlsResult, int]]: ...
    async def outgoing(self, first: int) -> Sequence[Outgoing]: ...
    async def send_now(self, *, with_today: bool) -> Sequence[Outgoing]: ...


async def list_received(desk: TlsReportDesk, now: float, days: int) -> list[ReceivedReportView]:
    """Reports of others, the newest first."""
    return [_view(one) for one in await desk.received(now - days * _DAY)]


async def show_received(desk: TlsReportDesk, number: int) -> ReceivedReportView:
    """One report. Raises AdminFault."""
    found = await desk.report(number)
    if found is None:
        raise AdminFault(NOT_FOUND, f"there is no TLS report {number}", "bridgehead tls-report list shows them")
    return _view(found)


async def list_sent(desk: TlsReportDesk, now: float, days: int, domain: str) -> list[SentReportView]:
    """Our own results, by day and domain, the newest first."""
    first = int(now // _DAY) - days
    reports = {(one.day, one.domain): one for one in await desk.outgoing(first)}
    groups: dict[tuple[int, str], list[tuple[TlsResult, int]]] = {}
    for day, result, sessions in await desk.results(first, domain):
        groups.setdefault((day, result.domain), []).append((result, sessions))
    return [_sent(day, name, rows, reports.get((day, name))) for (day, name), rows in groups.items()]


async def send(desk: TlsReportDesk, with_today: bool) -> list[SentReportView]:
    """Make and send what is due, now."""
    done = await desk.send_now(with_today=with_today)
    views = []
    for one in done:
        rows = [(result, n) for day, result, n in await desk.results(one.day, one.domain) if day == one.day]
        views.append(_sent(one.day, one.domain, rows, one))
    return views


def _sent(day: int, domain: str, rows: Sequence[tuple[TlsResult, int]], report: Outgoing | None) -> SentReportView:
    failed = [(result, sessions) for result, sessions in rows if result.result is not ResultType.SUCCESS]
    return SentReportView(
        day=f"{datetime.fromtimestamp(day * _DAY, UTC):%Y-%m-%d}", domain=domain,
        successes=sum(sessions for result, sessions in rows if result.result is ResultType.SUCCESS),
        failures=sum(sessions for _, sessions in failed),
        state=report.state if report else "counting",
        destinations=report.destinations if report else "", reason=report.reason if report else "",
        sentences=[_own_sentence(result, sessions) for result, sessions in failed[:_LINES]],
    )  # fmt: skip


def _own_sentence(result: TlsResult, sessions: int) -> str:
    meaning = MEANINGS.get(result.result.value, (result.result.value, ""))[0]
    host = result.receiving_host or result.domain
    address = f" ({result.receiving_ip})" if result.receiving_ip else ""
    more = f": {result.information}" if result.information else ""
    return f"{_sessions(sessions)} with {host}{address} failed: {meaning}{more}"


def _view(received: Received) -> ReceivedReportView:
    try:
        report = decode(received.document)
    except NotATlsReport as error:
        raise AdminFault(FAILED, f"TLS report {received.id} cannot be read: {error}") from None
    return ReceivedReportView(
        id=received.id, received_at=moment(received.received_at), organization=report.organization_name,
        contact=report.contact_info, report_id=report.report_id, begin=report.date_range.start_datetime,
        end=report.date_range.end_datetime,
        domains=sorted({one.policy.policy_domain for one in report.policies}),
        successes=report.successes, failures=report.failures, sentences=_sentences(report),
    )  # fmt: skip


def _sentences(report: Report) -> list[str]:
    found: list[str] = []
    for policy in report.policies:
        found += [
            _sentence(report.organization_name, policy.policy.policy_domain, failure)
            for failure in policy.failure_details
        ]
        told = sum(failure.failed_session_count for failure in policy.failure_details)
        untold = policy.summary.total_failure_session_count - told
        if untold > 0:
            found.append(f"{_sessions(untold)} with {policy.policy.policy_domain} failed; the report does not say how")
    return found[:_LINES]


def _sentence(organization: str, domain: str, failure: Failure) -> str:
    meaning, remedy = MEANINGS.get(failure.result_type, (failure.result_type, ""))
    host = failure.receiving_mx_hostname or domain
    address = f" ({failure.receiving_ip})" if failure.receiving_ip else ""
    source = f" from {failure.sending_mta_ip}" if failure.sending_mta_ip else ""
    information = failure.additional_information or failure.failure_reason_code
    more = f" ({information})" if information else ""
    todo = f"; {remedy}" if remedy else ""
    who = organization or "somebody"
    return (
        f"{who}{source}: {_sessions(failure.failed_session_count)} with {host}{address} failed: {meaning}{more}{todo}"
    )


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
