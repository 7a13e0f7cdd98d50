# SPDX-License-Identifier: MIT
"""`bridgehead why WHAT`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, paint, when, wrapped

if TYPE_CHECKING:
    from bridgehead.admin.why.verdict import Explanation, Verdict

_COLORS = {"STUCK": "red", "FAILED": "red", "REFUSED": "red", "WAITING": "yellow", "MOVING": "green"}


@click.command(cls=AdminCommand)
@click.argument("subject", metavar="[WHAT]", nargs=-1)
@click.option("--transcript", is_flag=True, help="Show the failed sessions, as they were kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def why(context: click.Context, subject: tuple[str, ...], transcript: bool, as_json: bool) -> None:
    """Say why something waits, failed or was refused: the cause, whose it is, what helps, and the proof.

    WHAT is a queue, a message id, a recipient, a domain, a client's IP address, an error as it was shown (in
    quotes, or - to read it from standard input), or the file of a non-delivery report (.eml). Without one: all queues
    that hold mail. Errors and reports are explained without a server.

    Exit code 0 where nothing is stuck, 1 where something is, failed or was refused.

    \b
    Examples:
      bridgehead why fabrikam.com
      bridgehead why ann@fabrikam.com --transcript
      bridgehead why 10.2.0.17
      bridgehead why '550 5.7.64 TenantAttribution; Relay Access Denied'
      bridgehead why ndr.eml
    """
    explanation = _explain(context, " ".join(subject), transcript)
    emit(explanation, as_json, lambda: _text(explanation, transcript))
    stuck = any(one.state in ("STUCK", "FAILED", "REFUSED") for one in explanation.verdicts)
    context.exit(NEGATIVE if stuck else 0)


def _explain(context: click.Context, subject: str, transcript: bool) -> "Explanation":
    """From a file, from the words alone, or by the server."""
    import sys
    from pathlib import Path

    from bridgehead.admin.faults import INVALID, AdminFault, ServerNotRunning
    from bridgehead.admin.why.texts import explain_error, explain_report
    from bridgehead.diagnosis.reply_text import looks_like_error, may_be_error
    from bridgehead.mail.limits import EXPLAINED_REPORT_BYTES

    if subject == "-":
        return explain_report(sys.stdin.buffer.read(EXPLAINED_REPORT_BYTES + 1), "standard input")
    longest = max((len(part) for part in subject.encode().split(b"/")), default=0)
    # A pasted error may be longer than any file's name can be (NAME_MAX), and is asked for as one in vain.
    path = Path(subject) if subject and "\n" not in subject and len(subject) < 1000 and longest <= 255 else None
    try:
        if path is not None and path.is_file():
            with path.open("rb") as file:
                return explain_report(file.read(EXPLAINED_REPORT_BYTES + 1), path.name)
    except OSError as error:
        raise AdminFault(
            INVALID, f"{subject} cannot be read: {error.strerror or error}", "give a readable file"
        ) from None
    if path is not None and path.suffix.lower() in (".eml", ".msg", ".txt"):
        raise AdminFault(INVALID, f"there is no file {subject}", "give the path of the report's file")
    if subject and looks_like_error(subject):
        return explain_error(subject)
    try:
        return _ask(context, subject, transcript)
    except ServerNotRunning:
        if may_be_error(subject):  # words without a code, which a queue's name might be as well
            return explain_error(subject)
        raise


def _ask(context: click.Context, subject: str, transcript: bool) -> "Explanation":
    from bridgehead.admin.methods.why import WhySubject
    from bridgehead.admin.why.verdict import Explanation

    cli: CliContext = context.obj
    with cli.control() as control:
        return control.call("why", WhySubject(about=subject, transcripts=transcript), Explanation)


def _text(explanation: "Explanation", transcript: bool) -> str:
    blocks = [_verdict_text(one, transcript) for one in explanation.verdicts]
    if not explanation.complete:
        blocks.append("There is more; name one queue or message to see it.")
    return "\n\n".join(blocks)


def _verdict_text(one: "Verdict", transcript: bool) -> str:
    owner = one.owner + (f" ({one.owner_detail})" if one.owner_detail else "")
    since = "; ".join(part for part in (when(one.since), one.last_good_words) if part)
    do = one.do + (f" → then {one.then}" if one.do and one.then else one.then and f"nothing: {one.then}")
    rows = [
        (one.state.value, one.headline),
        ("WHY", one.why),
        ("OWNER", f"{owner}   {one.certainty}" if owner else ""),
        ("SINCE", since),
        ("DO", do),
        ("ELSE", one.otherwise),
        *(("ALSO", f"{other.why} {other.certainty}") for other in one.also),
        *(("PROOF", line) for line in one.proof),
    ]
    width = max(len(name) for name, _ in rows)
    lines = []
    before = ""
    for name, text in rows:
        if not text:
            continue
        shown = "" if name == before else name
        before = name
        label = paint(shown.ljust(width), _COLORS.get(shown, "cyan")) if shown else " " * width
        lines.append(f"{label}  {wrapped(text, width + 2)}")
    if transcript:
        lines += _transcript_lines(one)
    elif one.cause and one.state.value in ("STUCK", "FAILED"):
        lines.append(f"{' ' * width}  [show the sessions with --transcript]")
    return "\n".join(lines)


def _transcript_lines(one: "Verdict") -> list[str]:
    lines = []
    for session in one.transcripts:
        times = f", {session.count} times alike" if session.count > 1 else ""
        lines += ["", f"--- session {session.session or '-'} with {session.host}, {when(session.time)}{times}"]
        lines += [f"  {line}" for line in session.lines]
    return lines or ["", "--- no session is kept"]
