# SPDX-License-Identifier: MIT
"""Servers and next hops for whole paths."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.configuration import (
    ANONYMOUS,
    EXTERNALLY_SECURED,
    base,
    changed,
    receive_connector,
    send_connector,
)
from support.population import RECIPIENTS
from support.ports import free_port
from support.server import Server
from support.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as one:
        yield one


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, not yet started; each is ended after the test.

    `hops` are smart hosts on 127.0.0.1 for everything; `changes` are merged into the configuration.
    """
    made: list[Server] = []

    def make(*hops: int, launcher: Sequence[str] = (), name: str = "server", **changes: Any) -> Server:
        directory = tmp_path / name
        settings = base(directory)
        settings["receive_connectors"] = [
            receive_connector("anonymous", free_port(), **ANONYMOUS, reject_unknown_recipients=False),
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED),
        ]
        if hops:
            settings["send_connectors"] = [send_connector("Everything", *hops)]
        more = {"launcher": launcher} if launcher else {}
        server = Server(directory, changed(settings, changes), RECIPIENTS, **more)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()
