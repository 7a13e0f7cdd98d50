# SPDX-License-Identifier: MIT
"""The part of a report that people read, as plain text and as HTML, in Exchange's layout.

First plain words for the sender, then "Diagnostic information for administrators:".
"""

from email.utils import formatdate
from html import escape
from itertools import groupby
from typing import Final

from bridgehead.dsn.original import Original
from bridgehead.dsn.report import Report, ReportedRecipient
from bridgehead.dsn.texts import HEADLINES, explanation
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, READABLE_HEADER_BYTES

_DIAGNOSTICS: Final = "Diagnostic information for administrators:"
_HEADERS: Final = "Original message headers:"
_ORDER: Final = list(Action)[::-1]
_STYLE: Final = "font-family:Segoe UI,Arial,sans-serif;font-size:10.5pt;color:#222"


def readable_text(report: Report, original: Original) -> str:
    """The plain text, lines parted by LF."""
    lines: list[str] = []
    for action, group in _by_action(report):
        lines += [HEADLINES[action], ""]
        for recipient in group:
            lines += [shown_address(recipient)]
            lines += [f"  {line}" for line in _words(recipient)]
            lines += [""]
    lines += [_DIAGNOSTICS, "", f"Generating server: {report.reporting_mta}", ""]
    for recipient in report.recipients:
        lines += [shown_address(recipient), *_diagnostics(recipient), ""]
    lines += [_HEADERS, "", _quoted_header(original)]
    return "\n".join(lines)


def readable_html(report: Report, original: Original) -> str:
    """The same as HTML; everything from outside is escaped."""
    out = [f'<html lang="en"><head><meta charset="utf-8"></head><body style="{_STYLE}">']
    for action, group in _by_action(report):
        out.append(f'<p style="font-size:13pt;color:#1f3864">{escape(HEADLINES[action])}</p>')
        for recipient in group:
            words = "<br>\n".join(escape(line) for line in _words(recipient))
            out.append(f"<p><b>{escape(shown_address(recipient))}</b><br>\n{words}</p>")
    out.append(f'<hr><p style="color:#666"><b>{escape(_DIAGNOSTICS)}</b></p>')
    out.append(f'<p style="color:#666">Generating server: {escape(report.reporting_mta)}</p>')
    for recipient in report.recipients:
        details = "<br>\n".join(escape(line) for line in [shown_address(recipient), *_diagnostics(recipient)])
        out.append(f'<p style="color:#666">{details}</p>')
    out.append(f'<p style="color:#666"><b>{escape(_HEADERS)}</b></p>')
    out.append(f'<pre style="color:#666">{escape(_quoted_header(original))}</pre></body></html>')
    return "\n".join(out) + "\n"


def shown_address(recipient: ReportedRecipient) -> str:
    """The address the sender knows: the one they wrote, where it differs from where the message went."""
    final = str(recipient.final_recipient)
    _, separator, original = recipient.original_recipient.partition(";")
    if not separator or not original or original.lower() == final.lower():
        return clean_text(final)
    return clean_text(f"{original} ({final})")


def _by_action(report: Report) -> list[tuple[Action, list[ReportedRecipient]]]:
    """Recipients grouped, the gravest group first."""
    ordered = sorted(report.recipients, key=lambda recipient: _ORDER.index(recipient.status.action))
    return [(action, list(group)) for action, group in groupby(ordered, key=lambda recipient: recipient.status.action)]


def _words(recipient: ReportedRecipient) -> list[str]:
    """What happened and what to do, for the sender."""
    status = recipient.status
    if status.action not in (Action.FAILED, Action.DELAYED):
        return []
    text = explanation(status.status)
    lines = [text.problem]
    if text.advice:
        lines.append(text.advice)
    if status.action is Action.DELAYED and recipient.will_retry_until:
        lines.append(f"Delivery will be attempted until {formatdate(recipient.will_retry_until)}.")
    return lines


def _diagnostics(recipient: ReportedRecipient) -> list[str]:
    """Remote server, code and reply, as administrators look for them."""
    status = recipient.status
    lines = [f"Remote Server: {clean_text(status.remote_mta)}"] if status.remote_mta else []
    lines.append(f"Status: {status.status} ({status.action.value})")
    if status.diagnostic:
        lines.append(clean_text(status.diagnostic, DIAGNOSTIC_TEXT))
    return lines


def _quoted_header(original: Original) -> str:
    """The original's header, bounded, without controls but for its line ends and tabs."""
    text = original.header[:READABLE_HEADER_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(char if char in "\n\t" or char.isprintable() else " " for char in text)
