# SPDX-License-Identifier: MIT
"""What becomes of records of which several workers kept parts, when the queues of some come to the first worker's."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from bridgehead.admin.faults import AdminFault
from bridgehead.admin.queue import parts
from bridgehead.admin.queue.action_record import ACTION, RUNNING, note_of, record_of
from bridgehead.delivery import resubmit_request
from bridgehead.delivery.resubmit_request import RESUBMIT_REQUEST, RequestState
from bridgehead.queues.store import Note

_CUT_SHORT: Final = "the number of workers was lowered meanwhile; what was delivered later is left: ask for it anew"


def _action(records: Sequence[bytes]) -> bytes:
    """An action that is not finished goes on from where the slowest of its parts was."""
    try:
        found = [record_of(Note(ACTION, 0, 0, one)) for one in records]
    except AdminFault:
        return records[0]  # whoever reads it is told
    joined = parts.action(found)
    if joined.state == RUNNING:
        joined.cursor = min(one.cursor for one in found if one.state == RUNNING)
        joined.boundary = max(one.boundary for one in found)
    return note_of(joined).record


def _request(records: Sequence[bytes]) -> bytes:
    """A request that is not finished ends: where it was in one net says nothing about mail that comes into it."""
    try:
        joined = parts.request([resubmit_request.request_of(Note(RESUBMIT_REQUEST, 0, 0, one)) for one in records])
    except msgspec.MsgspecError:
        return records[0]
    if joined.state is RequestState.RUNNING:
        joined = msgspec.structs.replace(
            joined, state=RequestState.FAILED, finished_at=time.time(), problems=[*joined.problems, _CUT_SHORT]
        )
    return resubmit_request.note_of(joined).record


JOINED_NOTES: Final[Mapping[int, Callable[[Sequence[bytes]], bytes]]] = {
    ACTION: _action,
    RESUBMIT_REQUEST: _request,
}
"""By kind of note: one record of all parts."""
