# SPDX-License-Identifier: MIT
"""What is kept of TLS results and reports: added up, bounded, forgotten in time, there after a restart."""

from pathlib import Path

import pytest

from bridgehead.tracking.tls_reports import file as tls_report_file
from bridgehead.tracking.tls_reports.file import Outgoing, Received, TlsReportFile
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType, TlsResult


def good(domain: str = "fabrikam.test") -> TlsResult:
    return TlsResult(domain=domain, policy_type=PolicyType.NONE)


def failed(information: str, domain: str = "fabrikam.test") -> TlsResult:
    return TlsResult(
        domain=domain, policy_type=PolicyType.STS, result=ResultType.CERTIFICATE_EXPIRED, information=information
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> TlsReportFile:
    return TlsReportFile(tmp_path / "tls_reports.db")


def test_counts_add_up_and_outlive_a_restart(file: TlsReportFile, tmp_path: Path) -> None:
    file.add({(10, good()): 2, (10, failed("a")): 1})
    file.add({(10, good()): 3, (11, good()): 1})
    file.close()
    again = TlsReportFile(tmp_path / "tls_reports.db")
    found = {(day, result): sessions for day, result, sessions in again.results(0, 99)}
    assert found == {(10, good()): 5, (10, failed("a")): 1, (11, good()): 1}
    assert again.results(0, 99, "other.test") == []
    assert (tmp_path / "tls_reports.db").stat().st_mode & 0o77 == 0
    again.close()


def test_kinds_and_domains_are_bounded(file: TlsReportFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_report_file, "TLS_REPORTED_FAILURES", 5)
    monkeypatch.setattr(tls_report_file, "TLS_REPORTED_DOMAINS", 3)
    file.add({(10, failed(str(number))): 1 for number in range(100)})
    rows = file.results(10, 10)
    assert len(rows) <= 7
    assert sum(sessions for _, _, sessions in rows) == 100, "what is beyond the bound is counted without details"
    file.add({(10, good(f"{number}.test")): 1 for number in range(100)})
    assert len({result.domain for _, result, _ in file.results(10, 10)}) == 3
    file.close()


def test_a_day_and_domain_has_one_report(file: TlsReportFile) -> None:
    file.add({(10, good()): 1, (11, good()): 1})
    assert file.without_report(11) == [(10, "fabrikam.test")]
    report = Outgoing(day=10, domain="fabrikam.test", report_id="1", due=50.0, document=b"x")
    file.put(report)
    assert file.without_report(11) == []
    assert file.due(49.0) == []
    assert file.due(50.0) == [report]
    report.state = "sent"
    file.put(report)
    assert file.due(99.0) == []
    assert file.outgoing(0) == [report]
    file.close()


def test_reports_of_others_come_once_and_go_in_time(file: TlsReportFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_report_file, "TLS_REPORTS_KEPT", 3)

    def one(number: int) -> Received:
        return Received(
            received_at=number * 86400.0, sender="a@b.test", organization="X", report_id=str(number), document=b"{}"
        )  # fmt: skip

    assert file.keep(one(1))
    assert not file.keep(one(1))
    for number in range(2, 9):
        file.keep(one(number))
    assert [found.report_id for found in file.received(0.0)] == ["8", "7", "6"]
    file.add({(5, good()): 1, (7, good()): 1})
    file.forget(7)
    assert [found.report_id for found in file.received(0.0)] == ["8", "7"]
    assert [day for day, _, _ in file.results(0, 99)] == [7]
    assert file.report(file.received(0.0)[0].id) is not None
    assert file.report(9999) is None
    file.close()
