# SPDX-License-Identifier: MIT
"""What the process of the interface is told when it starts. The one module of this package that its parent imports."""

import msgspec

from bridgehead.admin.settings import ApiSettings


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on standard input.

    Attributes:
        channel: path of the internal channel's socket.
        settings: the `[api]` table.
        administrators_file: where logins and tokens are.
        local_fd: the listening Unix socket.
        tcp_fd: the listening TCP socket; -1 where there is none.
        probe_fd: the listening TCP socket for scrapers and probes, in clear; -1 where there is none.
        idle_seconds: so long without a connection, and the process ends; 0 for never.
        certificate, key: PEM files of the TLS on `tcp_fd`.
    """

    channel: str
    settings: ApiSettings
    administrators_file: str
    local_fd: int
    tcp_fd: int = -1
    probe_fd: int = -1
    idle_seconds: float = 0.0
    certificate: str = ""
    key: str = ""
