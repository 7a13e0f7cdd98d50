# SPDX-License-Identifier: MIT
"""One meaning of a refusal, told by its words: a row of the tables `replies_*.py`.

`says` and `do` may use {who} (the server that said it), {ip}, {fqdn}, {queue} and other words of `replies.py`, `says`
also named groups of the pattern.
"""

import re
from typing import NamedTuple

from bridgehead.diagnosis.facts import Owner


class ReplyRule(NamedTuple):
    """One meaning. `rows` are those of the table of symptoms in docs/reference/causes.md."""

    id: str
    rows: tuple[int, ...]
    owner: Owner
    pattern: "re.Pattern[str]"
    says: str
    do: str


def reply_rule(id_: str, rows: tuple[int, ...], owner: Owner, pattern: str, says: str, do: str) -> ReplyRule:
    """A row; the pattern is compared without case, with the code, the enhanced code and the words in one line."""
    return ReplyRule(id_, rows, owner, re.compile(pattern, re.IGNORECASE), says, do)
