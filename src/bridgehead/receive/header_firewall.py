# SPDX-License-Identifier: MIT
"""The header firewall: fields that a session may not bring, or that may not leave, are removed (pure).

Received and Resent-* need the right to headers of routing, X-MS-Exchange-Organization-* and X-MS-Exchange-Forest-*
those of organization and forest: such fields carry decisions of servers of ours, so from others they are forged.
What some reader might still take for such a field goes too: odd case, white space before the colon, lines that
continue nothing. Also here, because it reads the same fields: hop counts (RFC 5321 §6.3).
"""

import re
from typing import Final

from bridgehead.mail.header import HeaderBlock
from bridgehead.receive.settings import Right

_ROUTING: Final = (b"received", b"resent-")
_ORGANIZATION: Final = (b"x-ms-exchange-organization-",)
_FOREST: Final = (b"x-ms-exchange-forest-",)
_INTERNAL: Final = _ORGANIZATION + _FOREST

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
        unwanted += _ORGANIZATION
    if Right.ACCEPT_HEADERS_FOREST not in rights:
        unwanted += _FOREST
    return without_fields(block, unwanted)


def strip_for_sending(block: bytes, preserve_routing_headers: bool) -> bytes:
    """The header section as it may leave: never with internal fields, with trace only where the connector keeps it."""
    return without_fields(block, _INTERNAL if preserve_routing_headers else _INTERNAL + _ROUTING)


def without_fields(block: bytes, unwanted: tuple[bytes, ...]) -> bytes:
    """The header section without fields whose name is, or begins with, one of these in lower case.

    A name ending in "-" is the beginning of names, others are whole names.
    """
    if block[:1] not in (b" ", b"\t"):
        lower = block.lower()
        for name in unwanted:
            if name in lower:
                break
        else:
            return block
    kept: list[bytes] = []
    position = 0
    for name, start, end in HeaderBlock(block).fields:
        if start > position:
            kept.append(_without_lines(block[position:start], unwanted, not kept))
        if not _is_unwanted(name, unwanted):
            kept.append(block[start:end])
        position = end
    if position < len(block):
        kept.append(_without_lines(block[position:], unwanted, not kept))
    return b"".join(kept)


def _is_unwanted(name: bytes, unwanted: tuple[bytes, ...]) -> bool:
    return any(name.startswith(one) if one.endswith(b"-") else name == one for one in unwanted)


def _without_lines(lines: bytes, unwanted: tuple[bytes, ...], at_start: bool) -> bytes:
    """Malformed lines, less those that look like an unwanted field, with what continues them.

    `at_start`: nothing is before them, so that lines beginning with white space go too.
    """
    kept, dropping = [], at_start
    for line in lines.splitlines(keepends=True):
        bare = line.lstrip().lower()
        if bare.startswith(unwanted):
            dropping = True
        elif line[:1] not in (b" ", b"\t"):
            dropping = False
        if not dropping:
            kept.append(line)
    return b"".join(kept)


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
