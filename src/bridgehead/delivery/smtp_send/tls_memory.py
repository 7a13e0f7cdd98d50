# SPDX-License-Identifier: MIT
"""The best TLS that each recipient domain, and each of its hosts, has shown; worse is told, and refused where a
connector says so.

Who takes STARTTLS out of a conversation, or TLSA records out of DNS, cannot take out what is remembered here. A host
that is known is compared with itself, so that a domain whose second host never had TLS raises no alarm for it; a host
that is new is compared with the best of its domain. Bounded; kept over restarts.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from bridgehead.mail.limits import DOWNGRADE_ALARMS, POLICY_DOMAINS
from bridgehead.net.sts.policy_file import PolicyFile
from bridgehead.routing.domain_tls import TlsLevel
from bridgehead.tracking.alarms import Alarms, Severity

_KIND: Final = "seen"
_HOSTS: Final = 20
_WORDS: Final = {
    TlsLevel.NONE: "no TLS", TlsLevel.ENCRYPTED: "TLS with a certificate that nobody vouches for",
    TlsLevel.VERIFIED: "TLS with a verified certificate",
    TlsLevel.POLICY: "TLS that its DANE records or MTA-STS policy vouch for",
}  # fmt: skip
_REFRESH_SECONDS: Final = 86_400.0


class Seen(msgspec.Struct, kw_only=True):
    """What one domain has shown.

    Attributes:
        best: of all its hosts; `at`: when last, Unix seconds.
        hosts: best of each.
    """

    best: TlsLevel
    at: float
    hosts: dict[str, TlsLevel] = {}


class TlsMemory:
    """All domains.

    Args:
        now: Unix time.
    """

    def __init__(self, file: PolicyFile, alarms: Alarms, now: Callable[[], float]) -> None:
        self._file = file
        self._alarms = alarms
        self._now = now
        self._seen: dict[str, Seen] = {}
        self._alarmed: set[str] = set()

    def load(self) -> None:
        """Read what was known before. Blocks."""
        for domain, value in self._file.load(_KIND).items():
            try:
                self._seen[domain] = msgspec.json.decode(value, type=Seen)
            except (msgspec.MsgspecError, UnicodeError):
                continue

    def seen(self, domain: str) -> Seen | None:
        """What a domain has shown, None for nothing yet."""
        return self._seen.get(domain)

    def forget(self, domain: str) -> bool:
        """The domain starts anew, as after a change that is meant; False where nothing was known."""
        self._clear(domain)
        if self._seen.pop(domain, None) is None:
            return False
        self._file.put(_KIND, domain, None)
        return True

    def judge(self, domain: str, host: str, level: TlsLevel) -> str:
        """Why a session at this level is a downgrade, "" where it is none."""
        seen = self._seen.get(domain)
        if seen is None:
            return ""
        before = seen.hosts.get(host, seen.best)
        if level >= before:
            return ""
        return f"{host} shows {_WORDS[level]} for {domain}, and there was {_WORDS[before]} before"

    def opened(self, domain: str, host: str, level: TlsLevel, *, alarm: bool) -> None:
        """A session begins that mail will go through."""
        problem = self.judge(domain, host, level)
        if problem:
            if alarm:
                self.raise_alarm(domain, problem)
            return
        self._clear(domain)
        self._note(domain, host, level)

    def raise_alarm(self, domain: str, problem: str) -> None:
        """Tell of a downgrade."""
        if domain not in self._alarmed and len(self._alarmed) >= DOWNGRADE_ALARMS:
            return
        self._alarmed.add(domain)
        self._alarms.raise_(
            f"tls_downgrade/{domain}", Severity.WARNING, f"Worse TLS than before: {problem}.",
            f"ask the administrators of {domain}; where the change is meant: bridgehead tls-policy forget {domain}",
        )  # fmt: skip

    def _clear(self, domain: str) -> None:
        if domain in self._alarmed:
            self._alarmed.discard(domain)
            self._alarms.clear(f"tls_downgrade/{domain}")

    def _note(self, domain: str, host: str, level: TlsLevel) -> None:
        now = self._now()
        seen = self._seen.get(domain)
        if seen is None:
            seen = self._seen[domain] = Seen(best=level, at=now)
            if len(self._seen) > POLICY_DOMAINS:
                oldest = next(iter(self._seen))
                del self._seen[oldest]
                self._file.put(_KIND, oldest, None)
        elif seen.hosts.get(host, TlsLevel.NONE) >= level and host in seen.hosts and now - seen.at < _REFRESH_SECONDS:
            return
        seen.best, seen.at = max(seen.best, level), now
        if host in seen.hosts or len(seen.hosts) < _HOSTS:
            seen.hosts[host] = max(level, seen.hosts.get(host, level))
        self._file.put(_KIND, domain, msgspec.json.encode(seen))
