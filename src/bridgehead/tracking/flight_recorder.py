# SPDX-License-Identifier: MIT
"""The flight recorder: failed sessions of each destination with transcript and TLS alerts, refusals at our own door.

Kept without having been switched on, in bounded memory: what failed alike at one address is one record with a count.
Good sessions cost one update of counters at their end. `save` writes everything to one file now and then, from the
thread that writes the logs, so that a restart forgets little. Content and credentials never come here.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from bridgehead.diagnosis.facts import SESSION_PHASES, AttemptFacts, HostFacts, RefusalFacts
from bridgehead.diagnosis.opening import opening_lines
from bridgehead.mail.limits import (
    FLIGHT_DESTINATIONS,
    FLIGHT_TRANSCRIPT_BYTES,
    FLIGHTS_PER_DESTINATION,
    GOOD_SESSIONS,
    REFUSALS_PER_SOURCE,
    REFUSED_SOURCES,
)

log = logging.getLogger("bridgehead.tracking")

K = TypeVar("K")
V = TypeVar("V")

SAVE_SECONDS: Final = 30.0
"""How often the file is written while something changes."""
_KEPT_SECONDS: Final = 7 * 86_400.0
"""Age after which a failure says nothing about the present."""
_VERSION: Final = 1
_HANDSHAKE: Final = 454
"""The code that TLS handshakes are kept under which our door saw fail."""

_Place = tuple[str, str, int]
"""Queue, address, port."""


class _Saved(msgspec.Struct):
    """The file."""

    version: int
    attempts: list[list[AttemptFacts]] = []
    hosts: list[HostFacts] = []
    refusals: list[list[RefusalFacts]] = []


class _Opening(NamedTuple):
    """How a good session began."""

    session: str
    pieces: Sequence[tuple[bool, bytes]]
    tls: object


def _kind(one: RefusalFacts) -> tuple[object, ...]:
    """What refusals are alike: the reply, and of handshakes, which have none, what TLS complained of."""
    return one.code, one.status, one.text, one.connector, one.detail if one.code == _HANDSHAKE else ""


class FlightRecorder:
    """Implements `tracking.ports.Flights`. All methods but `save` on the event loop.

    Args:
        path: its file; the folder is made.
        now: Unix time.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._attempts: dict[_Place, list[AttemptFacts]] = {}
        self._hosts: dict[_Place, HostFacts] = {}
        self._refusals: dict[str, list[RefusalFacts]] = {}
        self._openings: dict[_Place, list[_Opening]] = {}
        self._changed = False
        self._saved_at = 0.0

    # --- what is recorded ------------------------------------------------------------------------------------------

    def failed(self, facts: AttemptFacts) -> None:
        """A session failed, or a message in one."""
        facts.transcript = _bounded(facts.transcript)
        facts.first = facts.first or facts.time
        facts.least, facts.most = facts.least or facts.octets, max(facts.most, facts.octets)
        place = (facts.queue, facts.address, facts.port)
        if facts.phase not in SESSION_PHASES:  # so a session was had: what kept others from it is past
            self._reached((facts.queue, "", 0), facts.time)
            self._reached(place, facts.time)
        kept = _renewed(self._attempts, place, FLIGHT_DESTINATIONS)
        for index, before in enumerate(kept):
            if _alike(before, facts):
                facts.first, facts.count = before.first, before.count + 1
                facts.chain = facts.chain or before.chain
                facts.least, facts.most = min(before.least, facts.least), max(before.most, facts.most)
                del kept[index]
                break
        kept.append(facts)
        del kept[:-FLIGHTS_PER_DESTINATION]
        self._changed = True

    def delivered(
        self, queue: str, host: str, address: str, port: int, *, messages: int, last: float, local: str,
        encrypted: bool, heard: bytes, session: str = "", opening: Sequence[tuple[bool, bytes]] = (),
        tls: object = None,
    ) -> None:  # fmt: skip
        """A session ended that took `messages`, the last of them at `last`. Failures to get a session at this address
        are past with that. How the last few began is kept until the process ends, as it came: lines are made of it
        when somebody asks."""
        place = (queue, address, port)
        if session:
            good = _renewed(self._openings, place, FLIGHT_DESTINATIONS)
            good[:] = [one for one in good if one.session != session][1 - GOOD_SESSIONS :]
            good.append(_Opening(session, opening, tls))
        facts = self._hosts.pop(place, None) or HostFacts(queue=queue, host=host, address=address, port=port)
        while len(self._hosts) >= FLIGHT_DESTINATIONS:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[place] = facts
        facts.good += messages
        facts.last_good = last
        facts.sessions += 1
        facts.starttls += b"STARTTLS" in heard
        facts.encrypted += encrypted
        facts.local, facts.heard = local, heard
        self._reached((queue, "", 0), last)
        self._reached(place, last)
        self._changed = True

    def _reached(self, place: _Place, when: float) -> None:
        kept = self._attempts.get(place)
        if kept:
            kept[:] = [one for one in kept if one.phase not in SESSION_PHASES or one.time > when]
            if not kept:
                del self._attempts[place]

    def refused(self, facts: RefusalFacts) -> None:
        """Our own door refused something."""
        facts.first = facts.first or facts.time
        kept = _renewed(self._refusals, facts.source, REFUSED_SOURCES)
        for index, before in enumerate(kept):
            if _kind(before) == _kind(facts):
                facts.first, facts.count = before.first, before.count + 1
                del kept[index]
                break
        kept.append(facts)
        del kept[:-REFUSALS_PER_SOURCE]
        self._changed = True

    # --- what is asked ---------------------------------------------------------------------------------------------

    def attempts(self, queue: str = "") -> list[AttemptFacts]:
        """Failures of one queue, of all with "", oldest first."""
        found = [one for place, kept in self._attempts.items() if queue in ("", place[0]) for one in kept]
        return sorted(found, key=lambda one: one.time)

    def hosts(self, queue: str = "") -> list[HostFacts]:
        """Addresses of one queue, of all with "", that took mail."""
        return [facts for place, facts in self._hosts.items() if queue in ("", place[0])]

    def opening(self, session: str) -> tuple[str, ...]:
        """How one of the last good sessions began, as lines; none where that is not known any more."""
        for kept in self._openings.values():
            for one in kept:
                if one.session == session:
                    return _bounded(opening_lines(one.pieces, str(one.tls) if one.tls is not None else ""))
        return ()

    def refusals(self, source: str = "") -> list[RefusalFacts]:
        """What one source was refused, all sources with "", oldest first."""
        found = [one for kept_for, kept in self._refusals.items() if source in ("", kept_for) for one in kept]
        return sorted(found, key=lambda one: one.time)

    # --- the file ---------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up what the process before knew. A file that cannot be read is as none."""
        try:
            saved = msgspec.msgpack.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the flight recorder begins empty: %s cannot be read: %s", self._path, error)
            return
        since = self._now() - _KEPT_SECONDS
        for flights in saved.attempts[-FLIGHT_DESTINATIONS:]:
            if flights and (recent := [one for one in flights if one.time > since][-FLIGHTS_PER_DESTINATION:]):
                self._attempts[recent[0].queue, recent[0].address, recent[0].port] = recent
        for host in saved.hosts[-FLIGHT_DESTINATIONS:]:
            self._hosts[host.queue, host.address, host.port] = host
        for refused in saved.refusals[-REFUSED_SOURCES:]:
            if refused:
                self._refusals[refused[0].source] = refused[-REFUSALS_PER_SOURCE:]

    def save(self, *, at_once: bool = False) -> None:
        """Write the file where something changed and the last time is long enough ago. From any thread; never raises.

        Encoding holds the interpreter's lock throughout, so nothing changes in its midst.
        """
        now = self._now()
        if not self._changed or (not at_once and 0 <= now - self._saved_at < SAVE_SECONDS):
            return
        self._changed, self._saved_at = False, now
        data = msgspec.msgpack.encode(
            _Saved(
                _VERSION, list(self._attempts.values()), list(self._hosts.values()), list(self._refusals.values())
            )
        )  # fmt: skip
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            new.replace(self._path)
        except OSError as error:
            self._changed = True
            log.warning("the flight recorder cannot be written: %s", error)


