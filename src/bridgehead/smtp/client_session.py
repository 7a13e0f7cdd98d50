# SPDX-License-Identifier: MIT
"""The client's session around its transactions: greeting, EHLO or HELO, STARTTLS, AUTH, single commands, the end
(RFC 5321 §3.1, §3.2, RFC 3207, RFC 4954, RFC 2033). Transactions are `client.py`.
"""

import binascii
from collections import deque

from bridgehead.mail.header import clean_text
from bridgehead.smtp.client_commands import parse_ehlo
from bridgehead.smtp.client_events import (
    NO_EXTENSIONS,
    Answered,
    Authenticated,
    AuthenticationFailed,
    Closing,
    HelloDone,
    Refused,
    SaslClient,
    TlsAccepted,
    TlsRefused,
)
from bridgehead.smtp.client_replies import ReplyReader, Transcript
from bridgehead.smtp.client_states import Awaited, ClientState
from bridgehead.smtp.client_statuses import reply_of
from bridgehead.smtp.errors import LocalProtocolError


class ClientSession(ReplyReader):
    """A conversation without transactions. Arguments: see `client.ClientConnection`."""

    def __init__(self, fqdn: str, *, lmtp: bool, force_helo: bool, transcript: Transcript | None) -> None:
        super().__init__(transcript)
        self.extensions = NO_EXTENSIONS
        self.secure = False
        self._fqdn = fqdn
        self._lmtp = lmtp
        self._force_helo = force_helo
        self._awaited: deque[Awaited] = deque((Awaited.GREETING,))
        self._out: list[bytes] = []
        self._sasl: SaslClient | None = None

    # --- what the driver asks -------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return self.state is ClientState.READY and not self._awaited

    @property
    def is_ready(self) -> bool:
        """Transactions may still be begun in this session, now or later."""
        return self.state is ClientState.READY

    def data_to_send(self) -> bytes:
        """What is to be written now; each byte is handed out once."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def start_tls(self) -> None:
        """Send STARTTLS (RFC 3207)."""
        self._require(self.is_idle and not self.secure, "STARTTLS")
        self.state = ClientState.STARTTLS
        self._command(Awaited.STARTTLS, "STARTTLS")

    def tls_established(self) -> None:
        """The handshake is done: what was learned before it is forgotten, EHLO is sent again (RFC 3207 §4.2). Call it
        at once, before the greeting, where TLS came first (implicit TLS)."""
        self._require(self.state in (ClientState.HANDSHAKE, ClientState.GREETING), "TLS")
        self.secure = True
        self.extensions = NO_EXTENSIONS
        if self.state is ClientState.HANDSHAKE:
            self._hello()

    def authenticate(self, sasl: SaslClient) -> None:
        """Begin AUTH (RFC 4954). The transcript sees the mechanism only."""
        self._require(self.is_idle, "AUTH")
        self.state = ClientState.AUTH
        self._sasl = sasl
        initial = sasl.initial_response()
        command = f"AUTH {sasl.mechanism}"
        response = "" if initial is None else " " + (_base64(initial) or "=")
        self._command(Awaited.AUTH, command + response, shown=command + (" ****" if response else ""))

    def ask(self, command: str) -> None:
        """Send one command by itself, outside of transactions; `Answered` brings its reply. For tests of a server,
        which say MAIL and RCPT and never DATA. Raises LocalProtocolError where it would hold a line end."""
        self._require(self.is_idle, "a single command")
        self._command(Awaited.ASKED, command)

    # --- replies ----------------------------------------------------------------------------------------------------

    def _on_greeting(self, code: int, lines: list[bytes]) -> None:
        if code >= 400:
            self._refused(code, lines)
        else:
            self._hello()

    def _on_ehlo(self, code: int, lines: list[bytes]) -> None:
        if code < 400:
            reply = reply_of(code, lines)
            self.extensions = parse_ehlo([line.decode("latin-1") for line in lines])
            self.state = ClientState.READY
            self._events.append(HelloDone(self.extensions, reply))
        elif code >= 500 and not self._lmtp:
            self._command(Awaited.HELO, f"HELO {self._fqdn}")
        else:
            self._refused(code, lines)

    def _on_helo(self, code: int, lines: list[bytes]) -> None:
        if code >= 400:
            self._refused(code, lines)
            return
        self.state = ClientState.READY
        self._events.append(HelloDone(NO_EXTENSIONS, reply_of(code, lines)))

    def _on_starttls(self, code: int, lines: list[bytes]) -> None:
        if code < 400:
            self.state = ClientState.HANDSHAKE
            self._events.append(TlsAccepted())
        else:
            self.state = ClientState.READY
            self._events.append(TlsRefused(reply_of(code, lines)))

    def _on_auth(self, code: int, lines: list[bytes]) -> None:
        if code < 300:
            self.state = ClientState.READY
            self._events.append(Authenticated(reply_of(code, lines)))
        elif code >= 400:
            self.state = ClientState.READY
            self._events.append(AuthenticationFailed(reply_of(code, lines)))
        else:
            assert self._sasl is not None
            try:
                response = _base64(self._sasl.respond(binascii.a2b_base64(b"".join(lines), strict_mode=True)))
            except ValueError as error:  # an answer must come, and "*" gives up (RFC 4954 §4)
                self._record(f"* ({clean_text(str(error))})")
                response = "*"
            self._command(Awaited.AUTH, response, shown="****")

    def _on_quit(self, code: int, lines: list[bytes]) -> None:
        self.state = ClientState.CLOSED
        self._events.append(Closing(reply_of(code, lines)))

    def _on_asked(self, code: int, lines: list[bytes]) -> None:
        self._events.append(Answered(reply_of(code, lines)))

    def _refused(self, code: int, lines: list[bytes]) -> None:
        self.state = ClientState.CLOSED
        self._events.append(Refused(reply_of(code, lines)))

    # --- commands -------------------------------------------------------------------------------------------------

    def _hello(self) -> None:
        self.state = ClientState.HELLO
        if self._force_helo and not self._lmtp:
            self._command(Awaited.HELO, f"HELO {self._fqdn}")
        else:
            self._command(Awaited.EHLO, f"{'LHLO' if self._lmtp else 'EHLO'} {self._fqdn}")

    def _command(self, awaited: Awaited, command: str, *, shown: str = "") -> None:
        self._record_send(shown or command)
        self._out.append(_line(command))
        self._awaited.append(awaited)

    def _require(self, allowed: bool, what: str) -> None:
        if not allowed:
            raise LocalProtocolError(f"{what} is not allowed in state {self.state.name}")


def _line(command: str) -> bytes:
    if "\r" in command or "\n" in command:
        raise LocalProtocolError("a command would hold a line end")
    return command.encode() + b"\r\n"


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
