# SPDX-License-Identifier: MIT
"""SASL mechanisms of the client: SCRAM-SHA-256 (RFC 7677), PLAIN (RFC 4616), LOGIN (no standard, widely asked for)."""

from collections.abc import Collection

from scramp import ScramClient, ScramException

from bridgehead.mail.secret import Secret
from bridgehead.smtp.client_events import SaslClient


class Plain:
    """PLAIN: everything in the initial response."""

    mechanism = "PLAIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._response = Secret(f"\0{username}\0{password.reveal()}")

    def initial_response(self) -> bytes | None:
        return self._response.reveal().encode()

    def respond(self, challenge: bytes) -> bytes:
        raise ValueError("PLAIN has no challenges")


class Login:
    """LOGIN: name and password, whatever the server's prompts say."""

    mechanism = "LOGIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._answers = [password, Secret(username)]

    def initial_response(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise ValueError("the server asks a third time")
        return self._answers.pop().reveal().encode()


class ScramSha256:
    """SCRAM-SHA-256: the password stays here, and the server proves that it knows it too."""

    mechanism = "SCRAM-SHA-256"

    def __init__(self, username: str, password: Secret) -> None:
        self._client = ScramClient([self.mechanism], username, password.reveal())
        self._step = 0

    def initial_response(self) -> bytes | None:
        return str(self._client.get_client_first()).encode()

    def respond(self, challenge: bytes) -> bytes:
        self._step += 1
        try:
            if self._step == 1:
                self._client.set_server_first(challenge.decode())
                return str(self._client.get_client_final()).encode()
            if self._step == 2:
                self._client.set_server_final(challenge.decode())
                return b""
        except ScramException as error:
            raise ValueError(f"SCRAM: {error}") from None
        except UnicodeDecodeError:
            raise ValueError("SCRAM: the server's words are no UTF-8") from None
        raise ValueError("SCRAM: the server asks too often")


def choose_mechanism(offered: Collection[str], username: str, password: Secret) -> SaslClient | None:
    """The best mechanism that the server offers and we know, None where there is none."""
    if "SCRAM-SHA-256" in offered:
        return ScramSha256(username, password)
    if "PLAIN" in offered:
        return Plain(username, password)
    if "LOGIN" in offered:
        return Login(username, password)
    return None
