# SPDX-License-Identifier: MIT
"""Which numbers a store gives to its entries: all there are, or, beside other stores of one server, its own share."""

from typing import Final

import msgspec


class Numbers(msgspec.Struct, frozen=True):
    """Every `step`-th number from `start` on that leaves the remainder `offset`.

    Stores that are open at the same time have one step and an offset each; `start` is above all that any of them, or
    of those before them, ever gave, so that no two entries of a server have the same number, whatever store has them.
    """

    start: int = 1
    step: int = 1
    offset: int = 0

    def first(self, least: int) -> int:
        """The smallest of them that is not below `least`."""
        least = max(least, self.start)
        return least + (self.offset - least) % self.step


ALL_NUMBERS: Final = Numbers()
