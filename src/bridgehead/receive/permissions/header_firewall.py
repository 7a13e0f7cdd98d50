# SPDX-License-Identifier: MIT
"""The header firewall: fields that a session may not bring, or that may not leave, are removed (pure).

Received and Resent-* need the right to headers of routing, X-MS-Exchange-Organization-* and X-MS-Exchange-Forest-*
those of organization and forest: such fields carry decisions of servers of ours, so from others they are forged.
What some reader might still take for such a field goes too: odd case, white space before the colon, lines that
continue nothing. Also here, because it reads the same fields: hop counts (RFC 5321 §6.3).
"""

import re
from typing import Final

from bridgehead.mail.header import FOREST_FIELDS, INTERNAL_FIELDS, ORGANIZATION_FIELDS, without_fields
from bridgehead.receive.settings import Right

_ROUTING: Final = (b"received", b"resent-")

_HOSTS_SHOWN: Final = 8
_RECEIVED: Final = re.compile(rb"received[ \t]*:((?:[^\n]*\n[ \t])*[^\n]*)")


def strip_header(block: bytes, rights: frozenset[Right]) -> bytes:
    """The header section without the fields that `rights` do not cover; the same object where there are none.

    A first line that begins with white space continues nothing and would be taken for a part of the trace field that
    is put before it: it is removed whatever the rights.
    """
    unwanted: tuple[bytes, ...] = ()
    if Right.ACCEPT_HEADERS_ROUTING not in rights:
        unwanted += _ROUTING
    if Right.ACCEPT_HEADERS_ORGANIZATION not in rights:
        unwanted += ORGANIZATION_FIELDS
    if Right.ACCEPT_HEADERS_FOREST not in rights:
        unwanted += FOREST_FIELDS
    return without_fields(block, unwanted)


def strip_for_sending(block: bytes, preserve_routing_headers: bool) -> bytes:
    """The header section as it may leave: never with internal fields, with trace only where the connector keeps it."""
    return without_fields(block, INTERNAL_FIELDS if preserve_routing_headers else INTERNAL_FIELDS + _ROUTING)


def count_received(block: bytes, fqdn: str) -> tuple[int, int]:
    """How many Received fields a header section has, and how many of them say `by` this server."""
    lower = b"\n" + block.lower()
    name = fqdn.lower().encode()
    hops = own = 0
    position = lower.find(b"\nreceived")
    while position >= 0:
        match = _RECEIVED.match(lower, position + 1)
        if match is not None:
            hops += 1
            if name in match[1]:
                words = match[1].replace(b";", b" ").split()
                own += any(words[place : place + 2] == [b"by", name] for place in range(len(words) - 1))
        position = lower.find(b"\nreceived", position + 1)
    return hops, own


def hosts_passed(block: bytes) -> list[str]:
    """Names that the newest Received fields say `by`, newest first, some of them: the circle of a loop is in them."""
    words = re.findall(rb"(?im)^received[ \t]*:(?:[^\n]|\n[ \t])*?\sby\s+([^\s;]{1,255})", block)
    return [word.decode("ascii", "replace") for word in words[:_HOSTS_SHOWN]]
