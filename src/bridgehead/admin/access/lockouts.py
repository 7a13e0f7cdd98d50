# SPDX-License-Identifier: MIT
"""Lock-out of SMTP logins: who is locked, and lifting it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.times import moment
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS
from bridgehead.receive.logons.lockout import Lockout


class LockoutView(msgspec.Struct, frozen=True, kw_only=True):
    """An account or a source that is locked.

    Attributes:
        kind: "account" or "source".
        account: the login; "" for a source as a whole.
        source: the address; for an account "" where it is locked from everywhere but where it logged in lately.
        failures: failed logons.
        strikes: how often in a row it was locked; each lock lasts twice as long as the one before.
        since, until: of this lock.
    """

    kind: str
    account: str
    source: str
    failures: int
    strikes: int
    since: datetime | None
    until: datetime | None


class LockoutLift(msgspec.Struct, frozen=True, kw_only=True):
    """`lifted`: how many accounts and sources begin anew."""

    lifted: int


class LockoutDesk(Protocol):
    """The server's table."""

    def locked(self) -> Sequence[Lockout]: ...
    def lift(self, account: str = "", source: str = "") -> int: ...


def list_lockouts(desk: LockoutDesk) -> list[LockoutView]:
    """Every lock that holds, the one that ends last first."""
    return [
        LockoutView(
            kind=one.kind.value, account=clean_text(one.account, LOGIN_NAME_CHARACTERS), source=one.source,
            failures=one.failures, strikes=one.strikes, since=moment(one.since), until=moment(one.until),
        )
        for one in desk.locked()
    ]  # fmt: skip


def lift_lockouts(desk: LockoutDesk, account: str, source: str, everybody: bool) -> LockoutLift:
    """Lift the locks of an account or a source, or all. Raises AdminFault."""
    if [bool(account), bool(source), everybody].count(True) != 1:
        raise AdminFault(INVALID, "an account, a source, or everybody: one of the three")
    try:
        lifted = desk.lift(account, source)
    except ValueError:
        raise AdminFault(INVALID, f"{clean_text(source, 100)!r} is no IP address") from None
    if not lifted and not everybody:
        message = f"nothing is held against {clean_text(account or source, LOGIN_NAME_CHARACTERS)}"
        raise AdminFault(NOT_FOUND, message, "bridgehead lockout list shows who is locked")
    return LockoutLift(lifted=lifted)
