# SPDX-License-Identifier: MIT
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.faults import FORBIDDEN, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.method import Caller, Role, perform
from bridgehead.admin.methods.trace import METHODS, TraceIdentity, TraceSearch
from bridgehead.admin.trace.trace_story import Story
from bridgehead.admin.trace.tracking import TracePage, criteria
from bridgehead.mail.item import Source
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.store import MessageStatus, Transaction
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from support.running_server import NOW, StoreServer, queued
from support.traces import FolderTraces

CALLER = Caller("test")
HELP_DESK = Caller("desk", Role.HELP_DESK)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[StoreServer]:
    """A server with one message that waits for its second attempt, and one that is gone."""
    store = MemoryQueueStore()
    await store.open()
    file = LogFile(tmp_path, KIND, LogLimits(timedelta(0), 10**7, 10**9), lambda: NOW)
    log = MessageTrackingLog(file)
    for seconds, event_id, number in (
        (-600, "RECEIVE", 1),
        (-500, "DEFER", 1),
        (-400, "RECEIVE", 2),
        (-300, "SEND", 2),
    ):
        log.record(
            TrackingEvent(
                NOW + seconds, EventId(event_id), Source.SMTP, number, f"<{number}@a.example>", f"net-{number}",
                recipient_address=["bob@contoso.com"], message_subject="A secret", return_path="ann@a.example",
                connector_id="Internet", custom_data="S:AttemptLatency=40.000" if event_id in ("SEND", "DEFER") else "",
            )
        )  # fmt: skip
    file.close()
    waiting = queued(store, "bob@contoso.com", network_id="net-1", status=MessageStatus.RETRY)
    await store.committed(Transaction(put=[waiting]))
    one = StoreServer(store)
    one.traces = FolderTraces(tmp_path)
    yield one
    await store.close()
    one.net.close()
    one.net_folder.cleanup()


async def search(server: StoreServer, caller: Caller = CALLER, **params: Any) -> Any:
    return await perform(METHODS["trace.search"], server, TraceSearch(**params), caller)


async def story(server: StoreServer, identity: str, caller: Caller = CALLER) -> Any:
    return await perform(METHODS["trace.story"], server, TraceIdentity(identity), caller)


async def test_messages_come_newest_first_with_their_status(server: StoreServer) -> None:
    page: TracePage = await search(server)
    assert [(one.network_message_id, one.status) for one in page.messages] == [
        ("net-2", "Delivered"), ("net-1", "Deferred"),
    ]  # fmt: skip
    assert [one.events for one in page.messages] == [[], []]
    with_events: TracePage = await search(server, status="deferred", events=True)
    assert [event.event_id for event in with_events.messages[0].events] == ["RECEIVE", "DEFER"]


async def test_a_story_tells_where_the_time_went_and_what_is_waited_for(server: StoreServer) -> None:
    told: Story = await story(server, "net-1")
    (end,) = told.ends
    assert end.queue == "Internet/contoso.com" or "contoso.com" in end.queue
    assert end.state.startswith("still in queue")
    assert end.next_attempt == datetime.fromtimestamp(NOW + 300, UTC)
    deferred = told.steps[-1]
    assert (deferred.waited_seconds, deferred.attempt_seconds) == (60.0, 40.0)
    assert (told.slowest, told.slowest_seconds) == ("waiting since the last step", 500.0)
    assert told.total_seconds == 600.0
    done: Story = await story(server, "2@a.example")
    assert (done.slowest, done.slowest_seconds) == ("waiting before SEND bob@contoso.com", 60.0)
    assert done.total_seconds == 100.0


async def test_what_is_submitted_again_begins_anew(server: StoreServer, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    file = LogFile(folder, KIND, LogLimits(timedelta(0), 10**7, 10**9), lambda: NOW)
    log = MessageTrackingLog(file)
    for seconds, event_id, number in ((0, "RECEIVE", 1), (1, "SEND", 1), (90_000, "RESUBMIT", 2), (90_003, "SEND", 2)):
        log.record(
            TrackingEvent(
                NOW - 99_000 + seconds, EventId(event_id), Source.SMTP, number, "<1@a.example>", "net-1",
                recipient_address=["bob@contoso.com"], reference="1" if event_id == "RESUBMIT" else "",
            )
        )  # fmt: skip
    file.close()
    server.traces = FolderTraces(folder)
    told: Story = await story(server, "net-1")
    assert [step.event for step in told.steps[:4]] == ["RECEIVE", "SEND", "RESUBMIT", "SEND"]
    assert [step.waited_seconds for step in told.steps[:4]] == [0.0, 1.0, 0.0, 3.0]
    assert told.ends[0].recipient.status == "Delivered"
    assert told.message.status == "Delivered"


async def test_what_is_not_known_and_what_cannot_be_meant_are_said(server: StoreServer) -> None:
    for wanted, code in (({"status": "gone"}, INVALID), ({"limit": 0}, INVALID), ({"after": "x"}, INVALID)):
        with pytest.raises(AdminFault) as caught:
            await search(server, **wanted)
        assert caught.value.code == code
    with pytest.raises(AdminFault) as caught:
        await story(server, "nobody")
    assert caught.value.code == NOT_FOUND


async def test_the_help_desk_sees_no_subject_and_cannot_ask_for_one(server: StoreServer) -> None:
    for answer in (await search(server, HELP_DESK, events=True), await story(server, "net-1", HELP_DESK)):
        text = msgspec.json.encode(answer).decode()
        assert "secret" not in text
        assert "bob@contoso.com" in text
    assert "secret" in msgspec.json.encode(await search(server)).decode()
    with pytest.raises(AdminFault) as caught:
        await search(server, HELP_DESK, subject="secret")
    assert caught.value.code == FORBIDDEN


@pytest.mark.parametrize(
    ("given", "message", "remedy"),
    [
        ({"event_id": "DEFFER"}, '"DEFFER" is no event of the log', "did you mean DEFER?"),
        ({"source": "Rooting"}, '"Rooting" is no source of the log', "did you mean ROUTING?"),
        (
            {"start": datetime(2026, 11, 24, tzinfo=UTC), "end": datetime(2026, 11, 23, tzinfo=UTC)},
            "the end is not after the start", "--start 2h --end 1h is the hour before the last",
        ),
    ],
)  # fmt: skip
def test_criteria_that_nothing_can_fit_are_refused_with_the_nearest_word(
    given: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(AdminFault) as refused:
        criteria(**given)
    assert (refused.value.message, refused.value.remedy) == (message, remedy)
    assert criteria(event_id="def*", source="X-UNKNOWN-TO-ALL").event_id == "def*"
