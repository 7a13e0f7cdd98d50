# SPDX-License-Identifier: MIT
"""What the process of the interface is told when it starts. The one module of this package that its parent imports."""

import msgspec

from bridgehead.admin.settings import ApiSettings


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on standard input.

    Attributes:
        channel: path of the internal channel's socket.
        settings: the `[api]` table.
        local_fd: the listening Unix socket.
    """

    channel: str
    settings: ApiSettings
    local_fd: int
