# SPDX-License-Identifier: MIT
"""The script language itself."""

import pytest

from support.conversation import (
    ReplyLines,
    ScriptError,
    event_condition,
    event_matches,
    fill,
    parse,
    substitute,
    unescape,
)


def test_a_script_is_a_connector_and_steps() -> None:
    script = parse("# comment\nconnector: relay\n\nC: EHLO x\nS: 250 *\nTLS\nS-closed\n")
    assert script.connector == "relay"
    assert [(step.kind, step.text, step.line) for step in script.steps] == [
        ("C", "EHLO x", 4),
        ("S", "250 *", 5),
        ("TLS", "", 6),
        ("S-closed", "", 7),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("connector: a\nX: y", "2: 'X' is none of"),
        ("C: EHLO", "no .connector"),
        ("connector: a\nTLS: now", "takes no argument"),
        ("connector: a\nC", "takes an argument"),
    ],
)
def test_a_malformed_script_is_refused_with_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError, match=complaint):
        parse(text, "a.smtp")


def test_escapes_give_any_octets() -> None:
    assert unescape(r"a\r\n.\n\0\x41\xff\\") == b"a\r\n.\n\0A\xff\\"
    with pytest.raises(ScriptError):
        unescape(r"\q")


def test_substitutions() -> None:
    assert substitute(r"AUTH PLAIN {b64:\0user\0pass} {id}", "u1") == "AUTH PLAIN AHVzZXIAcGFzcw== u1"


@pytest.mark.parametrize("octets", [2, 3, 77, 78, 79, 80, 157, 1000, 78 * 5])
def test_fill_is_exact_and_in_lines(octets: int) -> None:
    text = fill(octets)
    assert len(text) == octets
    assert text.endswith(b"\r\n")
    assert b"\r\n" in text[:79] or octets < 79


def test_replies_match_by_last_line() -> None:
    reply = ReplyLines("250", ("mx Hello [127.0.0.1]", "SIZE 37748736", "CHUNKING"))
    assert reply.matches("250 CHUNKING")
    assert reply.matches("250 *")
    assert not reply.matches("250 2.1.0*")
    assert reply.has("SIZE *")
    assert reply.has("mx Hello [127.0.0.1]")
    assert not reply.has("PIPELINING")


def test_events_match_by_columns() -> None:
    event_id, columns = event_condition("RECEIVE source=SMTP message-id=<a*>")
    line = {"event-id": "RECEIVE", "source": "SMTP", "message-id": "<a1@b>"}
    assert event_matches(line, event_id, columns)
    assert not event_matches({**line, "message-id": "<b>"}, event_id, columns)
    assert not event_matches({**line, "event-id": "SEND"}, event_id, columns)