def _renewed(kept: dict[K, list[V]], key: K, most: int) -> list[V]:
    """The list of a key, made the newest; the oldest key makes room."""
    found = kept.pop(key, None)
    if found is None:
        found = []
        while len(kept) >= most:
            del kept[next(iter(kept))]
    kept[key] = found
    return found


def _alike(one: AttemptFacts, other: AttemptFacts) -> bool:
    """Whether two failures are of one kind, whatever they differ in in numbers."""
    return (
        one.phase is other.phase
        and one.how is other.how
        and (one.code, one.status) == (other.code, other.status)
        and _words(one) == _words(other)
        and (one.alert, one.verify_code) == (other.alert, other.verify_code)
        and one.host == other.host
    )


_DIGITS: Final = str.maketrans("", "", "0123456789")


def _words(one: AttemptFacts) -> str:
    """The reply without what is another in each session: numbers and ids."""
    text = one.text.split(" [", 1)[0]
    return " ".join(word for word in text.translate(_DIGITS).split() if word.isalpha() or len(word) < 12)


def _bounded(lines: Iterable[str]) -> tuple[str, ...]:
    """The first lines of a transcript, and the last, within the limit."""
    every = list(lines)
    if sum(map(len, every)) <= FLIGHT_TRANSCRIPT_BYTES:
        return tuple(every)
    half = FLIGHT_TRANSCRIPT_BYTES // 2
    return (*_within(every, half), "* … lines left out …", *reversed(_within(every[::-1], half)))


def _within(lines: list[str], limit: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        limit -= len(line)
        if limit < 0:
            break
        kept.append(line)
    return kept
