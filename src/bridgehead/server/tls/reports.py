# SPDX-License-Identifier: MIT
"""TLS reports of the running server (RFC 8460): counts results, makes and sends a report a day, keeps those of others.

Counts are kept in memory and added to the file every few seconds. Reports leave by mail through our own Submission
queue, which then tries as long as any mail, or by HTTPS, which is tried again for a day. They are not signed with DKIM
(§3 asks for it): receivers that insist pass them over.
"""

import asyncio
import logging
import random
import secrets
import sqlite3
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.delivery.ports import WorkSource
from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import BodyType, Envelope, EnvelopeRecipient, Notify
from bridgehead.mail.header import clean_text
from bridgehead.mail.identity import network_message_id
from bridgehead.mail.item import Directionality, MailItem, Source, TlsRequirement
from bridgehead.mail.limits import TLS_REPORTED_DOMAINS
from bridgehead.net.dns.resolver import Outcome
from bridgehead.net.https import HttpFault, HttpsClient
from bridgehead.queues.store import StoreFault
from bridgehead.server.tls.report_inbox import ReadSource
from bridgehead.tracking.events import EventId, event_for
from bridgehead.tracking.tls_reports.document import NotATlsReport, Report, decode, encode
from bridgehead.tracking.tls_reports.file import Outgoing, Received, TlsReportFile
from bridgehead.tracking.tls_reports.mail import GZIP, ReportMail, compose, extract, is_report
from bridgehead.tracking.tls_reports.making import DAY, Destination, destinations, make_report
from bridgehead.tracking.tls_reports.port import ResultType, TlsResult

if TYPE_CHECKING:
    from bridgehead.server.app import Application

FILE: Final = "tls_reports.db"
FLUSH_SECONDS: Final = 10.0
SEND_SECONDS: Final = 600.0
SPREAD_SECONDS: Final = 4 * 3600.0
"""Reports of a day leave within this time after midnight, so that not all servers of the world send at once (§4.1)."""
RETRY_SECONDS: Final = 3600.0
GIVE_UP_SECONDS: Final = 86_400.0
CONNECTOR: Final = "TlsReports"
"""What stands for a connector in tracking."""

log = logging.getLogger("bridgehead.server")


