# SPDX-License-Identifier: MIT
"""From bytes to replies, whatever the server sends: strict line ends, one code for each reply, bounds (RFC 5321 §4.2).

What a reply means is `client.py`'s to say. The transcript is written here too, without credentials.
"""

from collections.abc import Callable
from typing import Final

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import AUTH_LINE_BYTES, REPLY_LINE_BYTES, REPLY_LINES
from bridgehead.smtp.client_events import ClientEvent
from bridgehead.smtp.client_states import ClientState
from bridgehead.smtp.errors import RemoteProtocolError

_CODES: Final = {str(code).encode(): code for code in range(200, 600)}
_DELIMITERS: Final = (b" ", b"-", b"")
_HANDSHAKE: Final = ClientState.HANDSHAKE
_SHORT_LINE: Final = 512

Transcript = Callable[[str, str], None]
"""Called with ">", "<" or "*" and one line. Never sees content or credentials."""


class ReplyReader:
    """The reading half of a client connection.

    Args:
        transcript: takes the conversation's lines.
    """

    def __init__(self, transcript: Transcript | None) -> None:
        self.state = ClientState.GREETING
        self._transcript = transcript
        self._buffer = b""
        self._lines: list[bytes] = []
        self._code = 0
        self._events: list[ClientEvent] = []

    def receive_data(self, data: bytes) -> list[ClientEvent]:
        """Bytes from the server. Raises RemoteProtocolError, after which the connection is good for nothing."""
        if self.state is ClientState.CLOSED:
            return []
        if self.state is ClientState.HANDSHAKE:
            self.state = ClientState.CLOSED
            raise RemoteProtocolError("the server sent more behind its 220 to STARTTLS, before the handshake")
        if self._buffer:
            data = self._buffer + data
        self._events = []
        position = 0
        quiet = self._transcript is None
        try:
            while (end := data.find(b"\r", position)) >= 0:
                # The common case, one short line, needs no further function; all else goes through `_receive_line`.
                code = _CODES.get(data[position : position + 3])
                if (
                    quiet
                    and code is not None
                    and data[end : end + 2] == b"\r\n"
                    and data[position + 3] == 32
                    and end - position <= _SHORT_LINE
                    and not self._lines
                    and data.find(b"\n", position, end) < 0
                ):
                    self._receive_reply(code, [data[position + 4 : end]])
                    position = end + 2
                else:
                    end = data.find(b"\n", position)
                    if end < 0:
                        break
                    self._receive_line(data, position, end - 1)
                    position = end + 1
                if self.state >= _HANDSHAKE and self._is_over(len(data) > position):
                    return self._events
            if data.find(b"\n", position) >= 0:
                raise RemoteProtocolError("a reply line ends with a bare LF")
            if len(data) - position > self._line_limit:
                raise RemoteProtocolError(f"a reply line is longer than {self._line_limit} octets")
        except RemoteProtocolError:
            self.state = ClientState.CLOSED
            raise
        self._buffer = data[position:]
        return self._events

    def _receive_reply(self, code: int, lines: list[bytes]) -> None:
        """One whole reply."""
        raise NotImplementedError

    @property
    def reply_under_way(self) -> bool:
        """The beginning of a reply is here, its end is not."""
        return bool(self._buffer or self._lines)

    @property
    def _line_limit(self) -> int:
        return AUTH_LINE_BYTES if self.state is ClientState.AUTH else REPLY_LINE_BYTES

    def _receive_line(self, data: bytes, start: int, end: int) -> None:
        """One line, its CR at `end`."""
        if end < start or data[end] != 13 or data.find(b"\r", start, end) >= 0:
            raise RemoteProtocolError("a reply line holds a bare CR or LF")
        if end - start > self._line_limit:
            raise RemoteProtocolError(f"a reply line is longer than {self._line_limit} octets")
        code = _CODES.get(data[start : start + 3])
        delimiter = data[start + 3 : min(start + 4, end)]
        if code is None or delimiter not in _DELIMITERS:
            raise RemoteProtocolError(f"no reply: {_shown(data[start:end])}")
        lines = self._lines
        if lines and code != self._code:
            raise RemoteProtocolError(f"one reply with two codes, {self._code} and {code}")
        lines.append(data[start + 4 : end])
        if delimiter == b"-":
            self._code = code
            if len(lines) >= REPLY_LINES:
                raise RemoteProtocolError(f"a reply of more than {REPLY_LINES} lines")
            return
        self._lines = []
        if self._transcript is not None:
            self._record_reply(code, lines)
        self._receive_reply(code, lines)

    def _is_over(self, more: bool) -> bool:
        """After a line that may have ended the conversation, or its part in the clear."""
        if self.state is ClientState.HANDSHAKE and more:
            raise RemoteProtocolError("the server sent more behind its 220 to STARTTLS, before the handshake")
        if self.state is ClientState.HANDSHAKE or self.state is ClientState.CLOSED:
            self._buffer = b""
            return True
        return False

    # --- the transcript -------------------------------------------------------------------------------------------

    def _record_send(self, command: str) -> None:
        if self._transcript is not None:
            self._transcript(">", command)

    def _record(self, note: str) -> None:
        if self._transcript is not None:
            self._transcript("*", note)

    def _record_reply(self, code: int, lines: list[bytes]) -> None:
        assert self._transcript is not None
        if code == 334:
            lines = [b"****"]
        for number, line in enumerate(lines, 1):
            mark = " " if number == len(lines) else "-"
            self._transcript("<", f"{code}{mark}{clean_text(line.decode('utf-8', 'replace'))}")


def _shown(data: bytes) -> str:
    return clean_text(data.decode("utf-8", "replace"), 200)
