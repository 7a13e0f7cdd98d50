# SPDX-License-Identifier: MIT
"""Canonicalization of header fields and body, over bytes (RFC 6376 §3.4). The body streams: no size is held."""

import re
from typing import Final, Protocol

_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_WSP: Final = re.compile(rb"[ \t]+")


class Digest(Protocol):
    """A hash under way, as in hashlib."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def simple_field(field: bytes) -> bytes:
    """A field as it is, with its CR LF."""
    return field


def relaxed_field(field: bytes) -> bytes:
    """Name in lower case, unfolded, white space runs as one space, none at the ends (§3.4.2)."""
    name, _, value = field.partition(b":")
    value = _WSP.sub(b" ", _FOLD.sub(b"", value).rstrip(b"\r\n")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


class BodyCanonicalizer:
    """Feeds a body, piece by piece, to a digest.

    Args:
        relaxed: white space at the ends of lines goes, runs become one space (§3.4.4); else §3.4.3.
        limit: the `l=` tag: octets of canonical body that count; None for all.
    """

    def __init__(self, digest: Digest, *, relaxed: bool, limit: int | None = None) -> None:
        self._digest, self._relaxed, self._left = digest, relaxed, limit
        self._rest = b""
        self._empty_lines = 0
        self.size = 0
        """Octets of canonical body seen, those beyond `limit` included."""

    def update(self, data: bytes) -> None:
        """Take a piece of any size."""
        data = self._rest + data
        end = data.rfind(b"\r\n") + 2
        if end == 1:
            self._rest = data
            return
        self._rest = data[end:]
        self._lines(data[:end])

    def finish(self) -> bytes:
        """The digest of the whole body."""
        if self._rest:
            self._lines(self._rest + b"\r\n")
            self._rest = b""
        if not self.size and not self._relaxed:
            self._feed(b"\r\n")  # an empty body is one CR LF (§3.4.3)
        return self._digest.digest()

    def _lines(self, lines: bytes) -> None:
        """Whole lines; empty ones at the end wait until something follows them."""
        if self._relaxed:
            lines = _WSP.sub(b" ", lines).replace(b" \r\n", b"\r\n")
        end, count = len(lines), 0
        while lines.endswith(b"\r\n", 0, end):
            end, count = end - 2, count + 1
        kept = lines[:end]
        if not kept:
            self._empty_lines += count
            return
        self._feed(b"\r\n" * self._empty_lines + kept + (b"\r\n" if count else b""))
        self._empty_lines = max(0, count - 1)

    def _feed(self, data: bytes) -> None:
        self.size += len(data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            self._digest.update(data)
