# SPDX-License-Identifier: MIT
"""Searches in a process of their own, so that no mail waits for them (`-m bridgehead.tracking.trace.search_process`).

Reads one order as JSON from standard input and writes one answer to standard output.
"""

import os
import sys
from contextlib import suppress

import msgspec

from bridgehead.mail.limits import TRACE_ANSWER_BYTES
from bridgehead.tracking.trace.criteria import Criteria, CriteriaError
from bridgehead.tracking.trace.search import Found
from bridgehead.tracking.trace.story import Evidence, TraceLogs, evidence, find

_NICE = 5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be found: messages by criteria, or everything about the one named."""

    logs: TraceLogs
    criteria: Criteria | None = None
    identity: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, or why it could not be looked for."""

    found: Found | None = None
    evidence: Evidence | None = None
    fault: str = ""


def answer(order: Order) -> Answer:
    """Do what an order says."""
    try:
        if order.criteria is not None:
            return Answer(found=find(order.logs, order.criteria))
        return Answer(evidence=evidence(order.logs, order.identity))
    except CriteriaError as error:
        return Answer(fault=str(error))


def main() -> int:
    """Answer one order."""
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(_NICE)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    data = msgspec.json.encode(answer(order))
    if len(data) > TRACE_ANSWER_BYTES:
        fault = "there is too much to tell; ask for fewer messages at once, or for a shorter time"
        data = msgspec.json.encode(Answer(fault=fault))
    sys.stdout.buffer.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
