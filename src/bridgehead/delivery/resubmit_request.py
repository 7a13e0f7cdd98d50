# SPDX-License-Identifier: MIT
"""A request to resubmit delivered mail: what is wanted, how far it is, and the record that outlives a restart.

The record is a note of the queue store, written in the transactions that put messages into Submission: how far a
request came and what it resubmitted can never disagree. Carrying requests out is `resubmission.py`.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.item import MailItem
from bridgehead.queues.safety_net.frames import Kept
from bridgehead.queues.store import Note

RESUBMIT_REQUEST: Final = 3
"""The kind of the notes of requests."""
PROBLEMS_SHOWN: Final = 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which delivered mail is meant; all given parts must hold. Text is compared as `*` pattern, without case.

    Attributes:
        start, end: Unix times of delivery.
        recipient: one of those it was delivered to; only those that fit are resubmitted.
        next_hop: domain, smart hosts, mailbox store or whole identity of the queue. connector: by name.
    """

    start: float
    end: float
    recipient: str = ""
    sender: str = ""
    next_hop: str = ""
    connector: str = ""
    message_id: str = ""
    network_message_id: str = ""


class RequestState(StrEnum):
    """How far a request is (Get-ResubmitRequest)."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


class Request(msgspec.Struct, kw_only=True):
    """One request.

    Attributes:
        dry_run: only counts.
        by, reason: who asked, and why.
        scanned: messages of the net looked at; delivered_until: Unix time of delivery of the last of them.
        matched, recipients, octets: those that fit.
        resubmitted: those put into Submission.
        left_alone: those that fit and came out of the net themselves.
        problems: what could not be read, the first few.
        reached: segment of the net and offset of the last message that is dealt with.
    """

    id: int
    wanted: Wanted
    dry_run: bool
    by: str
    reason: str
    started_at: float
    state: RequestState = RequestState.RUNNING
    finished_at: float = 0.0
    scanned: int = 0
    delivered_until: float = 0.0
    matched: int = 0
    recipients: int = 0
    octets: int = 0
    resubmitted: int = 0
    left_alone: int = 0
    problems: list[str] = msgspec.field(default_factory=list)
    reached: tuple[str, int] = ("", -1)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Request).decode


def note_of(request: Request) -> Note:
    """The request as it is kept."""
    return Note(RESUBMIT_REQUEST, request.id, 0, _encode(request))


def request_of(note: Note) -> Request:
    """The reverse. Raises msgspec.MsgspecError."""
    return _decode(note.record)


def forgotten(request: Request) -> Note:
    """What is kept of a request that nobody needs any more."""
    return Note(RESUBMIT_REQUEST, request.id, 0, b"")


def fitting(wanted: Wanted) -> Callable[[Kept], Kept | None]:
    """What of a kept message is meant: the message with the recipients that fit, None for nothing."""
    sender, recipient = _pattern(wanted.sender), _pattern(wanted.recipient)
    next_hop, connector = _pattern(wanted.next_hop), _pattern(wanted.connector)
    message_id, network_id = _pattern(wanted.message_id), _pattern(wanted.network_message_id)

    def fit(kept: Kept) -> Kept | None:
        item, hop = kept.item, kept.next_hop
        if sender is not None and not sender(str(item.envelope.reverse_path) or "<>"):
            return None
        if next_hop is not None and (hop is None or not (next_hop(hop.domain) or next_hop(str(hop)))):
            return None
        if connector is not None and (hop is None or not connector(hop.connector)):
            return None
        if message_id is not None and not message_id(item.message_id):
            return None
        if network_id is not None and not network_id(item.network_message_id):
            return None
        if recipient is None:
            return kept
        recipients = [one for one in item.envelope.recipients if recipient(str(one.forward_path))]
        if not recipients:
            return None
        return msgspec.structs.replace(kept, item=_for(item, recipients))

    return fit


def _for(item: MailItem, recipients: list[EnvelopeRecipient]) -> MailItem:
    return msgspec.structs.replace(item, envelope=msgspec.structs.replace(item.envelope, recipients=recipients))


def _pattern(text: str) -> Callable[[str], object] | None:
    """`*` stands for any text; the comparison ignores case."""
    if not text:
        return None
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL).fullmatch