class TlsReports:
    """What commands ask (`admin.tls.tls_reports.TlsReportDesk`). Implements `tracking.tls_reports.port.TlsResults`."""

    def __init__(self, application: "Application") -> None:
        self._app = application
        self.file = TlsReportFile(application.loaded.data_directory / FILE)
        self._counts: dict[tuple[int, TlsResult], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _settings(self) -> Any:
        return self._app.loaded.configuration.tls_reports

    # --- what commands ask ------------------------------------------------------------------------------------------

    async def received(self, since: float) -> Sequence[Received]:
        """Reports of others. Raises sqlite3.Error."""
        return await asyncio.to_thread(self.file.received, since)

    async def report(self, number: int) -> Received | None:
        """One of them. Raises sqlite3.Error."""
        return await asyncio.to_thread(self.file.report, number)

    async def results(self, first: int, domain: str = "") -> Sequence[tuple[int, TlsResult, int]]:
        """What was counted since a day, to this moment. Raises sqlite3.Error."""
        await self.flush()
        return await asyncio.to_thread(self.file.results, first, 2**40, domain)

    async def outgoing(self, first: int) -> Sequence[Outgoing]:
        """Reports of ours since a day. Raises sqlite3.Error."""
        return await asyncio.to_thread(self.file.outgoing, first)

    # --- counting -----------------------------------------------------------------------------------------------------

    def record(self, result: TlsResult) -> None:
        """See the port."""
        if result.result is ResultType.SUCCESS and result.receiving_ip:  # of what went well only the number counts
            result = msgspec.structs.replace(
                result, sending_ip="", receiving_host="", receiving_helo="", receiving_ip="", information=""
            )
        key = (int(self._app.clock.now() // DAY), result)
        count = self._counts.get(key)
        if count is not None:
            self._counts[key] = count + 1
        elif len(self._counts) < TLS_REPORTED_DOMAINS:
            self._counts[key] = 1

    async def flush(self) -> None:
        """Add what was counted to the file. Raises sqlite3.Error, with the counts kept."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            await asyncio.to_thread(self.file.add, counts)
        except sqlite3.Error:
            for key, sessions in counts.items():
                self._counts[key] = self._counts.get(key, 0) + sessions
            raise

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, send: bool = True) -> None:
        """Count, and where `send` also report and forget, until cancelled."""
        passed = SEND_SECONDS
        while True:
            try:
                await self.flush()
                if send and passed >= SEND_SECONDS:
                    passed = 0.0
                    await self._daily()
            except (sqlite3.Error, OSError) as error:
                log.warning("TLS reports: %s: %s", FILE, error)
            await asyncio.sleep(FLUSH_SECONDS)
            passed += FLUSH_SECONDS

    async def close(self) -> None:
        """Write what was counted."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.flush()
        except (sqlite3.Error, OSError) as error:
            log.warning("TLS results are lost: %s: %s", FILE, error)
        await asyncio.to_thread(self.file.close)

    async def _daily(self) -> None:
        today = int(self._app.clock.now() // DAY)
        if self._settings.sending_enabled:
            await self._make(today, spread=True)
            await self._send_due()
        await asyncio.to_thread(self.file.forget, today - max(1, int(self._settings.max_age.total_seconds() // DAY)))

    # --- reports of ours ----------------------------------------------------------------------------------------------

    async def send_now(self, *, with_today: bool) -> list[Outgoing]:
        """Make the reports that are due and try to send them at once; with today's, although the day is not over.
        Gives what became of each. Raises sqlite3.Error."""
        await self.flush()
        today = int(self._app.clock.now() // DAY)
        await self._make(today + with_today, spread=False)
        for one in await asyncio.to_thread(self.file.outgoing, 0):
            if one.state == "waiting" and one.due > self._app.clock.now():
                one.due = 0.0
                await asyncio.to_thread(self.file.put, one)
        return await self._send_due()

    async def _make(self, before: int, *, spread: bool) -> None:
        """Make the reports of days before `before` that there are none of yet."""
        now = self._app.clock.now()
        for day, domain in await asyncio.to_thread(self.file.without_report, before):
            report_id = f"{day * DAY}.{secrets.token_hex(8)}@{self._domain}"
            rows = await asyncio.to_thread(self.file.results, day, day, domain)
            report = make_report(
                domain, day, [(result, sessions) for _, result, sessions in rows], report_id=report_id,
                organization=self._settings.organization_name or self._domain,
                contact=self._settings.contact_info or str(self._sender),
            )  # fmt: skip
            due = now + random.random() * SPREAD_SECONDS if spread else 0.0  # noqa: S311 (spreads load)
            out = Outgoing(day=day, domain=domain, report_id=report_id, due=due, document=encode(report))
            await asyncio.to_thread(self.file.put, out)

    async def _send_due(self) -> list[Outgoing]:
        sent = await asyncio.to_thread(self.file.due, self._app.clock.now())
        for one in sent:
            await self._send(one)
            await asyncio.to_thread(self.file.put, one)
        return sent

    async def _send(self, report: Outgoing) -> None:
        """One attempt; its outcome stands in `report`."""
        report.attempts += 1
        answer = await self._app.rooms.resolver.txt(f"_smtp._tls.{report.domain}")
        if answer.outcome is Outcome.TEMPORARY_FAILURE:
            self._later(report, f"DNS: {answer.reason}")
            return
        targets, why_none = destinations(answer.values if answer.outcome is Outcome.FOUND else ())
        report.destinations = ", ".join(one.url or f"mailto:{one.mail}" for one in targets)
        if not targets:
            report.state, report.reason = "nobody", why_none
            return
        problems = [problem for one in targets if (problem := await self._send_to(report, one))]
        if len(problems) == len(targets):
            self._later(report, "; ".join(problems))
        else:
            report.state, report.reason = "sent", "; ".join(problems)

    def _later(self, report: Outgoing, reason: str) -> None:
        """Try again, unless the report is a day late."""
        now = self._app.clock.now()
        report.reason = clean_text(reason, 500)
        if now - (report.day + 1) * DAY > GIVE_UP_SECONDS + SPREAD_SECONDS:
            report.state = "failed"
        else:
            report.due = now + min(RETRY_SECONDS * 2 ** (report.attempts - 1), 6 * RETRY_SECONDS)

    async def _send_to(self, report: Outgoing, target: Destination) -> str:
        """ "" where it was taken, else why not."""
        try:
            if target.url:
                client = HttpsClient(lambda: self._app.rooms.resolver, ca_file=self._ca_file)
                answer = await client.post(target.url, report.document, {"Content-Type": GZIP})
                return "" if 200 <= answer.status < 300 else f"{target.url} answered {answer.status}"
            await self._submit(report, parse_mailbox(target.mail))
        except (HttpFault, StoreFault, AddressError) as error:
            return str(error)
        return ""

    @property
    def _ca_file(self) -> str:
        name = self._settings.https_ca_file
        return str(self._app.loaded.within(name)) if name else ""

    @property
    def _domain(self) -> str:
        return self._app.rooms.accepted_domains.default_name or self._app.fqdn

    @property
    def _sender(self) -> Mailbox:
        given = self._settings.sender_address
        return parse_mailbox(given) if given else Mailbox("postmaster", self._domain)

    async def _submit(self, report: Outgoing, recipient: Mailbox) -> None:
        """Commit the mail to the Submission queue. Raises StoreFault."""
        app, now = self._app, self._app.clock.now()
        network_id = network_message_id(app.random_bytes(16))
        unique = secrets.token_hex(12)
        content = compose(
            ReportMail(
                domain=report.domain, submitter=self._domain, sender=str(self._sender), recipients=(str(recipient),),
                report_id=report.report_id, unique=unique, begin=report.day * DAY, end=report.day * DAY + DAY - 1,
                now=now, document=report.document,
                explanation=f"This is a report on TLS sessions from {self._domain} to the mail hosts of "
                f"{report.domain} (RFC 8460).",
            )
        )  # fmt: skip
        item = MailItem(
            internal_message_id=app.acceptance.allocate_id(), network_message_id=network_id, received_at=now,
            envelope=Envelope(
                self._sender, [EnvelopeRecipient(recipient, Notify.NEVER)], body_type=BodyType.SEVEN_BIT,
                smtputf8=not recipient.is_ascii,
            ),
            size=len(content), message_id=f"<{unique}@{self._domain}>", subject=f"Report Domain: {report.domain}",
            header_from=str(self._sender), source=Source.ADMIN, connector=CONNECTOR, principal="system",
            authenticated=True, directionality=Directionality.ORIGINATING, tls_requirement=TlsRequirement.OPTIONAL,
        )  # fmt: skip
        event = event_for(item, EventId.RECEIVE, Source.ADMIN, now, [str(recipient)])
        event.server_hostname, event.connector_id, event.source_context = app.fqdn, CONNECTOR, "TLS report"
        await app.acceptance.submitted(item, BytesContent(content), event)

    # --- reports of others --------------------------------------------------------------------------------------------

    def reading(self, source: WorkSource, address: str) -> WorkSource:
        """The mailboxes' work, with mail to `address` read on the way."""
        return ReadSource(source, address, lambda sender, data: self._begin(self.read_mail(sender, data)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def read_mail(self, sender: str, data: bytes) -> None:
        """Keep the report in a message, if there is one about a domain of ours."""
        try:
            if not is_report(data):
                return
            report = await asyncio.to_thread(lambda: decode(extract(data)))
            await self.keep(sender, report)
        except NotATlsReport as error:
            log.warning("mail from %s to the address for TLS reports holds none: %s", clean_text(sender, 200), error)
        except (sqlite3.Error, OSError) as error:
            log.warning("a TLS report cannot be kept: %s: %s", FILE, error)

    async def keep(self, sender: str, report: Report) -> None:
        """Keep a report, of which only what is about domains of ours counts. Raises NotATlsReport, sqlite3.Error."""
        ours = [one for one in report.policies if self._is_ours(one.policy.policy_domain)]
        if not ours:
            raise NotATlsReport("it is about no domain of ours")
        kept = Received(
            received_at=self._app.clock.now(), sender=clean_text(sender, 320), organization=report.organization_name,
            report_id=report.report_id,
            document=msgspec.json.encode(msgspec.structs.replace(report, policies=ours)),
        )  # fmt: skip
        await asyncio.to_thread(self.file.keep, kept)

    def _is_ours(self, domain: str) -> bool:
        return self._app.rooms.accepted_domains.find(domain) is not None
