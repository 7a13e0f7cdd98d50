# SPDX-License-Identifier: MIT
"""How `bridgehead trace` speaks: lists of messages, one story, events as CSV; nothing wider than the terminal."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from bridgehead.admin.cli.output import counted, cut, paint, size, span
from bridgehead.admin.trace.trace_story import RecipientEnd, Step, Story
from bridgehead.admin.trace.tracking import RecipientStatus, TracedMessage, TracePage
from bridgehead.tracking.csv_line import cell
from bridgehead.tracking.event_line import FoundEvent, cells_of
from bridgehead.tracking.log import SOFTWARE, VERSION
from bridgehead.tracking.message_tracking import KIND
from bridgehead.tracking.outcomes import Status
from bridgehead.tracking.trace.search import IndexFacts, IndexState

_COLORS: Final = {
    Status.DELIVERED: "green", Status.EXPANDED: "green", Status.REDIRECTED: "green", Status.FAILED: "red",
    Status.POISON: "red", Status.DROPPED: "red", Status.DEFERRED: "yellow", Status.PENDING: "yellow",
}  # fmt: skip
_RECIPIENTS: Final = 5
_CONNECTION_LINES: Final = 4
_INDENT: Final = " " * 15


def width() -> int:
    """Columns of the terminal, 80 without one; never so few that nothing could be read."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def list_text(page: TracePage, zone: tzinfo | None) -> str:
    """Messages, two lines each: when, how it stands, from whom to whom; what it is called."""
    lines = []
    for one in page.messages:
        received = one.received.astimezone(zone)
        status = paint(f"{one.status.value:<10}", _COLORS[one.status])
        people = f"{one.return_path or one.sender_address or '<>'} → {_people(one)}"
        lines.append(f"{received:%Y-%m-%d %H:%M:%S}  {status}  {cut(people, max(20, width() - 33))}")
        name = one.network_message_id or one.message_id
        lines.append(f"    {name}  {cut(one.message_subject, max(12, width() - len(name) - 6))}".rstrip())
    notes = []
    if page.next:
        notes.append(f"There are more. The next page: the same with --after '{page.next}'")
    if index := _index_text(page.index):
        notes.append(index)
    return "\n".join([*lines, *([""] if notes else []), *(_wrapped(note, "") for note in notes)])


def story_text(story: Story, zone: tzinfo | None, *, transcripts: bool = True) -> str:
    """A message's story."""
    return "\n".join(_story_lines(story, zone, transcripts))


def csv_text(events: Sequence[FoundEvent], now: datetime) -> str:
    """Events as a message tracking log has them: header lines, 30 columns, BOM and CR LF."""
    stamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    header = (
        f"#Software: {SOFTWARE}", f"#Version: {VERSION}", f"#Log-type: {KIND.log_type}", f"#Date: {stamp}",
        f"#Fields: {','.join(KIND.fields)}",
    )  # fmt: skip
    lines = (",".join(map(cell, cells_of(event))) for event in events)
    return "\ufeff" + "".join(f"{line}\r\n" for line in (*header, *lines))


def event_text(event: FoundEvent, zone: tzinfo | None) -> str:
    """One event in one line."""
    people = ", ".join(event.recipient_address[:3]) + (" …" if len(event.recipient_address) > 3 else "")
    said = "; ".join(event.recipient_status[:1])
    text = f"{event.time.astimezone(zone):%H:%M:%S} {event.event_id:<9} {event.return_path} → {people}  {said}"
    return cut(text.rstrip(), width())


# --- one story ------------------------------------------------------------------------------------------------------


def _story_lines(story: Story, zone: tzinfo | None, transcripts: bool) -> Iterator[str]:
    one = story.message
    yield f"{paint(one.message_id or one.network_message_id, 'cyan')}  {one.message_subject}".rstrip()
    yield f"  from {one.return_path or '<>'}, {size(one.size)}, network message id {one.network_message_id}"
    status = paint(one.status.value, _COLORS[one.status])
    took = f"{_seconds(story.total_seconds)} in all"
    if story.slowest and story.slowest_seconds > 0:
        took += f", most of it ({_seconds(story.slowest_seconds)}) {story.slowest}"
    yield _wrapped(f"{status}: {took}", "  ")
    day, told = "", set[str]()
    for step in story.steps:
        local = step.time.astimezone(zone)
        if f"{local:%Y-%m-%d %Z}" != day:
            day = f"{local:%Y-%m-%d %Z}"
            yield f"\n  {day}"
        yield from _step_lines(step, local)
        if transcripts:
            yield from _transcript(step, told)
            told |= {step.session_id} - {""}
    yield ""
    for end in story.ends:
        yield _end_line(end, zone)
    for linked in story.linked:
        name = linked.message.network_message_id or linked.message.message_id
        yield _wrapped(f"{linked.relation}: {linked.message.status.value}; bridgehead trace '{name}'", "  ")
    for note in story.notes:
        yield _wrapped(f"note: {note}", "  ")


