# SPDX-License-Identifier: MIT
"""Every conversation script against the running server."""

from pathlib import Path
from typing import Any

import pytest

from support.conversation import Script, event_condition, event_matches, load, substitute
from support.ports import wait_until
from support.server import Server
from support.talk import Talk, play

SCRIPTS = [load(file) for file in sorted((Path(__file__).parent / "scripts").glob("*.smtp"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.removesuffix(".smtp"))
def test_script(script: Script, conversation_server: Server, unique_name: Any) -> None:
    unique = unique_name(script.name.removesuffix(".smtp"))
    with Talk(conversation_server.port(script.connector)) as talk:
        play(script, talk, unique)
    check_tracking(script, conversation_server, unique)


def check_tracking(script: Script, server: Server, unique: str) -> None:
    """What the script says of the tracking log."""
    for step in script.steps:
        if step.kind == "T":
            event_id, columns = event_condition(substitute(step.text, unique))
            wait_until(
                lambda: any(event_matches(line, event_id, columns) for line in server.tracking()),  # noqa: B023
                15,
                f"{script.name}:{step.line}: {event_id} {columns} in the tracking log; last: {server.tracking()[-6:]}",
            )
    unwanted = [step for step in script.steps if step.kind == "T-none"]
    if unwanted:
        accept_something_else(server, unique)
    for step in unwanted:
        event_id, columns = event_condition(substitute(step.text, unique))
        found = [line for line in server.tracking() if event_matches(line, event_id, columns)]
        assert not found, f"{script.name}:{step.line}: {found}"


def accept_something_else(server: Server, unique: str) -> None:
    """Accept another message and see it in the log: what had come before it is then there too."""
    content = f"Message-ID: <after-{unique}@client.test>\r\n\r\n".encode()
    server.send("sender@fabrikam.test", "bob@contoso.test", content, connector="anonymous")
    server.wait_for_event("RECEIVE", message_id=f"<after-{unique}@client.test>")
