# SPDX-License-Identifier: MIT
"""The outcome for one recipient, in the terms of RFC 3464 §2.3. There is no other shape for a result."""

from enum import StrEnum
from typing import Final

import msgspec


class Action(StrEnum):
    """RFC 3464 §2.3.3."""

    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DELAYED = "delayed"
    FAILED = "failed"


_CLASS: Final = {Action.DELAYED: "4", Action.FAILED: "5"}


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient in one attempt.

    Attributes:
        action: RFC 3464 action; `delayed` means: to be tried again.
        status: enhanced status code (RFC 3463), its class in accord with `action`.
        diagnostic: the remote server's reply ("550 5.1.1 User unknown") or our own words; one line, no controls.
        remote_mta: name or address literal of the host that gave `diagnostic`; "" when the words are ours.
        in_doubt: the connection was lost between the final dot and its reply; a retry may deliver twice.
        dsn_passed_on: the next hop offers DSN and was told NOTIFY, RET and ENVID: reports are its duty now. A recipient
            that is RELAYED without this and wants NOTIFY=SUCCESS is owed a "relayed" report by us (RFC 3461 §5.2.2).
    """

    action: Action
    status: str
    diagnostic: str = ""
    remote_mta: str = ""
    in_doubt: bool = False
    dsn_passed_on: bool = False

    def __post_init__(self) -> None:
        if not self.status.startswith(_CLASS.get(self.action, "2")):
            raise ValueError(f"status {self.status} does not fit action {self.action}")
