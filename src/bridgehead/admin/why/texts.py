# SPDX-License-Identifier: MIT
"""Verdicts about pasted errors, replies and non-delivery reports. Needs no server."""

import time
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Final

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.why.port_holder import holder_of, port_in
from bridgehead.admin.why.verdict import Explanation, State, Verdict, other_causes
from bridgehead.diagnosis.facts import Cause, Evidence
from bridgehead.diagnosis.replies import explain_text
from bridgehead.diagnosis.reply_text import ReplyText, addresses_in, read_errors
from bridgehead.dsn.parse import NotAReport, ParsedRecipient, parse_report
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import EXPLAINED_RECIPIENTS, EXPLAINED_REPORT_BYTES, EXPLAINED_TEXT

_HELP: Final = "give the error as it was shown, such as '550 5.7.64 TenantAttribution; Relay Access Denied'"


def explain_error(text: str) -> Explanation:
    """What a pasted error means. Raises AdminFault where it is empty, too long, or holds no error."""
    if not text.strip():
        raise AdminFault(INVALID, "there is nothing to explain", _HELP)
    if len(text) > EXPLAINED_TEXT:
        message = f"the text is longer than {EXPLAINED_TEXT} characters"
        raise AdminFault(INVALID, message, "give the error alone, or the report as a file")
    verdicts = [_verdict(one, clean_text(" ".join(text.split()), 80)) for one in read_errors(text)]
    return Explanation(about=clean_text(text.strip(), 200), kind="text", verdicts=_once(verdicts))


def explain_report(data: bytes, name: str = "the report") -> Explanation:
    """What a non-delivery report (.eml), or a file with an error in it, means. Raises AdminFault."""
    if len(data) > EXPLAINED_REPORT_BYTES:
        message = f"{name} is larger than {EXPLAINED_REPORT_BYTES // 1024**2} MB"
        raise AdminFault(INVALID, message, "give the report without the message it returns")
    try:
        report = parse_report(_with_crlf(data))
    except NotAReport:
        return _unstructured(data, name)
    recipients = report.recipients[:EXPLAINED_RECIPIENTS]
    verdicts = [verdict for one in recipients for verdict in _of_recipient(one, report.reporting_mta)]
    complete = len(report.recipients) <= EXPLAINED_RECIPIENTS
    return Explanation(about=clean_text(name, 200), kind="report", verdicts=_once(verdicts), complete=complete)


def _of_recipient(one: ParsedRecipient, reporting: str) -> list[Verdict]:
    text = one.diagnostic or one.status
    if one.status and one.status not in text:
        text = f"{text} (status {one.status})" if text[:1].isdigit() else f"{one.status} {text}"
    verdicts = []
    for answer in read_errors(text):
        if not answer.host and one.remote_mta:
            host, address = _remote(one.remote_mta)
            answer = ReplyText(
                code=answer.code, status=answer.status, text=answer.text, host=host,
                address=answer.address or address, last_retry=answer.last_retry or one.last_attempt,
                wrapped_in=answer.wrapped_in,
            )  # fmt: skip
        verdict = _verdict(answer, one.final_recipient or one.original_recipient, one.action)
        verdict.proof.append(f"reported by {reporting or 'a server that gives no name'}: {one.action} {one.status}")
        verdicts.append(verdict)
    return verdicts


def _remote(text: str) -> tuple[str, str]:
    """Host and address of a Remote-MTA field, whose comment may hold the address: "mx.example. (192.0.2.1, …)"."""
    name, _, comment = text.partition("(")
    return name.strip().rstrip("."), next(iter(addresses_in(comment)), "")


def _unstructured(data: bytes, name: str) -> Explanation:
    """A report that is no multipart/report, or any file with an error in it: its text is searched."""
    if b"\0" in data[:4096]:
        raise AdminFault(INVALID, f"{name} is no text and no message", _HELP)
    text = _text_of(data)
    lines = [line for line in text.splitlines() if _may_be_error(line)]
    if not lines:
        raise AdminFault(INVALID, f"{name} holds neither a delivery report nor an error that could be explained", _HELP)
    verdicts = [_verdict(one, name) for line in lines[:EXPLAINED_RECIPIENTS] for one in read_errors(line)]
    known = [verdict for verdict in verdicts if verdict.cause != "unknown-reply"]
    return Explanation(about=clean_text(name, 200), kind="report", verdicts=_once(known or verdicts[:1]))


def _text_of(data: bytes) -> str:
    """The readable text of a message, or of a plain file."""
    message = BytesParser(policy=compat32).parsebytes(data)
    if not message.keys():
        return data.decode("utf-8", "replace")[:EXPLAINED_TEXT]
    texts = [part for part in message.walk() if part.get_content_type() in ("text/plain", "message/delivery-status")]
    found = "\n".join(_decoded(part) for part in texts[:5])
    headers = "\n".join(f"{key}: {value}" for key, value in message.items() if key.lower().startswith("x-failed"))
    return f"{headers}\n{found}"[:EXPLAINED_TEXT]


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(part.get_payload())


def _may_be_error(line: str) -> bool:
    answer = read_errors(line)[0]
    return answer.code >= 400 or (answer.status[:1] in ("4", "5") and answer.status != "")


def _with_crlf(data: bytes) -> bytes:
    """A saved report with the line ends that the parser of reports reads."""
    return data if b"\r\n" in data[:2000] else data.replace(b"\n", b"\r\n")


def _verdict(text: ReplyText, subject: str, action: str = "") -> Verdict:
    cause = explain_text(text, Evidence(now=time.time()))
    if cause.id == "port-in-use" and (port := port_in(text.line)):
        holder = holder_of(port)
        cause.finding.sentence = f"Port {port} is held by {holder}." if holder else (
            f"Port {port} was held by another program; nobody listens on it now."
        )  # fmt: skip
    temporary = text.code // 100 == 4 or text.status[:1] == "4"
    state = "delayed" if action == "delayed" or (not action and temporary) else action or "refused"
    headline = f"{subject}: {state}" if action else clean_text(text.line, 120)
    if cause.id == "unknown-reply" and not (text.code or text.status or action):
        return Verdict(
            about=subject, state=State.EXPLAINED, headline=headline, why=cause.finding.sentence, cause=cause.id,
            do="give the whole answer with its code, or what is queued here: bridgehead why --help",
        )  # fmt: skip
    return verdict_of(cause, subject, headline, _after(temporary, action))


def verdict_of(cause: Cause, subject: str, headline: str, otherwise: str) -> Verdict:
    """A cause as the verdict about a text."""
    return Verdict(
        about=subject,
        state=State.EXPLAINED,
        headline=headline,
        why=cause.finding.sentence,
        owner=cause.owner.value,
        certainty="by its words",
        do=cause.finding.do,
        otherwise=otherwise,
        proof=list(cause.finding.proof),
        cause=cause.id,
        rows=list(cause.rows),
        also=other_causes([cause]),
    )


def _after(temporary: bool, action: str) -> str:
    if action == "delayed" or (temporary and action != "failed"):
        return "the sending server tries again by itself until the message expires"
    return "nothing more happens: the message was returned and has to be sent again"


def _once(verdicts: list[Verdict]) -> list[Verdict]:
    """Each cause for each subject once."""
    seen: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        seen.setdefault((verdict.about, verdict.cause if verdict.cause != "unknown-reply" else verdict.why), verdict)
    return list(seen.values())
