# SPDX-License-Identifier: MIT
"""Methods about queues: list, show, retry, suspend, resume, verify."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.admin.merge import TOGETHER, Ask, Merge
from bridgehead.admin.method import Caller, ListLimit, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue import joining
from bridgehead.admin.queue.queues import (
    ProblemView,
    QueueAction,
    QueueDetail,
    QueueView,
    list_queues,
    resume_queues,
    retry_queues,
    show_queue,
    suspend_queues,
    view_problems,
)
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LIST_RESULTS, REASON_TEXT


class QueuePattern(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`name`: a queue's identity, next hop domain or connector, or a `*` pattern for several; "" for all.
    `filter`: those among them that fit: {MessageCount -gt 100 -and Status -eq 'Retry'}."""

    name: str = ""
    filter: str = ""


class QueueChoice(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`name`: a queue's identity, next hop domain or connector, or a `*` pattern for several; `filter`: those among
    them that fit. `reason`: why; needed for more than one queue."""

    name: str
    reason: str = ""
    filter: str = ""


class QueueShow(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`limit`: the most messages shown."""

    name: str
    limit: ListLimit = LIST_RESULTS


async def list_(server: RunningServer, params: QueuePattern, _: Caller) -> list[QueueView]:
    """Queues that hold messages or are not Active, those with most messages first."""
    return await list_queues(server, params.name, params.filter)


async def show(server: RunningServer, params: QueueShow, _: Caller) -> QueueDetail:
    """One queue with its first messages."""
    return await show_queue(server, params.name, params.limit)


async def retry(server: RunningServer, params: QueueChoice, _: Caller) -> list[QueueAction]:
    """Try a queue again now, or all that match a `*` pattern and fit a filter."""
    return await retry_queues(server, params.name, params.filter)


async def suspend(server: RunningServer, params: QueueChoice, caller: Caller) -> list[QueueAction]:
    """Stop delivery from queues, or the processing of Submission or Unreachable; what is under way finishes."""
    return await suspend_queues(server, params.name, caller.name, _reason(params), params.filter)


async def resume(server: RunningServer, params: QueueChoice, caller: Caller) -> list[QueueAction]:
    """Let suspended queues go on."""
    return await resume_queues(server, params.name, caller.name, _reason(params), params.filter)


def _reason(params: QueueChoice) -> str:
    return clean_text(params.reason, REASON_TEXT)


async def verify(server: RunningServer, _: NoParameters, __: Caller) -> list[ProblemView]:
    """Check the whole queue store without changing it."""
    return view_problems(await server.verify())


def _problems(answers: Sequence[list[ProblemView]], _: NoParameters) -> list[ProblemView]:
    """Lost mail first, and in whose queue."""
    found = [
        msgspec.structs.replace(one, subject=f"worker {number}: {one.subject}")
        for number, answer in enumerate(answers, 1)
        for one in answer
    ]
    return sorted(found, key=lambda problem: not problem.lost)


METHODS: Final = {
    "queues.list": Method(
        params=QueuePattern, result=list[QueueView], answer=list_, role=Role.HELP_DESK, route="GET /queues",
        merge=TOGETHER,
    ),
    "queues.show": Method(
        params=QueueShow, result=QueueDetail, answer=show, role=Role.HELP_DESK, route="GET /queues/{name}",
        merge=Merge(Ask.KNOWING, joining.queue_detail, names_queue="name"),
    ),
    "queues.retry": Method(
        params=QueueChoice, result=list[QueueAction], answer=retry, role=Role.OPERATOR,
        route="POST /queues/{name}/retry",
        merge=TOGETHER,
    ),
    "queues.suspend": Method(
        params=QueueChoice, result=list[QueueAction], answer=suspend, role=Role.OPERATOR,
        route="POST /queues/{name}/suspend",
        merge=TOGETHER,
    ),
    "queues.resume": Method(
        params=QueueChoice, result=list[QueueAction], answer=resume, role=Role.OPERATOR,
        route="POST /queues/{name}/resume",
        merge=TOGETHER,
    ),
    "queues.verify": Method(
        params=NoParameters, result=list[ProblemView], answer=verify, role=Role.VIEWER,
        route="GET /queue-store/problems",
        merge=Merge(Ask.ALL, _problems),
    ),
}  # fmt: skip
