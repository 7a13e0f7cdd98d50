# SPDX-License-Identifier: MIT
"""Randomness for names of messages and sessions: drawn from the system in pages, since each request to it costs."""

import os
from typing import Final

_PAGE: Final = 4096


class RandomBytes:
    """`os.urandom` by the page. Octets are used once. Not for keys and nonces: pages lie in memory."""

    __slots__ = ("_page", "_position")

    def __init__(self) -> None:
        self._page = b""
        self._position = 0

    def __call__(self, size: int) -> bytes:
        """So many random octets, at most a page of them."""
        end = self._position + size
        if end > len(self._page):
            self._page, end = os.urandom(max(_PAGE, size)), size
        self._position, start = end, end - size
        return self._page[start:end]
