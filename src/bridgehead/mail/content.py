# SPDX-License-Identifier: MIT
"""A message's content: header and body as they came, never re-serialized.

Small content is `BytesContent`; large content is in a file of the queue (`queues/sqlite/content_files.py`). Content in
a queue is without dot-stuffing and ends as its sender ended it.
"""

import io
from typing import BinaryIO, Protocol

import msgspec


class Content(Protocol):
    """What every kind of content offers."""

    @property
    def size(self) -> int:
        """Octets, header included."""

    @property
    def data(self) -> bytes | None:
        """All of it where it is in memory already, else None."""

    def open(self) -> BinaryIO:
        """A readable binary stream from the start. Raises OSError where it is gone or unreadable."""


class BytesContent(msgspec.Struct, frozen=True, gc=False):
    """Content held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)
