# SPDX-License-Identifier: MIT
"""Methods about actions on queued messages: try dry, start, list, show, undo."""

from typing import Final

import msgspec

from bridgehead.admin.merge import TOGETHER, Ask, Merge
from bridgehead.admin.method import Caller, ListLimit, Method, Number, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.actions import (
    ActionOrder,
    ActionPreview,
    ActionView,
    list_actions,
    preview_action,
    show_action,
    start_action,
    undo_action,
)
from bridgehead.mail.limits import LIST_RESULTS


class ActionListParameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`limit`: the most actions shown."""

    limit: ListLimit = LIST_RESULTS


class ActionNumber(msgspec.Struct, forbid_unknown_fields=True):
    """`id`: the action's number."""

    id: Number


class ActionUndo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`id`: the action's number; `reason`: why it is undone."""

    id: Number
    reason: str = ""


async def preview(server: RunningServer, params: ActionOrder, _: Caller) -> ActionPreview:
    """What an action would do to which messages; nothing is changed."""
    return await preview_action(server, params)


async def start(server: RunningServer, params: ActionOrder, caller: Caller) -> ActionView:
    """Act on queued messages; the record of it, which may still be Running."""
    return await start_action(server, params, caller.name)


async def list_(server: RunningServer, params: ActionListParameters, _: Caller) -> list[ActionView]:
    """Recorded actions, the latest first."""
    return await list_actions(server, params.limit)


async def show(server: RunningServer, params: ActionNumber, _: Caller) -> ActionView:
    """One action: who, when, why, on what, and what became of it."""
    return await show_action(server, params.id)


async def undo(server: RunningServer, params: ActionUndo, caller: Caller) -> ActionView:
    """Restore what an action changed and what has not left since; the record of that."""
    return await undo_action(server, params.id, caller.name, params.reason)


METHODS: Final = {
    "actions.preview": Method(
        params=ActionOrder, result=ActionPreview, answer=preview, role=Role.VIEWER, route="GET /action-preview",
        merge=Merge(Ask.SUPERVISOR),
    ),
    "actions.start": Method(
        params=ActionOrder, result=ActionView, answer=start, role=Role.OPERATOR, route="POST /actions",
        merge=TOGETHER,
    ),
    "actions.list": Method(
        params=ActionListParameters, result=list[ActionView], answer=list_, role=Role.VIEWER, route="GET /actions",
        merge=TOGETHER,
    ),
    "actions.show": Method(
        params=ActionNumber, result=ActionView, answer=show, role=Role.VIEWER, route="GET /actions/{id}",
        merge=TOGETHER,
    ),
    "actions.undo": Method(
        params=ActionUndo, result=ActionView, answer=undo, role=Role.OPERATOR, route="POST /actions/{id}/undo",
        merge=TOGETHER,
    ),
}  # fmt: skip
