# SPDX-License-Identifier: MIT
"""Why this connector and not another: explained by the very code that decides, with the configuration of that time.

Which configuration that was, the message's RECEIVE says, or the history of configurations. Where it is no longer kept,
the present one explains, and the story says so.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from bridgehead.admin.connector.connectors import Connectors, NotChosen, match_receive, match_send
from bridgehead.admin.faults import AdminFault
from bridgehead.tracking.event_line import FoundEvent


class Past(Protocol):
    """Configurations that were in force; `revisions.Revisions` is it."""

    def in_force(self, when: float) -> str: ...

    def connectors(self, revision: str) -> Connectors | None: ...


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a connector was chosen.

    Attributes:
        connector: that the configuration chooses, "" for none.
        next_hop: where it leads, in words.
        configuration: the revision that explains.
        note: whether that is the one of that time.
    """

    text: str = ""
    others: list[NotChosen] = []
    connector: str = ""
    next_hop: str = ""
    configuration: str = ""
    note: str = ""


class _Used(msgspec.Struct, frozen=True):
    connectors: Connectors
    revision: str
    is_of_then: bool
    note: str


class Reasons:
    """Explains the choices of one message's story.

    Args:
        connectors, revision: in force now; None where there is no configuration that concerns the message.
    """

    def __init__(self, connectors: Connectors | None, revision: str, past: Past | None) -> None:
        self._connectors, self._revision, self._past = connectors, revision, past
        self._kept: dict[str, Connectors | None] = {}
        self.lost: list[str] = []
        """Revisions that would have to explain and are no longer kept."""

    @property
    def can_tell(self) -> bool:
        """There is a configuration."""
        return self._connectors is not None

    def received(self, event: FoundEvent) -> Reason:
        """Why this receive connector took the message, and not another."""
        port = event.facts.get("Port", "")
        used = self._used(event.time, event.facts.get("Config", ""))
        if used is None or not port.isdecimal() or not event.server_ip or event.source != "SMTP":
            return Reason()
        try:
            match = match_receive(used.connectors, client_ip=event.client_ip, port=int(port), local_ip=event.server_ip)
        except (AdminFault, ValueError):
            return Reason()
        text = match.reason
        if match.connector != event.connector_id.rpartition("\\")[2]:
            would = f'"{match.connector}"' if match.connector else "none"
            text = f"the configuration has changed: it would now be taken by {would}"
            if used.is_of_then:
                text = f"configuration {used.revision} says that it would be taken by {would}"
        # Where all is as it was, nothing need be said about that.
        note = "" if used.revision == self._revision and used.is_of_then else used.note
        return Reason(text=text, others=match.others, configuration=used.revision, note=note)

    def sent(self, event: FoundEvent, recipient: str, size: int, decided: datetime) -> Reason:
        """Why a recipient's mail left by the connector of this attempt, which was decided at that time."""
        used = self._used(decided)
        if used is None:
            return Reason()
        try:
            match = match_send(used.connectors, recipient, size)
        except AdminFault:
            return Reason()
        text, hop = match.reason, ""
        if event.source != "STOREDRIVER" and match.connector:
            if match.connector == event.connector_id:
                hop = f" ({match.delivery_type}: {match.next_hop})"
            elif used.is_of_then:
                text = f'somebody redirected it: configuration {used.revision} chooses "{match.connector}"'
            else:
                text = f'the configuration has changed: "{match.connector}" would be chosen now'
        return Reason(
            text=text, others=match.others, next_hop=hop, configuration=used.revision, note=used.note if text else ""
        )

    def waits(self, recipient: str, size: int, decided: datetime) -> Reason | None:
        """The same for a recipient of whom no attempt is known."""
        used = self._used(decided)
        if used is None:
            return None
        try:
            match = match_send(used.connectors, recipient, size)
        except AdminFault:
            return None
        return Reason(
            text=match.reason, others=match.others, connector=match.connector, configuration=used.revision,
            note=used.note,
        )  # fmt: skip

    def _used(self, when: datetime, named: str = "") -> _Used | None:
        """The configuration that explains what was decided at a time; `named`: its revision, where that is known."""
        then = named or (self._past.in_force(when.timestamp()) if self._past is not None else "")
        if then and then != self._revision:
            if then not in self._kept:
                self._kept[then] = self._past.connectors(then) if self._past is not None else None
            kept = self._kept[then]
            if kept is not None:
                return _Used(kept, then, True, f"explained by configuration {then}, in force then")
            if then not in self.lost:
                self.lost.append(then)
        if self._connectors is None:
            return None
        note = f"explained by the present configuration {self._revision}".rstrip()
        if then == self._revision:
            return _Used(self._connectors, self._revision, bool(then), f"{note}, in force then" if then else note)
        gone = f"; {then}, in force then, is no longer kept" if then else "; which one was in force then is not known"
        return _Used(self._connectors, self._revision, False, note + gone)
