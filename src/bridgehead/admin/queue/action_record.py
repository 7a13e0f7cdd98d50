# SPDX-License-Identifier: MIT
"""What is kept of an administrator's action: who, when, why, on what, and what became of it.

The record is note 0 of the action; the former state of each message it changed is a note of its own, written in the
transaction that changed the message. So an action that a crash cut short knows where it was, and undo knows what was.
"""

from typing import Final

import msgspec

from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.queues.changes import UNDOABLE, Former, ItemChange
from bridgehead.queues.store import Note, QueueKind
from bridgehead.routing.next_hop import NextHop

ACTION: Final = 1
"""The kind of the notes of actions."""

RUNNING: Final = "Running"
COMPLETED: Final = "Completed"


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an action is about: messages by id, or those of a queue, of all queues, that fit a filter.

    Attributes:
        queue, next_hop: of one queue; None for all.
        filter: in the form that `filter.written` gives, "" for none.
        queues: of an action on queues as a whole: the name, pattern or filter that was given.
    """

    ids: tuple[int, ...] = ()
    queue: QueueKind | None = None
    next_hop: NextHop | None = None
    filter: str = ""
    queues: str = ""

    @property
    def is_bulk(self) -> bool:
        """More than single messages that were named."""
        return len(self.ids) != 1


class ActionRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One action.

    Attributes:
        change: what was done; its `by`, `reason` and `at` say who, why and when.
        boundary: ids from here on came later and are left alone.
        cursor: ids up to here are dealt with.
        done, pending, octets: messages changed, those among them that change when their attempt ends, their size.
        skipped: messages left alone, by reason.
        queues: messages changed by queue, the first hundred queues.
        undo_of, undone_by: the actions at either end of an undo, 0 for none.
        purge_at: Unix time at which what it removed is gone for good, 0 for nothing to remove.
        fault: why it stopped before its end.
    """

    id: int
    change: ItemChange
    target: Target
    boundary: int
    cursor: int = 0
    state: str = RUNNING
    ended: float = 0.0
    done: int = 0
    pending: int = 0
    octets: int = 0
    skipped: dict[str, int] = {}
    queues: dict[str, int] = {}
    undo_of: int = 0
    undone_by: int = 0
    purge_at: float = 0.0
    fault: str = ""

    @property
    def verb(self) -> str:
        """What was done, as it is shown."""
        return f"undo {self.change.kind}" if self.undo_of else self.change.kind.value

    @property
    def can_be_undone(self) -> bool:
        """It is of a kind that can, and nobody has done so."""
        return self.change.kind in UNDOABLE and not self.undo_of and not self.undone_by


_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(ActionRecord).decode
_decode_former = msgspec.msgpack.Decoder(Former).decode


def note_of(record: ActionRecord) -> Note:
    """The record as it is kept."""
    return Note(ACTION, record.id, 0, _encode(record))


def record_of(note: Note) -> ActionRecord:
    """The reverse. Raises AdminFault."""
    try:
        return _decode_record(note.record)
    except msgspec.MsgspecError as error:
        raise AdminFault(FAILED, f"the record of action {note.id} cannot be read: {error}") from None


def former_note(action: int, entry: int, former: Former) -> Note:
    """What a message was before the action."""
    return Note(ACTION, action, entry, _encode(former))


def former_of(note: Note) -> Former:
    """The reverse. Raises AdminFault."""
    try:
        return _decode_former(note.record)
    except msgspec.MsgspecError as error:
        raise AdminFault(FAILED, f"the record of action {note.id} cannot be read: {error}") from None
