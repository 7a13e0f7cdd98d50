# SPDX-License-Identifier: MIT
"""Replies and error texts taken apart, wherever they turn up: in our queue, in a pasted report, in a message trace.

Understood are plain replies (RFC 5321, RFC 3463), Exchange's "Primary target IP address responded with …" around the
real one, and Microsoft 365's `[{LED=…};{MSG=…};{FQDN=…};{IP=…};{LRT=…}]`. Input is text from anywhere: bounded, and
every pattern linear.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, EXPLAINED_RECIPIENTS, EXPLAINED_TEXT

_REPLY: Final = re.compile(
    r"(?<![\d.:\[])([2345]\d\d)(?:[ \t]*#?|-)[ \t]?(?:([245]\.\d{1,3}\.\d{1,3})\b)?[ \t;:,-]*(.*)", re.DOTALL
)
_STATUS_ONLY: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])[ \t;:,-]*(.*)", re.DOTALL)
_WRAPPED: Final = re.compile(
    r"(?:Primary target IP address responded with|target host responded(?: with)?|remote server returned"
    r"|Remote Server (?:at \S{1,255} )?returned|last error(?: seen)?( encountered)? (?:is|was))[ :]*[\"']?",
    re.IGNORECASE,
)
_ATTEMPTED: Final = re.compile(r"Attempted failover to alternate host.{0,200}", re.IGNORECASE | re.DOTALL)
_HOST_SAID: Final = re.compile(r"host\s+(\S{1,255}?)\[([0-9A-Fa-f:.]{2,45})\](?::\d+)?\s+said:\s*", re.IGNORECASE)
_IP: Final = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.])")
_LED_PART: Final = re.compile(r"\{(LED|MSG|FQDN|IP|LRT)=([^{}]{0,4000})\}")
_LED_DETAIL: Final = re.compile(
    r"\[(Message|LastAttemptedServerName|LastAttemptedIP)[=:]([^\[\]]{0,500})\]", re.IGNORECASE
)
_LED_BARE: Final = re.compile(r"\bLED=([^\]};]{0,4000})")

_CONNECTING: Final = re.compile(
    r"(?:connect to|lost connection with|unable to look up host) (?!remote server)([\w.-]{1,255})"
    r"(?:\[([0-9A-Fa-f:.]{2,45})\])?"
)
"""Postfix about the host that it did not come to talk with."""


class ReplyText(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a server, or one error, taken out of what was around it.

    Attributes:
        code, status, text: 0 and "" for what is not there.
        host, address: who said it, as far as the text tells.
        last_retry: LRT, as it stands.
        wrapped_in: the outer text, "" for none.
    """

    code: int = 0
    status: str = ""
    text: str = ""
    host: str = ""
    address: str = ""
    last_retry: str = ""
    wrapped_in: str = ""

    @property
    def line(self) -> str:
        """As one line."""
        return " ".join(part for part in (str(self.code or ""), self.status, self.text) if part)

    @property
    def where(self) -> str:
        """Who said it."""
        if self.host and self.address:
            return f"{self.host} [{self.address}]"
        return self.host or self.address


def looks_like_error(text: str) -> bool:
    """Whether text is certainly an error: it begins with a code, or holds more than a name can."""
    line = text.strip()
    if "LED=" in line or "\n" in line:
        return True
    return bool(re.match(r"[245]\d\d(?:[ \-#]|$)|[245]\.\d{1,3}\.\d{1,3}(?:[ ;:]|$)", line))


def may_be_error(text: str) -> bool:
    """Whether a text that is nothing known here may be the words of an error."""
    return " " in text.strip()


def read_error(text: str) -> ReplyText:
    """The innermost answer in a text. Never fails: what holds no reply comes back as words alone."""
    line = _one_line(text)
    if "LED=" in line:
        return _read_led(line)
    outer, host, address = "", "", ""
    for _ in range(4):  # Exchange wraps Microsoft 365 wraps Exchange
        if said := _HOST_SAID.search(line):
            host, address = said[1], said[2]
            outer, line = outer or line[: said.start()], line[said.end() :]
        elif (wrapped := _WRAPPED.search(line)) and wrapped.end() < len(line):
            outer, line = outer or line[: wrapped.end()], line[wrapped.end() :]
        else:
            break
    line = _ATTEMPTED.sub("", line).strip(" \"'")
    if not host and (named := _CONNECTING.search(line)):
        host, address = (named[1] if named[1] != named[2] else ""), named[2] or ""
    if not host and "LastAttempted" in line:
        host, address = _last_attempted(dict(_LED_DETAIL.findall(line)))
    return _read_reply(line, host, address, outer.strip(" :\"'"))


def read_errors(text: str) -> list[ReplyText]:
    """Every answer in a text of several lines or several `LED=` groups; one at least."""
    groups = re.split(r"(?=\[\{LED=)", text[:EXPLAINED_TEXT], maxsplit=EXPLAINED_RECIPIENTS)
    found = [read_error(group) for group in groups if "LED=" in group]
    return found or [read_error(text)]


def _one_line(text: str) -> str:
    return clean_text(" ".join(text[:EXPLAINED_TEXT].split()), EXPLAINED_TEXT)


def _read_led(line: str) -> ReplyText:
    parts = {name: value.strip() for name, value in _LED_PART.findall(line)}
    led = parts.get("LED") or (bare[1].strip() if (bare := _LED_BARE.search(line)) else line)
    details = dict(_LED_DETAIL.findall(line))
    inner = _read_reply(led, "", "", "")
    if parts.get("MSG"):
        inner = msgspec.structs.replace(inner, text=f"{inner.text} {parts['MSG']}")
    host, address = _last_attempted(details)
    return msgspec.structs.replace(
        inner,
        host=parts.get("FQDN") or host,
        address=parts.get("IP") or address,
        last_retry=parts.get("LRT", ""),
        wrapped_in=line[: line.find("LED=")].strip(" [{;"),
    )


def _last_attempted(details: Mapping[str, str]) -> tuple[str, str]:
    """Host and address that Microsoft 365 tried last, by its words in brackets; without the port."""
    told = {name.lower(): value.strip() for name, value in details.items()}
    address = told.get("lastattemptedip", "")
    return told.get("lastattemptedservername", ""), (
        re.sub(r":\d+$", "", address) if address.count(":") == 1 else address
    )


def _read_reply(line: str, host: str, address: str, outer: str) -> ReplyText:
    if found := _REPLY.search(line):
        code, status, text = int(found[1]), found[2] or "", found[3].strip()
        if not status and (inner := _STATUS_ONLY.match(text)):
            status, text = inner[1], inner[2].strip()
    elif found := _STATUS_ONLY.search(line):
        code, status, text = 0, found[1], found[2].strip()
        if earlier := line[: found.start()].strip(" ;:<#"):
            text = f"{text} {earlier}".strip()
    else:
        code, status, text = 0, "", line
    return ReplyText(
        code=code, status=status, text=text[:DIAGNOSTIC_TEXT], host=host, address=address,
        wrapped_in=outer[:DIAGNOSTIC_TEXT],
    )  # fmt: skip


def addresses_in(text: str) -> list[str]:
    """IPv4 addresses that a text names, each once."""
    return list(dict.fromkeys(_IP.findall(text)))
