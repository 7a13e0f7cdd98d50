# SPDX-License-Identifier: MIT
"""Methods about the Safety Net: status, list, resubmit, and requests to resubmit."""

from typing import Final

import msgspec

from bridgehead.admin.merge import TOGETHER, Ask, Merge
from bridgehead.admin.method import Caller, ListLimit, Method, NoParameters, Number, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue import joining
from bridgehead.admin.queue.safety_net import (
    KeptList,
    RequestView,
    SafetyNetView,
    Selection,
    cancel,
    list_kept,
    resubmit,
    show_request,
    show_safety_net,
)
from bridgehead.mail.limits import LIST_RESULTS


class KeptListParameters(Selection, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which messages; `limit`: the most shown."""

    limit: ListLimit = LIST_RESULTS


class ResubmitParameters(Selection, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which messages; `dry_run`: only count them; `reason`: for the record."""

    dry_run: bool = False
    reason: str = ""


class RequestParameters(msgspec.Struct, forbid_unknown_fields=True):
    """`id`: of a request to resubmit."""

    id: Number


async def status(server: RunningServer, _: NoParameters, __: Caller) -> SafetyNetView:
    """How the Safety Net is: since when it keeps mail, how large it is, and the latest requests."""
    return await show_safety_net(server.safety_net)


async def list_(server: RunningServer, params: KeptListParameters, _: Caller) -> KeptList:
    """Delivered mail that is kept, oldest first."""
    return await list_kept(server.safety_net, _selection(params), params.limit)


async def start(server: RunningServer, params: ResubmitParameters, caller: Caller) -> RequestView:
    """Resubmit delivered mail, in the background; with `dry_run`, count it."""
    return await resubmit(
        server.safety_net, _selection(params), dry_run=params.dry_run, by=caller.name, reason=params.reason
    )  # fmt: skip


async def request(server: RunningServer, params: RequestParameters, _: Caller) -> RequestView:
    """How far a request to resubmit is."""
    return await show_request(server.safety_net, params.id)


async def stop(server: RunningServer, params: RequestParameters, _: Caller) -> RequestView:
    """Stop a request to resubmit; what it resubmitted by then is on its way."""
    return await cancel(server.safety_net, params.id)


def _selection(params: Selection) -> Selection:
    return Selection(**{field: getattr(params, field) for field in Selection.__struct_fields__})


METHODS: Final = {
    "safety_net.status": Method(
        params=NoParameters, result=SafetyNetView, answer=status, role=Role.HELP_DESK, route="GET /safety-net",
        merge=TOGETHER,
    ),
    "safety_net.list": Method(
        params=KeptListParameters, result=KeptList, answer=list_, role=Role.HELP_DESK, route="GET /safety-net/messages",
        merge=Merge(Ask.ALL, joining.kept),
    ),
    "safety_net.resubmit": Method(
        params=ResubmitParameters, result=RequestView, answer=start, role=Role.OPERATOR,
        route="POST /safety-net/requests",
        merge=TOGETHER,
    ),
    "safety_net.request": Method(
        params=RequestParameters, result=RequestView, answer=request, role=Role.HELP_DESK,
        route="GET /safety-net/requests/{id}",
        merge=TOGETHER,
    ),
    "safety_net.cancel": Method(
        params=RequestParameters, result=RequestView, answer=stop, role=Role.OPERATOR,
        route="POST /safety-net/requests/{id}/cancel",
        merge=TOGETHER,
    ),
}  # fmt: skip
