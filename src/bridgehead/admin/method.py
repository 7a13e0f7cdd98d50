# SPDX-License-Identifier: MIT
"""What a method is: one thing that operators may ask of the running server, said once for every way to ask it.

The tables of methods are in `methods/`, one file for each subject, joined in `methods/table.py`. From them follow the
internal channel (`calls/control.py`) and the HTTP interface with its description; commands use the latter.
"""

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Annotated, Any, Final, get_origin

import msgspec

from bridgehead.admin.access.concealment import asks_about_subjects, without_subjects
from bridgehead.admin.faults import FAILED, FORBIDDEN, AdminFault
from bridgehead.admin.merge import UNDECLARED, Merge
from bridgehead.admin.ports import RunningServer
from bridgehead.mail.limits import LIST_WINDOW
from bridgehead.queues.store import StoreFault


class Role(IntEnum):
    """What somebody may do; each role may do what those before it may.

    HELP_DESK sees queues, messages and traces without subjects; VIEWER sees everything that is not secret; OPERATOR
    acts on queues and messages; ADMINISTRATOR changes the server itself.
    """

    HELP_DESK = 1
    VIEWER = 2
    OPERATOR = 3
    ADMINISTRATOR = 4


SUBJECTS_FROM: Final = Role.VIEWER
"""The least role that sees subjects."""


def role_name(role: Role) -> str:
    """A role as people write it: "help-desk"."""
    return role.name.lower().replace("_", "-")


class Caller(msgspec.Struct, frozen=True):
    """Who asks: an account of this machine or a login of the HTTP interface, what it may do, and from where it asks.

    `origin`: "local" for a Unix socket, else "192.0.2.7:49152".
    """

    name: str
    role: Role = Role.ADMINISTRATOR
    origin: str = "local"


Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An id or an offset in parameters: what the store can hold."""
ListLimit = Annotated[int, msgspec.Meta(ge=1, le=LIST_WINDOW)]
"""The most items of a list, in parameters."""


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """For methods that take none."""


Answer = Callable[[RunningServer, Any, Caller], Awaitable[Any]]
"""(server, parameters, caller) → result. Raises AdminFault."""


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One method.

    Attributes:
        params: type of its parameters; unknown ones are refused.
        result: type of what it gives, for the description and for those who decode it.
        answer: does the work; its docstring describes the method to people.
        role: the least that may call it.
        route: HTTP verb and path, "POST /queues/{name}/suspend"; names in braces are fields of `params`, the other
            fields travel in the query (GET, DELETE) or the body. GET methods change nothing; all others are audited.
        merge: how several workers answer it together.
    """

    params: type[msgspec.Struct]
    result: Any
    answer: Answer
    role: Role
    route: str
    merge: Merge = UNDECLARED

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return not self.route.startswith("GET ")

    @property
    def lists(self) -> bool:
        """Whether its result is a list, which can be had in parts."""
        return get_origin(self.result) is list


async def perform(method: Method, server: RunningServer, params: msgspec.Struct, caller: Caller) -> Any:
    """Run a method for somebody who may: the one place where roles are enforced.

    Raises AdminFault, also for what the store cannot answer.
    """
    if caller.role < method.role:
        message = f"this takes the role {role_name(method.role)}; {caller.name} has {role_name(caller.role)}"
        raise AdminFault(FORBIDDEN, message, "ask an administrator")
    blind = caller.role < SUBJECTS_FROM
    if blind and asks_about_subjects(params):
        raise AdminFault(FORBIDDEN, f"{role_name(caller.role)} may not ask about subjects", "leave the subject out")
    try:
        result = await method.answer(server, params, caller)
    except StoreFault as fault:
        raise AdminFault(FAILED, f"the queue store cannot answer: {fault}", "bridgehead queue verify") from fault
    return without_subjects(result) if blind else result
