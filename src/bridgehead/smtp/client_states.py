# SPDX-License-Identifier: MIT
"""Which replies a client may get to which command, as one table (RFC 5321 §4.3.2, RFC 3207, RFC 4954, RFC 3030).

The engine dispatches only through these rows. Any command may be answered 4yz or 5yz; of the positive classes only the
one in its row. The server's table is in `states.py`.
"""

from enum import IntEnum
from typing import Final, NamedTuple


class ClientState(IntEnum):
    """Where a client conversation stands."""

    GREETING = 0
    """Connected; the server speaks first."""
    HELLO = 1
    """EHLO, LHLO or HELO is on its way."""
    READY = 2
    """Extensions are known; transactions may begin, and may be under way."""
    STARTTLS = 3
    """STARTTLS is on its way."""
    HANDSHAKE = 4
    """220 to STARTTLS came: nothing but TLS may follow."""
    AUTH = 5
    """An AUTH exchange is under way."""
    QUITTING = 6
    """QUIT is on its way, perhaps behind transactions."""
    CLOSED = 7
    """Nothing more may be sent or is believed."""


class Awaited(IntEnum):
    """What the next reply answers."""

    GREETING = 0
    EHLO = 1
    HELO = 2
    STARTTLS = 3
    AUTH = 4
    RSET = 5
    MAIL = 6
    RCPT = 7
    DATA = 8
    END_OF_DATA = 9
    """The final dot."""
    EMPTY_END = 10
    """A lone dot, sent because DATA was accepted with no recipient left (RFC 2920 §3.1)."""
    CHUNK = 11
    LAST_CHUNK = 12
    QUIT = 13
    ASKED = 14
    """A single command outside of transactions, sent by a test."""


class Row(NamedTuple):
    """Attributes:
    positive: first digits of the replies that count as success.
    handler: the engine's method.
    phase: which time-out applies while it is awaited (RFC 5321 §4.5.3.2).
    """

    positive: str
    handler: str
    phase: str


REPLIES: Final[dict[Awaited, Row]] = {
    #                         success  handled by          time-out
    Awaited.GREETING: Row("2", "_on_greeting", "greeting"),
    Awaited.EHLO: Row("2", "_on_ehlo", "command"),
    Awaited.HELO: Row("2", "_on_helo", "command"),
    Awaited.STARTTLS: Row("2", "_on_starttls", "command"),
    Awaited.AUTH: Row("23", "_on_auth", "command"),
    Awaited.RSET: Row("2", "_on_rset", "command"),
    Awaited.MAIL: Row("2", "_on_mail", "command"),
    Awaited.RCPT: Row("2", "_on_rcpt", "command"),
    Awaited.DATA: Row("3", "_on_data", "data"),
    Awaited.END_OF_DATA: Row("2", "_on_end_of_data", "final"),
    Awaited.EMPTY_END: Row("2", "_on_empty_end", "final"),
    Awaited.CHUNK: Row("2", "_on_chunk", "block"),
    Awaited.LAST_CHUNK: Row("2", "_on_end_of_data", "final"),
    Awaited.QUIT: Row("2", "_on_quit", "quit"),
    Awaited.ASKED: Row("23", "_on_asked", "command"),
}  # fmt: skip
