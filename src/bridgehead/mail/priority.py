# SPDX-License-Identifier: MIT
"""The priority that a message asks for, and the one it gets (Exchange's priority queuing; RFC 2156 §5.3.6, RFC 4021).

Asked for by `Importance`, else `X-Priority`, else `Priority`, the first that says anything known.
"""

from collections.abc import Mapping
from typing import Final

from bridgehead.mail.item import MailItem, Priority

PRIORITY_FIELDS: Final = (b"importance", b"x-priority", b"priority")
"""In order of precedence."""

_HIGH, _NORMAL, _LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
_MEANINGS: Final[dict[bytes, dict[bytes, Priority]]] = {
    b"importance": {b"high": _HIGH, b"normal": _NORMAL, b"low": _LOW},
    b"x-priority": {b"1": _HIGH, b"2": _HIGH, b"3": _NORMAL, b"4": _LOW, b"5": _LOW},
    b"priority": {b"urgent": _HIGH, b"normal": _NORMAL, b"non-urgent": _LOW},
}


def priority_asked(fields: Mapping[bytes, bytes]) -> Priority:
    """What these header fields ask for.

    Args:
        fields: first values by lower-case name. "1 (Highest)" reads as "1".
    """
    for name in PRIORITY_FIELDS:
        words = fields.get(name, b"").lower().split(maxsplit=1)
        if words and (meant := _MEANINGS[name].get(words[0])) is not None:
            return meant
    return _NORMAL


def priority_granted(item: MailItem, max_high_size: int | None) -> Priority:
    """The priority that a message gets which asks for `item.priority`.

    Args:
        max_high_size: octets up to which a message may be of high priority; None where priorities are not read.

    Low is for everybody to ask for, High only for those who count as from inside.
    """
    if max_high_size is None:
        return _NORMAL
    if item.priority is _HIGH and (not item.authenticated or item.size > max_high_size):
        return _NORMAL
    return item.priority
