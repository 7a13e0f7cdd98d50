# SPDX-License-Identifier: MIT
"""What is said on the internal channel: between the process that moves mail (`control.py`) and the one of HTTP."""

from typing import Final

import msgspec

from bridgehead.admin.method import Caller

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding arbitrary bytes raises."""


LOG_ON: Final = "log-on"
"""In place of a method's name: the caller has logged on, or tried to, for the audit log."""


class LogOn(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a log-on; `code` and `message` of the fault where it failed."""

    code: str = ""
    message: str = ""


class Request(msgspec.Struct, omit_defaults=True):
    """One question.

    Attributes:
        caller: on whose behalf; without one, the account at the other end.
        page: the part of a list that is wanted: "" for its beginning, else what `Answer.next` said; None for all.
        limit: the most items of that part; 0 for as many as the method gives.
    """

    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    caller: Caller | None = None
    page: str | None = None
    limit: int = 0


class Error(msgspec.Struct, omit_defaults=True):
    """Why there is no result; as AdminFault."""

    code: str
    message: str
    remedy: str = ""


class Answer(msgspec.Struct, omit_defaults=True):
    """One answer. `next`: where the list goes on, "" where this is its end."""

    id: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    next: str = ""
    error: Error | None = None
