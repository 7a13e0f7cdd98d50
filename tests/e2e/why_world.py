# SPDX-License-Identifier: MIT
"""A running server among hosts that misbehave, each in its own way, and one message on its way to each of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bridgehead.admin.calls.client import ControlClient
from bridgehead.admin.methods.why import WhySubject
from bridgehead.admin.why.verdict import Explanation, Verdict
from support.configuration import ANONYMOUS, EXTERNALLY_SECURED, base, changed, receive_connector, send_connector
from support.dns_thread import DnsThread
from support.population import RECIPIENTS
from support.ports import free_port, wait_until
from support.server import Server


class World:
    """One server, one DNS server, and domains that lead to hosts of the test's making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.dns = self.stack.enter_context(DnsThread())
        self.connectors: list[dict[str, Any]] = []
        self.messages: list[tuple[str, bytes]] = []
        self.server: Server | None = None

    def host(self, domain: str, port: int, *addresses: str, **settings: Any) -> None:
        """Mail for a domain goes to this port of its mail host, by DNS."""
        self.dns.add(domain, "MX", f"10 mx.{domain}.")
        self.dns.add(f"mx.{domain}", "A", *(addresses or ("127.0.0.1",)))
        self.route(domain, port=port, **settings)

    def route(self, domain: str, **settings: Any) -> None:
        """A send connector of its own for one domain."""
        one = {"name": f"To {domain}", "address_spaces": [domain], "dns_servers": [self.dns.address], **settings}
        self.connectors.append(one)

    def smart_host(self, domain: str, *ports: int, **settings: Any) -> None:
        """A send connector to smart hosts for one domain."""
        self.connectors.append(send_connector(f"To {domain}", *ports, spaces=(domain,), **settings))

    def start(self, **changes: Any) -> Server:
        settings = base(self.folder)
        settings["receive_connectors"] = [
            receive_connector("anonymous", free_port(), **ANONYMOUS, reject_unknown_recipients=False),
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED),
        ]
        settings["send_connectors"] = self.connectors
        settings["delivery"] = {"connect_timeout": 1}
        self.server = Server(self.folder, changed(settings, changes), RECIPIENTS)
        return self.server.start()

    def send(self, recipient: str, message: bytes = b"") -> None:
        assert self.server is not None
        self.server.send("ann@fabrikam.test", recipient, message, "secured")

    def why(self, about: str, *, transcripts: bool = False) -> Explanation:
        """What the running server says."""
        assert self.server is not None
        path = self.server.data / self.server.settings["server"].get("control_socket", "control.sock")
        with ControlClient(path) as control:
            return control.call("why", WhySubject(about=about, transcripts=transcripts), Explanation)

    def verdict(self, about: str, cause: str, seconds: float = 20.0, *, transcripts: bool = False) -> Verdict:
        """The first verdict about something, once its cause is the one expected."""
        last: list[object] = []

        def ask() -> Verdict | None:
            from bridgehead.admin.faults import AdminFault

            try:
                verdicts = self.why(about, transcripts=transcripts).verdicts
            except AdminFault as fault:
                last[:] = [fault.message]
                return None
            last[:] = verdicts
            return next((one for one in verdicts if one.cause == cause), None)

        return wait_until(ask, seconds, lambda: f"{cause} for {about}; there: {last}")  # type: ignore[return-value]

    def close(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.stack.close()


def world(folder: Path) -> Iterator[World]:
    """A world, ended after the tests."""
    one = World(folder)
    try:
        yield one
    finally:
        one.close()
