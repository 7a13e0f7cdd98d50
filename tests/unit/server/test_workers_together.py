# SPDX-License-Identifier: MIT
"""What several workers have of an action or a request, as one; and what becomes of that when they are fewer."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bridgehead.admin.faults import FAILED, INVALID, AdminFault
from bridgehead.admin.queue import parts
from bridgehead.admin.queue.action_record import COMPLETED, RUNNING, ActionRecord, Target, note_of, record_of
from bridgehead.delivery import resubmit_request
from bridgehead.delivery.resubmit_request import RESUBMIT_REQUEST, Request, RequestState, Wanted
from bridgehead.queues.changes import ChangeKind, ItemChange
from bridgehead.queues.numbers import Numbers
from bridgehead.queues.store import Note
from bridgehead.server.workers.desk import Step, WorkerDesk
from bridgehead.server.workers.gathering import ACTION, JOINED_NOTES
from bridgehead.server.workers.place import Place, shared_note_numbers
from bridgehead.server.workers.together import ResubmissionsTogether, Series

EVERYTHING = Wanted(start=0.0, end=2.0**40)


def action(**fields: Any) -> ActionRecord:
    change = ItemChange(kind=ChangeKind.SUSPEND, by="anna", reason="a test", at=5.0, action=7)
    return ActionRecord(id=7, change=change, target=Target(filter="x"), **{"boundary": 100, **fields})


def request(**fields: Any) -> Request:
    return Request(id=9, wanted=EVERYTHING, dry_run=False, by="anna", reason="a test", started_at=5.0, **fields)


def test_an_action_runs_as_long_as_one_part_does_and_is_as_far_as_the_slowest() -> None:
    fast = action(state=COMPLETED, ended=8.0, done=3, queues={"a": 3}, skipped={"left": 1})
    slow = action(cursor=20, done=2, queues={"a": 1, "b": 1})
    for records in ([fast, slow], [slow, fast]):
        joined = parts.action(records)
        assert (joined.state, joined.ended, joined.cursor, joined.done) == (RUNNING, 0.0, 20, 5)
        assert (joined.queues, joined.skipped) == ({"a": 4, "b": 1}, {"left": 1})
    slow.state, slow.ended = COMPLETED, 9.0
    assert (parts.action([fast, slow]).state, parts.action([fast, slow]).ended) == (COMPLETED, 9.0)


def test_an_unfinished_action_goes_on_for_all_parts_when_workers_are_fewer() -> None:
    records = [action(state=COMPLETED, ended=8.0), action(cursor=20, boundary=90), action(cursor=40, boundary=110)]
    joined = JOINED_NOTES[ACTION]([note_of(one).record for one in records])
    found = record_of(Note(ACTION, 7, 0, joined))
    assert (found.state, found.cursor, found.boundary) == (RUNNING, 20, 110)


def test_a_record_that_cannot_be_read_stays_as_it_is() -> None:
    for kind in (ACTION, RESUBMIT_REQUEST):
        assert JOINED_NOTES[kind]([b"damaged", b"other"]) == b"damaged"


def test_an_unfinished_request_ends_when_workers_are_fewer_and_says_so() -> None:
    def joined(*requests: Request) -> Request:
        record = JOINED_NOTES[RESUBMIT_REQUEST]([resubmit_request.note_of(one).record for one in requests])
        return resubmit_request.request_of(Note(RESUBMIT_REQUEST, 9, 0, record))

    done = request(state=RequestState.COMPLETED, finished_at=8.0, resubmitted=2)
    assert joined(done, done).state is RequestState.COMPLETED
    ended = joined(done, request(resubmitted=1))
    assert (ended.state, ended.resubmitted) == (RequestState.FAILED, 3)
    assert "workers was lowered" in ended.problems[-1]
    assert joined(request()).state is RequestState.FAILED  # alone it would go through the other's net as well


def test_numbers_of_all_and_of_each_never_meet() -> None:
    given = [Place(number, 2, notes_from=40).note_numbers for number in (1, 2)]
    shared = Series(shared_note_numbers(40, 2))
    own = {numbers.first(40) + numbers.step * turn for numbers in given for turn in range(20)}
    assert own.isdisjoint({shared.take() for _ in range(20)})
    assert min(own) >= 40


class Workers:
    """Two workers, the second of which refuses to begin."""

    def __init__(self) -> None:
        self.running = {1: False, 2: False}

    async def each(self, step: Step, **_: Any) -> list[Any]:
        assert step is WorkerDesk.resubmit
        self.running[1] = True
        raise AdminFault(FAILED, "as many requests run as may at a time")

    async def knowing(self, step: Step, **_: Any) -> list[Any]:
        assert step is WorkerDesk.cancel_resubmission
        if not any(self.running.values()):
            raise AdminFault(INVALID, "it is over")
        self.running = dict.fromkeys(self.running, False)
        return [None]

    async def first(self, step: Step, **values: Any) -> Any:
        raise NotImplementedError


async def test_a_request_that_one_worker_refuses_is_begun_by_none() -> None:
    workers = Workers()
    common: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: 100.0), request_numbers=Series(Numbers()))
    together = ResubmissionsTogether(workers, common)
    with pytest.raises(AdminFault, match="as many requests"):
        await together.start(EVERYTHING, dry_run=False, by="anna", reason="")
    assert not any(workers.running.values())
    assert not await together.cancel(9)


def test_steps_travel_as_they_are() -> None:
    from bridgehead.server.workers.desk import answer, question

    name, params = question(WorkerDesk.begin, target=Target(ids=(1, 2)), change=action().change, number=7)
    assert name == "worker.begin"
    assert msgspec.json.decode(params)["target"]["ids"] == [1, 2]
    found = answer(WorkerDesk.begin, msgspec.Raw(msgspec.json.encode(action(done=3))))
    assert found == action(done=3)
