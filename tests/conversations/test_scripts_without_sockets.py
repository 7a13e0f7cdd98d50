# SPDX-License-Identifier: MIT
"""The conversation scripts against the sessions themselves: no sockets, no process, octets in any pieces.

What the running server says in `test_scripts.py` it must say here, too, and again when every octet comes alone. Scripts
with a step that takes a TLS handshake or a login are for the running server only.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.directory.file import read_recipients
from bridgehead.server.config.load import load as load_configuration
from support.configuration import to_toml
from support.conversation import Script, event_condition, load, substitute
from support.engine_talk import EngineTalk, Pipeline
from support.talk import play

NEEDS_THE_SERVER = {"TLS", "SCRAM"}
"""Kinds of steps that are more than octets for a session: a handshake below it, a password check beside it."""

ALL = [load(file) for file in sorted((Path(__file__).parent / "scripts").glob("*.smtp"))]
SCRIPTS = [script for script in ALL if not NEEDS_THE_SERVER & {step.kind for step in script.steps}]
PIECES = {"as sent": 65536, "octet by octet": 1}
IN_ONE_SEGMENT = {"starttls_injection.smtp", "pipelining_behind_data.smtp"}
"""What they are about is that octets come before the server has answered those in front of them."""
CASES = [
    pytest.param(script, size, id=f"{script.name.removesuffix('.smtp')}, {pieces}")
    for script in SCRIPTS
    for pieces, size in PIECES.items()
    if size > 1 or script.name not in IN_ONE_SEGMENT
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, conversation_settings: Any) -> Iterator[Pipeline]:
    """The pipeline, with the connectors and recipients of the running server."""
    directory = tmp_path_factory.mktemp("without-sockets")
    settings, recipients = conversation_settings(directory, 1)
    configuration, objects = directory / "bridgehead.toml", directory / "recipients.toml"
    configuration.write_text(to_toml(settings))
    objects.write_text(to_toml({"recipients": recipients}))
    with Pipeline(load_configuration(configuration).configuration, read_recipients(objects)) as running:
        yield running


@pytest.mark.parametrize(("script", "piece"), CASES)
def test_script(script: Script, piece: int, pipeline: Pipeline, unique_name: Any) -> None:
    unique = unique_name(script.name.removesuffix(".smtp"))
    with EngineTalk(pipeline, script.connector, piece) as talk:
        play(script, talk, unique)
    check_tracking(script, pipeline, unique)


def check_tracking(script: Script, pipeline: Pipeline, unique: str) -> None:
    """What the script says of the tracking log holds for the events that it is made from."""
    for step in script.steps:
        if step.kind == "T":
            event_id, columns = event_condition(substitute(step.text, unique))
            found = pipeline.run(pipeline.events.matching(event_id, columns))
            where = f"{script.name}:{step.line}: {event_id} {columns}"
            assert found, f"{where} is not among the events; the last: {pipeline.events.lines[-6:]}"
    unwanted = [step for step in script.steps if step.kind == "T-none"]
    if unwanted:
        accept_something_else(pipeline, unique)
    for step in unwanted:
        event_id, columns = event_condition(substitute(step.text, unique))
        found = pipeline.events.now_matching(event_id, columns)
        assert not found, f"{script.name}:{step.line}: {found}"


def accept_something_else(pipeline: Pipeline, unique: str) -> None:
    """Accept another message: an event about what had come before it would then be there, too."""
    with EngineTalk(pipeline, "anonymous") as talk:
        talk.hello()
        content = f"Message-ID: <after-{unique}@client.test>\r\n\r\n".encode()
        talk.message("sender@fabrikam.test", "bob@contoso.test", content)
    assert pipeline.run(pipeline.events.matching("RECEIVE", {"message-id": f"<after-{unique}@client.test>"}))
