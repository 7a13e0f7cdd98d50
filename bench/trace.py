# SPDX-License-Identifier: MIT
"""How long searches in a million tracking events take, and how long their index takes to make.

    python bench/trace.py                      # one million events in a fresh folder, removed afterwards
    python bench/trace.py --events 100000 --folder /var/tmp/trace --keep

Events are written by the real message tracking log; each search runs in this process, with the index and without.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from bridgehead.mail.item import Directionality, Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from bridgehead.tracking.outcomes import Status
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.index import INDEX_NAME, disk_size
from bridgehead.tracking.trace.indexer import Indexer
from bridgehead.tracking.trace.search import search

START = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
WORDS = (
    "invoice", "report", "march", "april", "order", "delivery", "note", "meeting", "minutes", "backup", "failed",
    "printer", "scan", "alert", "weekly",
)  # fmt: skip


class Traffic:
    """A company's mail: few senders of much, many of little; groups, retries, failures with reports."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = START
        self._number = 0
        self._people = [f"user{n}@contoso.example" for n in range(3000)]
        self._others = [f"contact{n}@partner{n % 700}.example" for n in range(40_000)]
        self._clients = [f"10.{n % 8}.{n // 250}.{n % 250}" for n in range(1200)]

    def events(self, count: int) -> Iterator[TrackingEvent]:
        """About so many events."""
        made = 0
        while made < count:
            for event in self._message():
                made += 1
                yield event

    def _message(self) -> list[TrackingEvent]:
        self._now += self._random.expovariate(0.4)
        chance = self._random.random()
        sender, recipient = self._pick(self._people), self._pick(self._others)
        made = self._new(sender, [recipient])
        received = self._event(made, EventId.RECEIVE, 0, connector_id="mx\\Relay", client_ip=made.original_client_ip)
        if chance < 0.85:
            return [received, self._sent(made, recipient, 0.4)]
        if chance < 0.93:  # a group
            members = [self._pick(self._people) for _ in range(self._random.randint(2, 6))]
            events = [received, self._event(made, EventId.EXPAND, 0.01, recipient_address=members)]
            return events + [
                self._sent(made, member, 0.2 + n / 10, EventId.DELIVER) for n, member in enumerate(members)
            ]
        if chance < 0.98:  # put off, then sent
            defers = [
                self._event(
                    made, EventId.DEFER, 60 * n + 1, recipient_status=["451 4.7.1 Greylisted, please try again later"],
                    connector_id="Internet", source_context=f"{self._random.getrandbits(64):016X}",
                )
                for n in range(self._random.randint(1, 4))
            ]  # fmt: skip
            return [received, *defers] if chance > 0.979 else [received, *defers, self._sent(made, recipient, 300)]
        failed = self._event(
            made, EventId.FAIL, 1, recipient_status=["550 5.1.1 <x>: Recipient address rejected: User unknown"],
            connector_id="Internet",
        )  # fmt: skip
        report = self._new("", [sender], f"<dsn-{made.message_id[1:]}")
        report.reference = made.message_id
        events = [received, failed, self._event(report, EventId.DSN, 1.1, source=Source.DSN, reference=made.message_id)]
        return [*events, self._sent(report, sender, 1.2, EventId.DELIVER)]

    def _pick(self, among: list[str]) -> str:
        return among[min(int(self._random.paretovariate(0.5)) - 1, len(among) - 1)]

    def _new(self, sender: str, recipients: list[str], message_id: str = "") -> TrackingEvent:
        self._number += 1
        subject = " ".join(self._random.choice(WORDS) for _ in range(3))
        return TrackingEvent(
            time=self._now,
            event_id=EventId.RECEIVE,
            source=Source.SMTP,
            internal_message_id=self._number,
            message_id=message_id or f"<{self._random.getrandbits(80):020x}@contoso.example>",
            network_message_id=str(UUID(int=self._random.getrandbits(128), version=4)),
            client_hostname="app.contoso.example",
            server_hostname="mx.contoso.example",
            recipient_address=recipients,
            total_bytes=self._random.randint(1000, 90_000),
            recipient_count=len(recipients),
            message_subject=f"{subject} {self._number}" if self._random.random() < 0.7 else subject,
            sender_address=sender,
            return_path=sender or "<>",
            directionality=Directionality.ORIGINATING,
            original_client_ip=self._pick(self._clients),
        )

    def _event(self, made: TrackingEvent, event_id: EventId, after: float, **changes: object) -> TrackingEvent:
        from msgspec.structs import replace

        return replace(made, time=made.time + after, event_id=event_id, **changes)

    def _sent(
        self, made: TrackingEvent, recipient: str, after: float, event_id: EventId = EventId.SEND
    ) -> TrackingEvent:  # fmt: skip
        source = Source.SMTP if event_id is EventId.SEND else Source.STOREDRIVER
        return self._event(
            made, event_id, after, source=source, recipient_address=[recipient],
            recipient_status=["250 2.0.0 Ok: queued as 4Xq1v25T8Kz1"], client_ip="192.0.2.1",
            server_ip="203.0.113.25", connector_id="Internet" if event_id is EventId.SEND else "Mailboxes",
            source_context=f"{self._random.getrandbits(64):016X};250 2.0.0 Ok: queued as 4Xq1v25T8Kz1",
        )  # fmt: skip


