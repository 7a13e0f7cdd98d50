# SPDX-License-Identifier: MIT
"""What the server engine tells its driver. One event is under way at a time; each command event wants one reply."""

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.envelope import BodyType, Notify, Return
from bridgehead.mail.reply import Reply


class Event(msgspec.Struct, frozen=True, gc=False):
    """Any event."""


class Hello(Event, frozen=True, gc=False):
    """EHLO (`extended`) or HELO; `domain` is the argument as sent, "" without one."""

    domain: str
    extended: bool


class Mail(Event, frozen=True, gc=False):
    """MAIL FROM with its parameters; `size` 0 where not declared."""

    reverse_path: Mailbox
    size: int = 0
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: Return = Return.UNSPECIFIED
    envelope_id: str = ""
    auth: str = ""
    require_tls: bool = False


class Rcpt(Event, frozen=True, gc=False):
    """RCPT TO with its parameters. A bare `<postmaster>` or other local part has an empty domain."""

    forward_path: Mailbox
    notify: Notify = Notify.UNSPECIFIED
    original_recipient: str = ""


class Data(Event, frozen=True, gc=False):
    """DATA; a 354 reply starts the content."""


class Bdat(Event, frozen=True, gc=False):
    """BDAT: answered with `begin_chunk`, and with a reply at `ChunkEnd`."""

    size: int
    last: bool


class ContentPiece(Event, frozen=True, gc=False):
    """Octets of content, without dot-stuffing. Wants no reply; `final`: the end of DATA, wants the reply to it."""

    data: bytes
    final: bool


class ChunkEnd(Event, frozen=True, gc=False):
    """A chunk is complete and wants its reply; with `last` the message is."""

    last: bool


class Auth(Event, frozen=True, gc=False):
    """AUTH; `initial` is the decoded initial response, None without one. A 334 reply asks for `AuthResponse`."""

    mechanism: str
    initial: bytes | None


class AuthResponse(Event, frozen=True, gc=False):
    """The decoded answer to a challenge; None: the client cancelled with "*"."""

    data: bytes | None


class StartTls(Event, frozen=True, gc=False):
    """STARTTLS; after a positive reply call `tls_established` when the handshake is done."""


class Rset(Event, frozen=True, gc=False):
    """RSET."""


class Noop(Event, frozen=True, gc=False):
    """NOOP."""


class Vrfy(Event, frozen=True, gc=False):
    """VRFY."""

    argument: str


class Expn(Event, frozen=True, gc=False):
    """EXPN."""

    argument: str


class Help(Event, frozen=True, gc=False):
    """HELP."""


class Quit(Event, frozen=True, gc=False):
    """QUIT."""


class Violation(Event, frozen=True, gc=False):
    """The client broke the protocol: count it and send `reply`. `close`: nothing after it can be trusted."""

    reply: Reply
    close: bool = False
