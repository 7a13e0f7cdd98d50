# SPDX-License-Identifier: MIT
"""Content on its way out, in pieces of any size: line ends made CR LF, dots stuffed or chunks framed (RFC 5321 §4.5.2,
RFC 3030). Never lets a bare CR or LF through, wherever a piece is cut.
"""

from bridgehead.smtp.content import canonical_line_ends, stuff


class OutgoingContent:
    """The state between the pieces of one message."""

    __slots__ = ("_at_line_start", "_held")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held = b""

    def for_data(self, data: bytes, last: bool) -> list[bytes]:
        """A piece as DATA carries it, with the final dot behind the last."""
        out: list[bytes] = []
        data = self._whole_lines(data, last)
        if data:
            out.append(stuff(data, self._at_line_start))
            self._at_line_start = data.endswith(b"\r\n")
        if last:
            out.append(b".\r\n" if self._at_line_start else b"\r\n.\r\n")
        return out

    def for_chunk(self, data: bytes, last: bool) -> bytes:
        """A piece of text as BDAT carries it."""
        data = self._whole_lines(data, last)
        if data:
            self._at_line_start = data.endswith(b"\r\n")
        return data if self._at_line_start or not last else data + b"\r\n"

    def _whole_lines(self, data: bytes, last: bool) -> bytes:
        """A piece with every line end CR LF; a CR at its end waits for the next piece to be judged."""
        if self._held:
            data, self._held = self._held + data, b""
        if not last and data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        return canonical_line_ends(data)
