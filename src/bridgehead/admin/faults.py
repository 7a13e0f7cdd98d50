# SPDX-License-Identifier: MIT
"""The one exception of this room: what did not work, and what to do about it."""

from typing import Final

NOT_FOUND: Final = "not_found"
INVALID: Final = "invalid"
UNKNOWN_METHOD: Final = "unknown_method"
TOO_LARGE: Final = "too_large"
FORBIDDEN: Final = "forbidden"
FAILED: Final = "failed"
NOT_RUNNING: Final = "not_running"
NOT_ANSWERING: Final = "not_answering"


class AdminFault(Exception):
    """A use case could not do what was asked.

    Args:
        code: one of the constants above; programs go by it.
        message: what is the matter, in words.
        remedy: what to do, "" where nothing is to be said.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


class ServerNotRunning(AdminFault):
    """Nobody answers on the control socket."""

    def __init__(self, message: str) -> None:
        super().__init__(NOT_RUNNING, message, "start it with `bridgehead run`")
