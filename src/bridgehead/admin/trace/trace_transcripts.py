# SPDX-License-Identifier: MIT
"""The conversation that an event came of: from the protocol log, else from the flight recorder.

The flight recorder keeps failures without having been switched on, alike ones as one record with the last of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from bridgehead.diagnosis.facts import AttemptFacts
from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.trace.story import session_of
from bridgehead.tracking.trace.transcripts import SessionLog, TranscriptLine

_FAILURES = frozenset({"DEFER", "FAIL"})
_SLACK_SECONDS = 5.0
"""Between a failure and its events."""


def transcript(
    event: FoundEvent, session: SessionLog | None, flights: Sequence[AttemptFacts]
) -> tuple[list[TranscriptLine], str]:  # fmt: skip
    """Lines about an event, and what is to be known of them."""
    lines = session.about(event.time) if session is not None else []
    if lines or event.event_id not in _FAILURES:
        return lines, ""
    flight = _flight_of(event, flights)
    if flight is None:
        return [], ""
    if flight.session and flight.session == session_of(event):
        return _recorded(flight), ""
    alike = f", the last of {flight.count} that failed alike" if flight.count > 1 else ""
    return _recorded(flight), f"the conversation is that of {_when(flight)}{alike}"


def _recorded(flight: AttemptFacts) -> list[TranscriptLine]:
    """A record's lines; only the end of a session has a time."""
    lines = []
    for line in flight.transcript:
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
