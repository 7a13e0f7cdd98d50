# SPDX-License-Identifier: MIT
"""Sockets that are bound before privileges are dropped, besides those of connectors and the management interface:
of the policy host, and of ACME challenges, which listen only while a name is proved."""

import socket

from bridgehead.net.acme.responders import bind
from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.server.config.schema import Configuration
from bridgehead.server.tls.acme import bind_early


class EarlySockets:
    """Bound, not listening."""

    def __init__(self) -> None:
        self.acme: dict[Binding, socket.socket] = {}
        self.policy: socket.socket | None = None

    def bind(self, configuration: Configuration) -> None:
        """Raises OSError."""
        self.acme = bind_early(configuration.acme)
        if configuration.mta_sts.binding:
            self.policy = bind(parse_binding(configuration.mta_sts.binding))

    def close(self) -> None:
        """The server did not start."""
        for one in (*self.acme.values(), *([self.policy] if self.policy else [])):
            one.close()
