# SPDX-License-Identifier: MIT
"""What operators see of the DNS records that belong to this server. Light: the command imports it."""

from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.probe.steps import Verdict

TTL: Final = 3600
_STRING: Final = 255


class DnsRecordCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one name and type: what to publish, what is there.

    Attributes:
        about: the domain or host it is for.
        publish: data in zone-file form; empty where nothing is advised.
        found: what DNS has now.
    """

    about: str
    name: str
    kind: str
    verdict: Verdict
    sentence: str
    remedy: str = ""
    publish: list[str] = []
    found: list[str] = []


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True):
    """An MTA-STS policy. `served`: by this server."""

    url: str
    text: str
    served: bool


class DnsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. `verdict`: FAILURE where mail, or trust in it, suffers now."""

    at: datetime
    verdict: Verdict
    records: list[DnsRecordCheck]
    policies: list[PolicyFile] = []


def quoted(text: str) -> str:
    """TXT data as zone files have it: strings of 255 octets at most."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{escaped[start : start + _STRING]}"' for start in range(0, max(1, len(escaped)), _STRING))


def zone_text(report: DnsReport) -> str:
    """The records to publish, to be pasted into zone files."""
    lines: dict[str, None] = {}
    for one in report.records:
        for data in one.publish:
            lines[f"{one.name}.\t{TTL}\tIN\t{one.kind}\t{data}"] = None
    return "\n".join(lines) + "\n" if lines else ""
