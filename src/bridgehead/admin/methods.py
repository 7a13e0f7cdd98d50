# SPDX-License-Identifier: MIT
"""The methods of the control channel: names and parameters for the use cases that need the running server."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bridgehead.admin.control import Method
from bridgehead.admin.faults import FAILED, INVALID, AdminFault
from bridgehead.admin.messages import list_messages, read_content, show_message
from bridgehead.admin.ports import ReloadOutcome, RunningServer
from bridgehead.admin.queues import (
    list_queues,
    one_queue,
    resume_queue,
    retry_queues,
    show_queue,
    suspend_queue,
    view_problems,
)
from bridgehead.admin.status import report_status
from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.queues.store import ItemFilter, MessageStatus, StoreFault


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """For methods that take none."""


class QueueParameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`name`: a queue's identity or, where several are meant, a `*` pattern. `who`: the account that asks."""

    name: str = ""
    limit: int = LIST_RESULTS
    who: str = ""


class MessageListParameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Filters of a listing, all optional; `queue` is an identity, text is compared as `*` pattern."""

    queue: str = ""
    status: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    message_id: str = ""
    limit: int = LIST_RESULTS


class MessageParameters(msgspec.Struct, forbid_unknown_fields=True):
    """`identity`: internal message id, network message id or Message-ID."""

    identity: str


class ContentParameters(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    offset: int = 0


def control_methods(server: RunningServer, now: Callable[[], float]) -> dict[str, Method]:
    """Everything that commands may ask of a running server. Faults of the store become AdminFaults."""

    async def messages(params: MessageListParameters) -> object:
        return await list_messages(server, await _filter(server, params))

    async def reload(_: NoParameters) -> ReloadOutcome:
        return await server.reload()

    async def verify(_: NoParameters) -> object:
        return view_problems(await server.verify())

    table: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[object]]]] = {
        "server.status": (NoParameters, lambda _: report_status(server, now())),
        "server.reload": (NoParameters, reload),
        "queues.list": (QueueParameters, lambda params: list_queues(server, params.name)),
        "queues.show": (QueueParameters, lambda params: show_queue(server, params.name, params.limit)),
        "queues.retry": (QueueParameters, lambda params: retry_queues(server, params.name)),
        "queues.suspend": (QueueParameters, lambda params: suspend_queue(server, params.name, params.who)),
        "queues.resume": (QueueParameters, lambda params: resume_queue(server, params.name)),
        "queues.verify": (NoParameters, verify),
        "messages.list": (MessageListParameters, messages),
        "messages.show": (MessageParameters, lambda params: show_message(server, params.identity)),
        "messages.content": (ContentParameters, lambda params: read_content(server, params.id, params.offset)),
    }
    return {name: Method(params, _guarded(answer)) for name, (params, answer) in table.items()}


def _guarded(answer: Callable[[Any], Awaitable[object]]) -> Callable[[Any], Awaitable[object]]:
    async def guarded(params: Any) -> object:
        try:
            return await answer(params)
        except StoreFault as fault:
            raise AdminFault(FAILED, f"the queue store cannot answer: {fault}", "bridgehead queue verify") from fault

    return guarded


async def _filter(server: RunningServer, params: MessageListParameters) -> ItemFilter:
    queue = (await one_queue(server, params.queue)).state if params.queue else None
    return ItemFilter(
        queue=queue.queue if queue else None,
        next_hop=queue.next_hop if queue else None,
        status=_status(params.status),
        sender=params.sender,
        recipient=params.recipient,
        subject=params.subject,
        message_id=params.message_id,
        limit=params.limit,
    )


def _status(text: str) -> MessageStatus | None:
    if not text:
        return None
    for status in MessageStatus:
        if status.name.replace("_", "").casefold() == text.replace("_", "").casefold():
            return status
    names = ", ".join(status.name.title().replace("_", "") for status in MessageStatus)
    raise AdminFault(INVALID, f'"{text}" is no message status', f"one of {names}")
