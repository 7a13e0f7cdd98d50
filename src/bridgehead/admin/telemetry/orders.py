# SPDX-License-Identifier: MIT
"""What the process that sends numbers is told when it starts, and what it tells of each attempt."""

import msgspec


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on standard input, which then stays open; its end is the end of the parent.

    Attributes:
        channel: path of the internal channel's socket.
        endpoint: URL that numbers are posted to.
        interval: seconds from one attempt to the next.
        authorization: where the value of the header Authorization is (`net.secrets`), "" for none.
        ca_file: PEM trust anchors, "" for the system's.
        directory: where files named by relative paths lie.
        fqdn: name of this server.
    """

    channel: str
    endpoint: str
    interval: float
    authorization: str = ""
    ca_file: str = ""
    directory: str = ""
    fqdn: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """One line of JSON on standard output for each attempt; `fault` is "" where the collector took the numbers."""

    fault: str = ""