def write(folder: Path, count: int) -> float:
    """Write events by the real log; seconds."""
    now = [START]
    file = LogFile(folder, KIND, LogLimits(timedelta(0), 10 * 1024**2, 2**40), lambda: now[0])
    log = MessageTrackingLog(file)
    began = time.perf_counter()
    pending: list[TrackingEvent] = []
    for number, event in enumerate(Traffic(1).events(count)):
        pending.append(event)
        if number % 2000 == 1999:
            pending = _record(log, file, now, pending, pending[-1].time - 600)
    _record(log, file, now, pending, 2**40)
    file.close()
    return time.perf_counter() - began


def _record(
    log: MessageTrackingLog, file: LogFile, now: list[float], events: list[TrackingEvent], until: float
) -> list[TrackingEvent]:  # fmt: skip
    """Write events in the order of time, as far as none before them can come any more."""
    events.sort(key=lambda event: event.time)
    for event in events:
        if event.time <= until:
            now[0] = event.time
            log.record(event)
    file.flush()
    return [event for event in events if event.time > until]


def searches(folder: Path) -> dict[str, Criteria]:
    """One search of each kind, frequent and rare values."""
    some = search(folder, Criteria(status=Status.FAILED, limit=40), folder / INDEX_NAME).messages[-1]
    event = some.events[0]
    day = datetime(2026, 11, 9, tzinfo=UTC)
    return {
        "nothing given": Criteria(limit=100),
        "sender, frequent": Criteria(sender="user0@contoso.example", limit=100),
        "sender, rare": Criteria(sender="user2711@contoso.example", limit=100),
        "sender pattern": Criteria(sender="*271*@contoso.example", limit=100),
        "recipient, frequent": Criteria(recipient="contact0@partner0.example", limit=100),
        "recipient, rare": Criteria(recipient="contact31234@*", limit=100),
        "recipient pattern": Criteria(recipient="*@partner33.example", limit=100),
        "recipient, none": Criteria(recipient="nobody@nowhere.example", limit=100),
        "subject words, frequent": Criteria(subject="invoice march", limit=100),
        "subject words, rare": Criteria(subject=event.message_subject, limit=100),
        "subject words, none": Criteria(subject="unheard of", limit=100),
        "subject pattern": Criteria(subject="weekly*printer*7", limit=100),
        "message id": Criteria(message_id=event.message_id, limit=100),
        "message id pattern": Criteria(message_id=f"*{event.message_id[5:15]}*", limit=100),
        "network message id": Criteria(network_message_id=event.network_message_id, limit=100),
        "internal message id": Criteria(internal_message_id=event.internal_message_id, limit=100),
        "source address": Criteria(source_address="10.3.1.5", limit=100),
        "source range": Criteria(source_address="10.7.0.0/16", limit=100),
        "source range, none": Criteria(source_address="192.168.0.0/16", limit=100),
        "connector": Criteria(connector="Internet", limit=100),
        "event FAIL": Criteria(event_id="FAIL", limit=100),
        "event DEFER, source SMTP": Criteria(event_id="DEFER", source="SMTP", limit=100),
        "status failed": Criteria(status=Status.FAILED, limit=100),
        "status deferred": Criteria(status=Status.DEFERRED, limit=100),
        "status poison, none": Criteria(status=Status.POISON, limit=100),
        "status delivered": Criteria(status=Status.DELIVERED, limit=100),
        "one day": Criteria(start=day, end=day + timedelta(days=1), limit=100),
        "one hour, failed": Criteria(start=day, end=day + timedelta(hours=1), status=Status.FAILED, limit=100),
        "sender, subject, status, week": Criteria(
            sender="user0@*", subject="invoice", status=Status.DEFERRED, start=day, limit=100
        ),
        "sender, connector, event": Criteria(
            sender="user1@*", connector="Internet", event_id="FAIL", recipient="*partner*", limit=100
        ),
        "a page of 5000": Criteria(limit=5000),
    }


def measure(folder: Path, index: Path | None, only: set[str] = frozenset()) -> dict[str, tuple[float, int]]:
    """Best of three for each search: seconds and messages."""
    results = {}
    for name, criteria in searches(folder).items():
        if only and name not in only:
            continue
        best = float("inf")
        for _ in range(3 if index else 1):
            began = time.perf_counter()
            found = search(folder, criteria, index)
            best = min(best, time.perf_counter() - began)
        results[name] = (best, len(found.messages))
        sys.stdout.write(f"  {name:<32} {best * 1000:9.1f} ms  {len(found.messages):5} messages\n")
        sys.stdout.flush()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="Leave the logs, and use them when they are there.")
    parser.add_argument("--scan", action="store_true", help="Also search without the index.")
    parser.add_argument("--check", action="store_true", help="Exit status 1 unless each search takes below a second.")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="trace-", dir="/var/tmp"))
    index = folder / INDEX_NAME
    try:
        if not list(folder.glob("MSGTRK*")):
            print(f"{arguments.events} events written in {write(folder, arguments.events):.1f} s")
        log_bytes = sum(file.stat().st_size for file in folder.glob("MSGTRK*"))
        for file in folder.glob(INDEX_NAME + "*"):
            file.unlink()
        indexer = Indexer(index, folder, 2**40)
        began, used = time.perf_counter(), time.process_time()
        while indexer.step():
            pass
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        indexer.close()
        print(
            f"index made in {wall:.1f} s ({cpu:.1f} s CPU), {arguments.events / wall:.0f} events/s; logs "
            f"{log_bytes / 2**20:.0f} MiB, index {disk_size(index) / 2**20:.0f} MiB"
        )
        results = measure(folder, index)
        if arguments.scan:
            print("without index:")
            measure(folder, None, {"nothing given", "message id", "recipient, rare", "status failed"})
        print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
        if arguments.check and max(seconds for seconds, _ in results.values()) >= 1:
            sys.exit(1)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
