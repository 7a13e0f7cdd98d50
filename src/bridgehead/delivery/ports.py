# SPDX-License-Identifier: MIT
"""Where the dispatcher and the kinds of next hop meet.

A `Courier` serves one delivery queue. It pulls messages with `take` as its connections or writers get free and says
what became of each; it never keeps a message that it was not able to try. The dispatcher decides when a queue may
be tried at all, and everything about retries, reports and storage.
"""

from typing import Protocol, runtime_checkable

import msgspec

from bridgehead.diagnosis.scheduler import Limit
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.queues.store import QueuedItem


class Attempt(msgspec.Struct):
    """What became of one message in one attempt.

    Attributes:
        statuses: one for each recipient that was still PENDING, in order. Always complete.
        remote_host: name of the host that took or refused it, "" for local delivery.
        remote_ip: its address.
        local_ip: the address we used.
        connector: connector id for tracking.
        source_context: free text for the tracking log (session id; reply of the remote server).
        tls: whose demand on TLS the session satisfied, for the tracking log: "dane", "mta-sts:enforce"; "" for none but
            the connector's.
    """

    statuses: list[DeliveryStatus]
    remote_host: str = ""
    remote_ip: str = ""
    local_ip: str = ""
    connector: str = ""
    source_context: str = ""
    tls: str = ""


def pending_recipients(entry: QueuedItem) -> list[EnvelopeRecipient]:
    """The recipients that an attempt is about."""
    return [recipient for recipient in entry.item.envelope.recipients if not recipient.state]


class WorkSource(Protocol):
    """One delivery queue, seen from its courier. All calls on the event loop."""

    def take(self) -> QueuedItem | None:
        """The next message to try, now Active and the courier's own until `finished` or `put_back`; None when there is
        none at the moment (`wake` will be called)."""

    def backlog(self) -> int:
        """Messages ready in memory: how much more concurrency would find work."""

    def finished(self, entry: QueuedItem, attempt: Attempt) -> None:
        """The attempt is over."""

    def put_back(self, entry: QueuedItem) -> None:
        """Nothing of this message was tried (the connection ended before MAIL); it is ready again, first in line."""

    def connection_failed(self, error: str, *, permanent: bool = False, status: str = "4.4.1") -> None:
        """No host of this next hop could be used: the queue goes to Retry. `permanent`: the domain cannot be
        delivered to at all (NXDOMAIN, null MX): every message in the queue fails with `status` and `error`."""

    def connection_succeeded(self) -> None:
        """A host answered and took a transaction: the queue's retry count starts anew."""


class Courier(Protocol):
    """Delivers the messages of one next hop."""

    def wake(self) -> None:
        """There is work to `take`. May be called at any time, also when all connections are busy."""

    async def close(self) -> None:
        """Finish or put back what is under way within a few seconds, then drop all connections."""


class CourierStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What a courier is at.

    Attributes:
        sessions: connections at work or idle. `connecting`, `resolving`: being opened, and in which stage.
        limits: those that are reached now, the nearest first; without origin.
        pause: seconds until another session may be opened.
    """

    sessions: int = 0
    connecting: int = 0
    resolving: int = 0
    limits: tuple[Limit, ...] = ()
    pause: float = 0.0


@runtime_checkable
class Standing(Protocol):
    """A courier that can say what it is at."""

    def standing(self) -> CourierStanding: ...
