# SPDX-License-Identifier: MIT
"""Long lists in parts. A part ends with a cursor, an opaque text that says where the next one begins.

A cursor, not an offset that clients count up: what it holds may change without them. It holds a position today, since
every list here is made whole, in an order of its own, and bounded; between two parts a queue may lose its first
messages, and the next part then begins later than it would have. Who must see all asks for all at once.
"""

import base64
import binascii
from typing import Any

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.method import Caller, Method, perform
from bridgehead.admin.ports import RunningServer
from bridgehead.mail.limits import LIST_RESULTS, LIST_WINDOW


class _Position(msgspec.Struct, forbid_unknown_fields=True, rename={"offset": "o"}):
    offset: int


async def perform_page(
    method: Method, server: RunningServer, params: msgspec.Struct, caller: Caller, cursor: str | None, limit: int
) -> tuple[Any, str]:
    """Run a method; the result, and the cursor of the part that follows, "" after the last.

    Args:
        cursor: "" for the first part, None for the whole. Results that are no lists are whole anyway.
        limit: the most items in a part; parameters that have one of their own bring it. 0: LIST_RESULTS.

    Raises AdminFault.
    """
    if cursor is None or not method.lists:
        return await perform(method, server, params, caller), ""
    offset = _offset(cursor)
    size = getattr(params, "limit", limit) or LIST_RESULTS
    if size < 1:
        raise AdminFault(INVALID, "limit: at least 1 was expected")
    if offset + size > LIST_WINDOW:
        raise AdminFault(INVALID, f"a list shows its first {LIST_WINDOW} items", "narrow it down by a filter")
    if hasattr(params, "limit"):
        params = msgspec.structs.replace(params, limit=offset + size + 1)
    items = await perform(method, server, params, caller)
    more = len(items) > offset + size and offset + size < LIST_WINDOW
    return items[offset : offset + size], _cursor(offset + size) if more else ""


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Position(offset))).decode().rstrip("=")


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        offset = msgspec.json.decode(data, type=_Position).offset
    except (binascii.Error, ValueError, msgspec.DecodeError):
        offset = -1
    if not 0 <= offset < LIST_WINDOW:
        raise AdminFault(INVALID, "this is no cursor of ours", "take it from the link of the part before")
    return offset
