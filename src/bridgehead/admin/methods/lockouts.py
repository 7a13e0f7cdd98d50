# SPDX-License-Identifier: MIT
"""Methods about lock-out of SMTP logins: list, lift."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.admin.access.lockouts import LockoutLift, LockoutView, lift_lockouts, list_lockouts
from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


class LiftOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One of the three: `account`, a login; `source`, an IP address; `everybody`."""

    account: str = ""
    source: str = ""
    everybody: bool = False


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> list[LockoutView]:
    """Accounts and sources that are locked after failed logons."""
    return list_lockouts(server.lockouts)


async def lift(server: RunningServer, params: LiftOrder, _: Caller) -> LockoutLift:
    """Lift a lock and forget the failed logons."""
    return lift_lockouts(server.lockouts, params.account, params.source, params.everybody)


def _lifted(answers: Sequence[LockoutLift], _: LiftOrder) -> LockoutLift:
    """Every worker has the same table."""
    return LockoutLift(lifted=max(one.lifted for one in answers))


METHODS: Final = {
    "lockouts.list": Method(
        params=NoParameters,
        result=list[LockoutView],
        answer=list_,
        role=Role.HELP_DESK,
        route="GET /lockouts",
        merge=FIRST,
    ),
    "lockouts.lift": Method(
        params=LiftOrder,
        result=LockoutLift,
        answer=lift,
        role=Role.OPERATOR,
        route="POST /lockouts/lift",
        merge=Merge(Ask.KNOWING, _lifted),
    ),
}