def _step_lines(step: Step, local: datetime) -> Iterator[str]:
    people = ", ".join(one.address for one in step.recipients[:_RECIPIENTS])
    if len(step.recipients) > _RECIPIENTS:
        people += f" and {len(step.recipients) - _RECIPIENTS} more"
    clock = " " * 12 if step.event == "ROUTE" else f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    spent = _spent(step)
    text = f"{step.event:<8} {step.what}{f': {people}' if people else ''}{f' ({spent})' if spent else ''}"
    yield f"  {clock} {_wrapped(text, _INDENT + ' ' * 9).lstrip()}"
    for said in dict.fromkeys(one.detail for one in step.recipients if one.detail):
        yield _wrapped(said, _INDENT + "  ")
    if step.reason:
        yield _wrapped(f"because {step.reason}", _INDENT + "  ")
    for other in step.others:
        yield _wrapped(f'not "{other.connector}": {other.reason}', _INDENT + "  ")
    session = [f"TLS {step.tls}" if step.tls else "", f"as {step.login}" if step.login else ""]
    session += [f"session {step.session_id}" if step.session_id else ""]
    if any(session):
        yield _wrapped(", ".join(filter(None, session)), _INDENT + "  ")
    if step.note:
        yield _wrapped(step.note, _INDENT + "  ")


def _transcript(step: Step, told: set[str]) -> Iterator[str]:
    """The conversation, or where none is kept, how the connection went; how a session began is told once."""
    lines = step.transcript
    if step.session_id in told:
        begun = [number for number, line in enumerate(lines) if line.data[:10].upper() == "MAIL FROM:"]
        lines = lines[begun[0] :] if begun else []
    if not step.transcript and step.session_id not in told:
        lines = step.connection[:_CONNECTION_LINES]
    for line in lines:
        yield _INDENT + "    " + cut(f"{line.event} {line.data or line.context}".rstrip(), max(20, width() - 20))


def _end_line(end: RecipientEnd, zone: tzinfo | None) -> str:
    one: RecipientStatus = end.recipient
    state = paint(end.state, _COLORS[one.status])
    via = f" (by {one.via})" if one.via else ""
    text = f"→ {one.address}{via}: {state} after {_seconds(end.seconds)}"
    if end.next_attempt is not None:
        text += f", next attempt {end.next_attempt.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    if one.detail and one.detail not in text:
        text += f": {one.detail}"
    return _wrapped(text, "  ")


def _spent(step: Step) -> str:
    parts = []
    if step.waited_seconds >= 0.001 and step.event != "ROUTE":
        parts.append(f"after {_seconds(step.waited_seconds)}")
    if step.attempt_seconds is not None:
        parts.append(f"took {_seconds(step.attempt_seconds)}")
    return ", ".join(parts)


def _seconds(seconds: float) -> str:
    """A time in the unit that people think of."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def _people(one: TracedMessage) -> str:
    first = one.recipients[0].address if one.recipients else "nobody"
    return first if one.recipient_count < 2 else f"{first} and {one.recipient_count - 1} more"


def _index_text(index: IndexFacts) -> str:
    """Why a search was slow, where it was."""
    if index.state is IndexState.BUILDING:
        share = 100 * index.covered_bytes // max(1, index.log_bytes)
        return f"The index is being made ({share} %); the rest was read from {size(index.log_bytes)} of logs."
    if index.state is IndexState.DAMAGED:
        return (
            f"The index cannot be used ({index.fault}); the logs were read instead. The running server makes it anew."
        )
    return ""


def _wrapped(text: str, indent: str) -> str:
    """Text in lines that fit; colours are counted as text, which makes lines shorter, never longer."""
    wrapped = textwrap.wrap(
        text, width(), initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )
    return "\n".join(wrapped) or indent


def found_text(page: TracePage) -> str:
    """What was looked through in vain."""
    return f"No message fits ({counted(page.files, 'log file')})."
