# SPDX-License-Identifier: MIT
"""Methods about queued messages: list, show, content."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.merge import ONE, Ask, Merge, in_order
from bridgehead.admin.method import Caller, ListLimit, Method, Number, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue import joining
from bridgehead.admin.queue.messages import (
    ContentPart,
    MessageDetail,
    MessageView,
    export_message,
    list_messages,
    read_content,
    show_message,
)
from bridgehead.admin.queue.queues import one_queue
from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.queues.store import ItemFilter, MessageStatus


class MessageListParameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Filters of a listing, all optional; `queue` is an identity, text is compared as `*` pattern, `filter` is an
    expression: {FromAddress -like '*@contoso.com' -and Size -gt 1MB}."""

    queue: str = ""
    status: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    message_id: str = ""
    filter: str = ""
    limit: ListLimit = LIST_RESULTS


class MessageParameters(msgspec.Struct, forbid_unknown_fields=True):
    """`identity`: internal message id, network message id or Message-ID."""

    identity: str


class ContentParameters(msgspec.Struct, forbid_unknown_fields=True):
    """`id`: internal message id; `offset`: octets to skip."""

    id: Number
    offset: Number = 0


async def list_(server: RunningServer, params: MessageListParameters, _: Caller) -> list[MessageView]:
    """Queued messages that fit, by age; with a filter in order of id."""
    return await list_messages(server, await _filter(server, params), params.filter)


async def show(server: RunningServer, params: MessageParameters, _: Caller) -> list[MessageDetail]:
    """Every queued part of one message."""
    return await show_message(server, params.identity)


async def content(server: RunningServer, params: ContentParameters, _: Caller) -> ContentPart:
    """A piece of a queued message's content."""
    return await read_content(server, params.id, params.offset)


async def export(server: RunningServer, params: ContentParameters, _: Caller) -> ContentPart:
    """A piece of a queued message as a file that the replay directory takes back."""
    return await export_message(server, params.id, params.offset)


def _parts(answers: Sequence[list[MessageDetail]], _: MessageParameters) -> list[MessageDetail]:
    return [one for answer in answers for one in answer]


METHODS: Final = {
    "messages.list": Method(
        params=MessageListParameters, result=list[MessageView], answer=list_, role=Role.HELP_DESK,
        route="GET /messages",
        merge=in_order(joining.age, Ask.KNOWING, names_queue="queue"),
    ),
    "messages.show": Method(
        params=MessageParameters, result=list[MessageDetail], answer=show, role=Role.VIEWER,
        route="GET /messages/{identity}",
        merge=Merge(Ask.KNOWING, _parts),
    ),
    "messages.export": Method(
        params=ContentParameters, result=ContentPart, answer=export, role=Role.OPERATOR,
        route="GET /messages/{id}/export",
        merge=ONE,
    ),
    "messages.content": Method(
        params=ContentParameters, result=ContentPart, answer=content, role=Role.OPERATOR,
        route="GET /messages/{id}/content",
        merge=ONE,
    ),
}  # fmt: skip


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
