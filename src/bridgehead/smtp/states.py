# SPDX-License-Identifier: MIT
"""Which command is allowed when, and where a positive answer leads: the server's side as one table (RFC 5321 §4.1.4).

The engine dispatches only through these rows; a negative reply never moves the state. The client's table is in
`client_states.py`.
"""

from enum import IntEnum
from typing import Final, NamedTuple


class State(IntEnum):
    """Where a server conversation stands."""

    CONNECTED = 0
    """Greeted, no hello yet."""
    READY = 1
    """Hello done, no transaction."""
    MAIL = 2
    """Reverse-path accepted."""
    RCPT = 3
    """At least one forward-path accepted."""
    DATA = 4
    """354 sent: octets are content."""
    BDAT = 5
    """At least one chunk accepted, the last not yet."""
    AUTH = 6
    """334 sent: the next line answers a challenge."""
    HANDSHAKE = 7
    """220 to STARTTLS sent: nothing but TLS may follow."""
    CLOSED = 8


class Verb(NamedTuple):
    """One row.

    Attributes:
        allowed: states in which the command is legal.
        leads_to: state after a positive reply; None: the state stays.
        ends_group: nothing may be pipelined behind it (RFC 2920 §3.1).
        takes_argument: True must, False must not, None may.
        idle: brings no message; too many in a row end the session.
    """

    allowed: frozenset[State]
    leads_to: State | None
    ends_group: bool = False
    takes_argument: bool | None = None
    idle: bool = False


_ANY = frozenset({State.CONNECTED, State.READY, State.MAIL, State.RCPT, State.BDAT})
_GREETED = _ANY - {State.CONNECTED}
_READY = frozenset({State.READY})

VERBS: Final[dict[bytes, Verb]] = {
    #             allowed in                                positive reply leads to
    b"EHLO": Verb(_ANY, State.READY, ends_group=True, idle=True),
    b"HELO": Verb(_ANY, State.READY, ends_group=True, idle=True),
    b"LHLO": Verb(frozenset(), None),
    b"MAIL": Verb(_READY, State.MAIL, takes_argument=True),
    b"RCPT": Verb(frozenset({State.MAIL, State.RCPT}), State.RCPT, takes_argument=True),
    b"DATA": Verb(frozenset({State.RCPT}), State.DATA, ends_group=True, takes_argument=False),
    b"BDAT": Verb(frozenset({State.RCPT, State.BDAT}), State.BDAT, takes_argument=True),
    b"RSET": Verb(_ANY, None, takes_argument=False, idle=True),
    b"NOOP": Verb(_ANY, None, idle=True),
    b"VRFY": Verb(_ANY, None, takes_argument=True, idle=True),
    b"EXPN": Verb(_ANY, None, takes_argument=True, idle=True),
    b"HELP": Verb(_ANY, None, idle=True),
    b"AUTH": Verb(_READY, None, ends_group=True, takes_argument=True, idle=True),
    b"STARTTLS": Verb(_READY, State.HANDSHAKE, ends_group=True, takes_argument=False),
    b"QUIT": Verb(_ANY, State.CLOSED, ends_group=True, takes_argument=False),
}  # fmt: skip
