# SPDX-License-Identifier: MIT
"""What the client sends, as octets: cut into lines, content up to its final dot, and counted chunks (RFC 5321 §2.3.8,
§4.5.2, RFC 3030). What a line means, and when which of them is due, is `server.py`.
"""

from typing import Final

from bridgehead.mail.limits import AUTH_LINE_BYTES, STREAM_CHUNK_BYTES
from bridgehead.smtp import replies
from bridgehead.smtp.content import END_OF_DATA, repair_bare_lf, unstuff
from bridgehead.smtp.events import ChunkEnd, ContentPiece, Event, Violation
from bridgehead.smtp.states import State

_END: Final = b".\r\n"
LINE_DOT: Final = b"\r\n."
_CLOSED: Final = State.CLOSED


class ServerInput:
    """The reading half of a server connection.

    Args:
        repair_bare_lf: bare LF in commands and DATA becomes CR LF before anything else sees it.
    """

    __slots__ = (
        "_at_line_start", "_buffer", "_chunk_last", "_chunk_left", "_dotless", "_held", "_held_size", "_leads_to",
        "_position", "_repair", "_repair_after_cr", "_scanned", "idle_commands", "state", "waiting",
    )  # fmt: skip

    def __init__(self, repair_bare_lf: bool) -> None:
        self.state = State.CONNECTED
        self.idle_commands = 0
        """Commands in a row that brought no message."""
        self._repair = repair_bare_lf
        self._repair_after_cr = False
        self._buffer = b""
        self._position = 0
        self._scanned = 0
        self._at_line_start = True
        self._held: list[bytes] = []
        """Segments of content not yet in the buffer."""
        self._held_size = 0
        self._dotless = 0
        """Octets at the start of the buffer that are known to hold no line beginning with a dot."""
        self.waiting: Event | None = None
        """The event that an answer is due to."""
        self._leads_to: State | None = None
        self._chunk_left = -1
        self._chunk_last = False

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client. They are ignored once the conversation is closed."""
        if self.state is _CLOSED:
            return
        if self._repair and self._chunk_left < 0:
            data = self._repaired(data)
        if self._held:
            searched, self._held_size = self._held_size, 0
            self._held.append(data)
            self._buffer, self._position, self._scanned = b"".join(self._held), 0, searched
            self._dotless = searched
            self._held.clear()
            return
        self._buffer = self._buffer[self._position :] + data if self._position < len(self._buffer) else data
        self._scanned = max(0, self._scanned - self._position)
        self._position = 0

    def _hold(self, data: bytes) -> bool:
        """Put a segment of content aside that cannot hold its end, to be joined with the others only once."""
        held = self._held
        if held:
            if len(held[-1]) < 4 or LINE_DOT in held[-1][-4:] + data[:4]:
                return False
        elif self._at_line_start and data.startswith(b"."):
            return False
        size = self._held_size + len(data)
        if size >= STREAM_CHUNK_BYTES or LINE_DOT in data:
            return False
        self._buffer, self._position = b"", 0
        held.append(data)
        self._held_size = size
        return True

    @property
    def pending_bytes(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._buffer) - self._position + self._held_size

    def _repaired(self, data: bytes) -> bytes:
        """`data` with bare LF repaired, mindful of a CR at the end of the piece before."""
        after_cr, self._repair_after_cr = self._repair_after_cr, data.endswith(b"\r")
        if after_cr and data.startswith(b"\n"):
            return b"\n" + repair_bare_lf(data[1:])
        return repair_bare_lf(data)

    def _hand_out(self, event: Event, leads_to: State | None) -> Event:
        self.waiting = event
        self._leads_to = leads_to
        return event

    # --- lines ----------------------------------------------------------------------------------------------------

    def _next_line(self, limit: int) -> bytes | Violation | None:
        """A line without its CR LF, checked for what may not stand in it."""
        end = self._buffer.find(b"\r\n", self._position)
        length = (len(self._buffer) if end < 0 else end) - self._position
        if length > limit and (length > AUTH_LINE_BYTES or not self._begins_auth()):
            return Violation(replies.LINE_TOO_LONG, close=True)
        if end < 0:
            if self._buffer.find(b"\n", self._position) >= 0:
                return Violation(replies.BARE_CR_OR_LF_IN_COMMAND, close=True)
            return None
        line = self._buffer[self._position : end]
        self._position = end + 2
        if b"\n" in line or b"\r" in line or b"\0" in line:
            return Violation(replies.BARE_CR_OR_LF_IN_COMMAND, close=True)
        return line

    def _begins_auth(self) -> bool:
        """Whether the next line is AUTH, whose initial response may be a ticket or a token (RFC 4954 §4)."""
        return self._buffer[self._position : self._position + 5].upper() == b"AUTH "

    # --- DATA -----------------------------------------------------------------------------------------------------

    def _next_content(self) -> Event | None:
        buffer, position = self._buffer, self._position
        if self._at_line_start:
            if buffer.startswith(_END, position):
                self._position = position + 3
                return self._content_end(b"")
            if len(buffer) - position < 3 and _END.startswith(buffer[position:]):
                return None
        end = buffer.find(END_OF_DATA, max(position, self._scanned - 4))
        if end >= 0:
            self._position = end + 5
            return self._content_end(buffer[position : end + 2])
        self._scanned = len(buffer)
        if len(buffer) - position < STREAM_CHUNK_BYTES:
            return None
        return self._content_part(buffer, position)

    def _content_end(self, piece: bytes) -> Event:
        if self._at_line_start and piece.startswith(b"."):
            piece = piece[1:]
        if piece.find(LINE_DOT, max(0, self._dotless - 4)) >= 0:
            piece = piece.replace(LINE_DOT, b"\r\n")
        self._scanned = self._dotless = 0
        self.idle_commands = 0
        self.state = State.READY
        return self._hand_out(ContentPiece(piece, final=True), None)

    def _content_part(self, buffer: bytes, position: int) -> Event:
        """A piece of long content that ends with a line, or in the middle of an endless one but never after its CR."""
        cut = buffer.rfind(b"\r\n", position) + 2
        complete = cut > position + 1
        if not complete:
            cut = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        piece = buffer[position:cut]
        data = unstuff(piece) if self._at_line_start else _unstuff_inner(piece)
        self._position, self._at_line_start = cut, complete
        self._scanned, self._dotless = cut, 0
        return ContentPiece(data, final=False)

    # --- chunks ---------------------------------------------------------------------------------------------------

    def _next_chunk_content(self) -> Event | None:
        if self._chunk_left == 0:
            self._chunk_left = -1
            if self._chunk_last:
                self.idle_commands = 0
            return self._hand_out(ChunkEnd(self._chunk_last), self._leads_to)
        available = min(len(self._buffer) - self._position, self._chunk_left)
        if available <= 0 or (available < self._chunk_left and available < STREAM_CHUNK_BYTES):
            return None
        piece = self._buffer[self._position : self._position + available]
        self._position += available
        self._chunk_left -= available
        return ContentPiece(piece, final=False)


def _unstuff_inner(piece: bytes) -> bytes:
    """Like `unstuff` for a piece that begins in the middle of a line."""
    return piece.replace(b"\r\n.", b"\r\n") if b"\r\n." in piece else piece
