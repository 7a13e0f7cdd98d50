# SPDX-License-Identifier: MIT
"""What a report returns of the original message (RFC 3461 §4.3, RFC 3462 §2), without what is ours alone.

Reading is bounded: a message above the limit is never read as a whole, only its header.
"""

from typing import Final

import msgspec

from bridgehead.mail.content import Content
from bridgehead.mail.header import INTERNAL_FIELDS, split_header, without_fields
from bridgehead.mail.limits import ENCODED_ORIGINAL_BYTES, REPORTED_HEADER_BYTES, TEXT_LINE_BYTES

_NOTHING_LEFT: Final = b"X-Original-Message: header not available\r\n"


class Original(msgspec.Struct, frozen=True):
    """Header fields with CR LF, and from the empty line on the body; None where only the header is returned."""

    header: bytes
    body: bytes | None = None

    @property
    def is_eight_bit_message(self) -> bool:
        """A whole message that can only be carried as 8bit: its header is ASCII, its body is not."""
        return self.body is not None and self.header.isascii() and not self.body.isascii()


def read_original(
    content: Content | None, *, headers_only: bool, max_size: int, strict: bool = False
) -> Original:  # fmt: skip
    """Read what is returned. An original that cannot be read is no reason not to report: then its header is missing.

    Args:
        headers_only: the sender asked for RET=HDRS.
        max_size: octets above which only the header is returned; a smaller bound holds for what has to be encoded.
        strict: it came without BINARYMIME, so nothing but CR LF ended its lines: a large body is not searched for that.
    """
    if content is None:
        return Original(_NOTHING_LEFT)
    whole = not headers_only and content.size <= max_size
    try:
        header, rest = _halves(content, whole)
    except OSError:
        return Original(_NOTHING_LEFT)
    header = without_internal_fields(header)
    if not header.endswith(b"\r\n"):
        # Cut off in mid-field, or a message that ends with its header.
        header = header[: header.rfind(b"\r\n") + 2] or _NOTHING_LEFT
    if not header.isascii() and len(rest) > ENCODED_ORIGINAL_BYTES:
        whole = False
    if not whole or not rest or not _is_text(header) or not (_has_short_lines(rest) if strict else _is_text(rest)):
        return Original(_as_lines(header) if not _is_text(header) else header)
    return Original(header, rest)


def _halves(content: Content, whole: bool) -> tuple[bytes, bytes]:
    """Header, and from the empty line on the body; of the header REPORTED_HEADER_BYTES at most where not all is wanted.
    A body is read in one piece and not copied. Raises OSError."""
    if content.data is not None:
        return split_header(content.data if whole else content.data[:REPORTED_HEADER_BYTES])
    with content.open() as stream:
        header, rest = split_header(start := stream.read(REPORTED_HEADER_BYTES))
        if not whole or len(start) == content.size:
            return header, rest
        if not rest:
            return split_header(start + stream.read(content.size - len(start)))
        stream.seek(len(header))
        return header, stream.read(content.size - len(header))


def without_internal_fields(header: bytes) -> bytes:
    """The header without the fields that mean something inside the organization only."""
    return without_fields(header, INTERNAL_FIELDS)


def _is_text(data: bytes) -> bool:
    """Lines within RFC 5322's limit, no NUL, no bare CR or LF: fit to stand in a part that is not binary."""
    if b"\0" in data or not data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
        return False
    return _has_short_lines(data)


def _has_short_lines(data: bytes) -> bool:
    """All within RFC 5322's limit. One look for each thousand octets, since a long original holds up the event loop."""
    position = 0
    while len(data) - position > TEXT_LINE_BYTES:
        end = data.rfind(b"\r\n", position, position + TEXT_LINE_BYTES + 2)
        if end < 0:
            return False
        position = end + 2
    return True


def _as_lines(header: bytes) -> bytes:
    """A header whose lines are malformed, with each made fit to be quoted."""
    lines = header.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    kept = (line[:TEXT_LINE_BYTES] for line in lines if line)
    return b"".join(line + b"\r\n" for line in kept)
