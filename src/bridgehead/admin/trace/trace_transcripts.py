# SPDX-License-Identifier: MIT
"""The conversation that an event came of: from the protocol log, else from the flight recorder.

The flight recorder keeps failures without having been switched on, alike ones as one record with the last of them, and
how the last good sessions of each destination began. What was taken in one of those is put together from its event: a
message that was sent had its sender and recipients accepted, and the reply to its content stands in the log.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from bridgehead.diagnosis.facts import AttemptFacts
from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.trace.story import session_of
from bridgehead.tracking.trace.transcripts import SessionLog, TranscriptLine

_FAILURES = frozenset({"DEFER", "FAIL"})
_SLACK_SECONDS = 5.0
"""Between a failure and its events."""
MADE_FROM_LOG: Final = "the conversation is put together from the log"
_SHOWN_RECIPIENTS: Final = 5

Opening = Callable[[str], Sequence[str]]
"""How a session began, by its id."""


def nothing_known(_: str) -> Sequence[str]:
    """Of no session anything is known."""
    return ()


class Known(NamedTuple):
    """What the flight recorder knows: failures, and how good sessions began."""

    flights: Sequence[AttemptFacts] = ()
    opening: Opening = nothing_known


def transcript(
    event: FoundEvent, session: SessionLog | None, known: Known
) -> tuple[list[TranscriptLine], str]:  # fmt: skip
    """Lines about an event, and what is to be known of them."""
    lines = session.about(event.time) if session is not None else []
    if not lines and event.event_id == "SEND" and session_of(event):
        return _of_taken(event, known.opening(session_of(event)))
    if lines or event.event_id not in _FAILURES:
        return lines, ""
    flight = _flight_of(event, known.flights)
    if flight is None:
        return [], ""
    if flight.session and flight.session == session_of(event):
        return _lines(flight.transcript), ""
    alike = f", the last of {flight.count} that failed alike" if flight.count > 1 else ""
    return _lines(flight.transcript), f"the conversation is that of {_when(flight)}{alike}"


def _of_taken(event: FoundEvent, opening: Sequence[str]) -> tuple[list[TranscriptLine], str]:
    """What was said about a message that was taken, as far as that is certain."""
    people = event.recipient_address
    said = [f"> MAIL FROM:<{event.return_path.strip('<>')}>"]
    said += [f"> RCPT TO:<{one}>" for one in people[:_SHOWN_RECIPIENTS]]
    if (more := len(people) - _SHOWN_RECIPIENTS) > 0:
        said.append(f"* … and {more} recipients more")
    said.append("* all of that was accepted, and the content sent")
    said += [f"< {reply}" for reply in dict.fromkeys(event.recipient_status) if reply]
    note = MADE_FROM_LOG if opening else f"{MADE_FROM_LOG}; how its session began is not known any more, or not yet"
    return _lines([*opening, *said]), note


def _lines(transcript: Sequence[str]) -> list[TranscriptLine]:
    """A record's lines; only the end of a session has a time."""
    lines = []
    for line in transcript:
        event, _, text = line.partition(" ")
        said = event in (">", "<")
        lines.append(TranscriptLine("", event, text if said else "", "" if said else text))
    return lines


def _flight_of(event: FoundEvent, flights: Sequence[AttemptFacts]) -> AttemptFacts | None:
    """The record that an event is about: of its session and message, of its session, or of a session that failed for
    all messages of the connector with the same words at that time."""
    session, number = session_of(event), event.internal_message_id
    if session:
        of_session = [one for one in flights if one.session == session and one.transcript]
        for one in of_session:
            if str(one.message) == number:
                return one
        if of_session and not of_session[-1].message:
            return of_session[-1]
    time = event.time.timestamp()
    alike = [
        one
        for one in flights
        if one.transcript
        and one.connector == event.connector_id
        and one.first - _SLACK_SECONDS <= time <= one.time + _SLACK_SECONDS
        and _says(event, one)
    ]
    return max(alike, key=lambda one: one.time, default=None)


def _says(event: FoundEvent, flight: AttemptFacts) -> bool:
    """Whether an event tells of this failure."""
    return bool(flight.error) and any(
        flight.error in status or flight.error.replace(";", ",") in status for status in event.recipient_status
    )


def _when(flight: AttemptFacts) -> str:
    return f"{datetime.fromtimestamp(flight.time, UTC):%H:%M:%S} UTC with {flight.where}"
