# SPDX-License-Identifier: MIT
"""Work that may take long, as a generator that pauses after each step: the ordinary case is done at once, the rest in
slices between which the event loop sees to everything else."""

import asyncio
from collections.abc import Callable, Generator
from typing import Final, TypeVar

Result = TypeVar("Result")
Work = Generator[None, None, Result]

STEPS_AT_ONCE: Final = 100
"""A step is a look-up in the directory, of a tenth of a millisecond."""
SLICE_SECONDS: Final = 0.005


def whole(work: Work[Result]) -> Result:
    """Its result, however long it takes."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def at_once(work: Work[Result]) -> Result | None:
    """Its result where that takes few steps; None where it goes on."""
    try:
        for _ in range(STEPS_AT_ONCE):
            next(work)
    except StopIteration as end:
        result: Result = end.value
        return result
    return None


async def in_slices(work: Work[Result], monotonic: Callable[[], float], stopping: Callable[[], bool]) -> Result | None:
    """Its result; None where it was given up because `stopping` says so."""
    while not stopping():
        await asyncio.sleep(0)
        end_of_slice = monotonic() + SLICE_SECONDS
        try:
            while monotonic() < end_of_slice:
                next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
    return None
