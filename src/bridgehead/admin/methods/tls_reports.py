# SPDX-License-Identifier: MIT
"""Methods about TLS reports (RFC 8460): list, show, results, send."""

import sqlite3
from collections.abc import Awaitable
from typing import Annotated, Final, TypeVar

import msgspec

from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, Number, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.tls.tls_reports import (
    ReceivedReportView,
    SentReportView,
    list_received,
    list_sent,
    send,
    show_received,
)

_Days = Annotated[int, msgspec.Meta(ge=1, le=3650)]
T = TypeVar("T")


class TlsReportSpan(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`days`: how far back."""

    days: _Days = 30


class TlsResultSpan(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`days`: how far back. `domain`: one recipient domain; "" for all."""

    days: _Days = 7
    domain: str = ""


class TlsReportNumber(msgspec.Struct, forbid_unknown_fields=True):
    """`id`: as the list shows it."""

    id: Number


class TlsReportOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`today`: report on the day that is not over, too; what follows of it is not reported any more."""

    today: bool = False


async def _answered(work: Awaitable[T]) -> T:
    try:
        return await work
    except sqlite3.Error as error:
        raise AdminFault(FAILED, f"tls_reports.db cannot be used: {error}", "check the data directory") from None


async def list_(server: RunningServer, params: TlsReportSpan, _: Caller) -> list[ReceivedReportView]:
    """Reports of others on the TLS of mail to our domains, the newest first."""
    return await _answered(list_received(server.tls_reports, server.now(), params.days))


async def show(server: RunningServer, params: TlsReportNumber, _: Caller) -> ReceivedReportView:
    """One report: who could not deliver to us over TLS, and why."""
    return await _answered(show_received(server.tls_reports, params.id))


async def results(server: RunningServer, params: TlsResultSpan, _: Caller) -> list[SentReportView]:
    """How TLS with recipient domains went, by day, and what became of the reports on it."""
    return await _answered(list_sent(server.tls_reports, server.now(), params.days, params.domain.lower()))


async def send_(server: RunningServer, params: TlsReportOrder, _: Caller) -> list[SentReportView]:
    """Make and send the reports that are due, now."""
    return await _answered(send(server.tls_reports, params.today))


_AFTER_OTHERS: Final = Merge(Ask.FIRST, before="worker.flush_logs")
"""Workers write the results of their mail into one file."""

METHODS: Final = {
    "tls_reports.list": Method(
        params=TlsReportSpan, result=list[ReceivedReportView], answer=list_, role=Role.VIEWER,
        route="GET /tls-reports",
        merge=FIRST,
    ),
    "tls_reports.show": Method(
        params=TlsReportNumber, result=ReceivedReportView, answer=show, role=Role.VIEWER,
        route="GET /tls-reports/{id}",
        merge=FIRST,
    ),
    "tls_reports.results": Method(
        params=TlsResultSpan, result=list[SentReportView], answer=results, role=Role.VIEWER, route="GET /tls-results",
        merge=_AFTER_OTHERS,
    ),
    "tls_reports.send": Method(
        params=TlsReportOrder, result=list[SentReportView], answer=send_, role=Role.OPERATOR,
        route="POST /tls-results/send",
        merge=_AFTER_OTHERS,
    ),
}  # fmt: skip
