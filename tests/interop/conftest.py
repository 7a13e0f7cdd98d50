# SPDX-License-Identifier: MIT
"""A server beside real programs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.configuration import (
    ANONYMOUS,
    CLIENT,
    EXTERNALLY_SECURED,
    Settings,
    base,
    changed,
    mailbox,
    receive_connector,
    send_connector,
)
from support.ports import free_port
from support.server import Server
from support.sink import Sink

RECIPIENTS = [
    mailbox("bob", "bob@contoso.test"),
    mailbox("alice", "alice@contoso.test"),
    *(mailbox(f"user{number}", f"user{number}@contoso.test") for number in range(100)),
]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Makes running servers: three connectors, everything else by the arguments. Ended after the module."""
    with ExitStack() as stack:

        def make(next_hop: int = 0, send: Settings | None = None, **changes: Any) -> Server:
            directory: Path = tmp_path_factory.mktemp("server")
            settings = base(directory)
            large = {"max_message_size": "200 MB"}
            settings["categorizer"] = {"max_send_size": "200 MB", "max_receive_size": "200 MB"}
            settings["receive_connectors"] = [
                receive_connector("anonymous", free_port(), **ANONYMOUS, **large),
                receive_connector("secured", free_port(), **EXTERNALLY_SECURED, **large),
                receive_connector("client", free_port(), **CLIENT, **large),
                receive_connector("implicit", free_port(), **CLIENT, implicit_tls=True),
            ]
            if next_hop:
                settings["send_connectors"] = [
                    send_connector("Next hop", next_hop, max_message_size="200 MB", **(send or {}))
                ]
            server = Server(directory, changed(settings, changes), RECIPIENTS)
            server.add_user("alice", "correct horse", "alice@contoso.test")
            return stack.enter_context(server)

        yield make


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as one:
        yield one


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server], sink: Sink) -> Server:
    """A server whose send connector leads to `sink`."""
    return make_server(sink.port)
