# SPDX-License-Identifier: MIT
"""What recipient resolution makes of a message: copies with their recipients, results, and events for tracking."""

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.item import Handling
from bridgehead.tracking.events import TrackingEvent

Result = tuple[EnvelopeRecipient, DeliveryStatus]


class Copy(msgspec.Struct):
    """The part of a message that goes out under one reverse-path.

    Attributes:
        pending: recipients to be routed; `mailbox` is set for those that are here.
        results: recipients that are settled already: failed, or expanded and to be told so.
        handling: the standing rule by which they failed, None for what the resolver found.
    """

    reverse_path: Mailbox
    pending: list[EnvelopeRecipient]
    results: list[Result]
    handling: Handling | None = None


class Resolution(msgspec.Struct):
    """The whole message.

    Attributes:
        main: the copy with the reverse-path that the message came with.
        others: copies whose reports go elsewhere (to the managers of groups), None where there are none.
        events: what is to be tracked once the outcome is on disk.
    """

    main: Copy
    others: dict[Mailbox, Copy] | None
    events: list[TrackingEvent]

    def copy_for(self, reverse_path: Mailbox) -> Copy:
        """The copy with this reverse-path, made when it is first asked for."""
        if reverse_path == self.main.reverse_path:
            return self.main
        if self.others is None:
            self.others = {}
        copy = self.others.get(reverse_path)
        if copy is None:
            copy = self.others[reverse_path] = Copy(reverse_path, [], [])
        return copy

    def copies(self) -> list[Copy]:
        return [self.main, *(self.others or {}).values()]
