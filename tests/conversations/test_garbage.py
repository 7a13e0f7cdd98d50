# SPDX-License-Identifier: MIT
"""A message is gone from memory with its last user, on every way through the server: no cycle keeps it, with its content, until
the collector comes, which a loaded server lets come rarely."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridgehead.directory.file import read_recipients
from bridgehead.server.config.load import load
from support.configuration import to_toml
from support.engine_talk import EngineTalk, Pipeline


@contextmanager
def collected() -> Iterator[list[object]]:
    """What of our own the collector would find of the block; complete after it."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [one for one in gc.garbage if type(one).__module__.startswith("bridgehead.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("connector", "recipient", "last_event"),
    [("anonymous", "bob@contoso.test", "DELIVER"), ("secured", "user@elsewhere.test", "SEND")],
)
def test_a_message_leaves_nothing_to_the_collector(
    connector: str, recipient: str, last_event: str, tmp_path: Path, conversation_settings: Any
) -> None:
    settings, recipients = conversation_settings(tmp_path, 1)
    (tmp_path / "bridgehead.toml").write_text(to_toml(settings))
    recipients_file = tmp_path / "recipients.toml"
    recipients_file.write_text(to_toml({"recipients": recipients}))
    configuration = load(tmp_path / "bridgehead.toml").configuration
    content = b"From: sender@fabrikam.test\r\nMessage-ID: <%d@client.test>\r\n\r\nHello\r\n"

    def send(number: int) -> None:
        talk.message("sender@fabrikam.test", recipient, content % number)
        assert pipeline.run(pipeline.events.matching(last_event, {"message-id": f"<{number}@client.test>"}))

    with Pipeline(configuration, read_recipients(recipients_file)) as pipeline, EngineTalk(pipeline, connector) as talk:
        talk.hello()
        send(1)
        with collected() as found:
            send(2)
    assert not found, sorted({type(one).__name__ for one in found})
