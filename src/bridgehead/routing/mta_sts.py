# SPDX-License-Identifier: MIT
"""MTA-STS: the record, the policy, and which hosts a policy allows (RFC 8461 §3, §4.1). Pure."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.limits import STS_MAX_AGE_SECONDS, STS_MX_PATTERNS, STS_POLICY_BYTES

_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_-]{1,63}){0,126}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


class StsMode(StrEnum):
    """What a policy asks for (RFC 8461 §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsError(ValueError):
    """A record or policy that is none. The message says what is wrong."""


class StsPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as its host gave it.

    Attributes:
        mx: patterns, lower case, "*.example.com" or a whole name.
        max_age: seconds.
    """

    mode: StsMode
    mx: tuple[str, ...] = ()
    max_age: int = 0

    def allows(self, host: str) -> bool:
        """Whether a host may get the domain's mail; "*" stands for exactly one label (§4.1)."""
        name = host.rstrip(".").lower()
        parent = name.partition(".")[2]
        return any(
            pattern == name or (pattern.startswith("*.") and bool(parent) and pattern[2:] == parent)
            for pattern in self.mx
        )

    def lines(self) -> tuple[str, ...]:
        """The policy as its file has it."""
        return (
            "version: STSv1", f"mode: {self.mode.value}", *(f"mx: {one}" for one in self.mx),
            f"max_age: {self.max_age}",
        )  # fmt: skip


def policy_id(records: Sequence[bytes]) -> str:
    """The id that the TXT records at `_mta-sts` announce, "" where there is no one policy (§3.1: several records that
    begin with v=STSv1 are as none)."""
    announced = _announced(records)
    if len(announced) != 1:
        return ""
    found = ""
    for part in announced[0].decode("ascii", "replace").split(";")[1:]:
        key, _, value = part.strip().partition("=")
        if key.strip() == "id" and not found:
            found = value.strip()
    return found if _ID.fullmatch(found) else ""


def record_problem(records: Sequence[bytes]) -> str:
    """Why the TXT records at `_mta-sts` announce no policy although they mean to, "" where they do not mean to."""
    if policy_id(records) or not any(b"stsv1" in one.lower() for one in records):
        return ""
    if len(_announced(records)) > 1:
        return "the domain publishes several MTA-STS records, which counts as none"
    return 'the domain\'s MTA-STS record is not of the form "v=STSv1; id=1;", the id 1 to 32 letters and digits'


def _announced(records: Sequence[bytes]) -> list[bytes]:
    return [one for one in records if one.split(b";", 1)[0].strip() == b"v=STSv1"]


def parse_policy(body: bytes) -> StsPolicy:
    """A policy file (§3.2). The first of a repeated field counts, but each mx; unknown fields are passed over.
    Raises StsError."""
    if len(body) > STS_POLICY_BYTES:
        raise StsError(f"the policy has more than {STS_POLICY_BYTES} octets")
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        key, colon, value = line.strip().partition(":")
        if not colon:
            if line.strip():
                raise StsError("a line of the policy is no field")
            continue
        if key.strip() == "mx":
            patterns.append(value.strip().lower().rstrip("."))
        else:
            fields.setdefault(key.strip(), value.strip())
    if fields.get("version") != "STSv1":
        raise StsError("the policy does not say version: STSv1")
    return StsPolicy(mode=_mode(fields), mx=_patterns(patterns, fields), max_age=_max_age(fields))


def _mode(fields: dict[str, str]) -> StsMode:
    try:
        return StsMode(fields.get("mode", ""))
    except ValueError:
        raise StsError("the policy has no mode of enforce, testing or none") from None


def _patterns(patterns: list[str], fields: dict[str, str]) -> tuple[str, ...]:
    if len(patterns) > STS_MX_PATTERNS:
        raise StsError(f"the policy names more than {STS_MX_PATTERNS} mx")
    if any(not _PATTERN.fullmatch(one) for one in patterns):
        raise StsError("an mx of the policy is no name")
    if not patterns and fields["mode"] != StsMode.NONE:
        raise StsError("the policy names no mx")
    return tuple(patterns)


def _max_age(fields: dict[str, str]) -> int:
    value = fields.get("max_age", "")
    if not _NUMBER.fullmatch(value):
        raise StsError("the policy has no max_age in seconds")
    return min(int(value), STS_MAX_AGE_SECONDS)
