# SPDX-License-Identifier: MIT
"""Server side of SASL: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), EXTERNAL (RFC 4422 appendix A) and
SCRAM-SHA-256 with and without channel binding (RFC 5802, RFC 7677). Mechanisms with tokens are in `sasl_oauth.py`.

Sans I/O. An exchange is a chain of steps: each takes what the client said, decoded, and returns what to do next. What
is slow, or somebody else's to say, is not judged here: the exchange asks for it with `VerifyPassword` or `Pending`.
"""

import base64
import binascii
import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS, PASSWORD_CHARACTERS
from bridgehead.mail.reply import Reply
from bridgehead.mail.secret import Secret
from bridgehead.smtp import replies


class Challenge(msgspec.Struct, frozen=True):
    """Send 334 with these octets in base64, then `step` with the answer."""

    data: bytes


class VerifyPassword(msgspec.Struct, frozen=True):
    """Find out whether this is the password, away from the event loop; the exchange is over."""

    name: str
    password: Secret


class Success(msgspec.Struct, frozen=True):
    """The client is this login; `name` is as it was given. `guessable`: it knew a password."""

    name: str
    guessable: bool = True


class Failure(msgspec.Struct, frozen=True):
    """The exchange is over. `name` and `reason` are for the log; `counts`: as a failed logon, `guessable`: of a
    password."""

    reply: Reply
    reason: str
    name: str = ""
    counts: bool = True
    guessable: bool = True


class Pending(msgspec.Struct, frozen=True):
    """`work` finds out the next step: it takes time, or asks others."""

    work: Callable[[], Awaitable["Step"]]


Step = Challenge | VerifyPassword | Pending | Success | Failure


CANCELLED: Final = Failure(replies.AUTH_CANCELLED, "the client cancelled", counts=False)


class Exchange(ABC):
    """One AUTH command's conversation. The client speaks first: within the command, or when it is asked to."""

    prompt: ClassVar[bytes] = b""
    """What a client is asked with that sent no initial response."""

    def start(self, initial: bytes | None) -> Step:
        """Begin; `initial` is the initial response, None where the command had none."""
        return Challenge(self.prompt) if initial is None else self.step(initial)

    def step(self, response: bytes | None) -> Step:
        """Go on after a `Challenge`; None: the client cancelled."""
        return CANCELLED if response is None else self.answer(response)

    @abstractmethod
    def answer(self, message: bytes) -> Step:
        """What follows from the client's next message."""


def _refused(reason: str, name: str = "") -> Failure:
    return Failure(replies.AUTH_FAILED, reason, name)


def _ask(name: str, password: str) -> VerifyPassword | Failure:
    if not name or len(name) > LOGIN_NAME_CHARACTERS or not name.isprintable():
        return _refused("the name is empty, too long or unprintable")
    if not password or len(password) > PASSWORD_CHARACTERS:
        return _refused("the password is empty or too long", name)
    return VerifyPassword(name, Secret(password))


class Plain(Exchange):
    """PLAIN: `[authzid] NUL authcid NUL password`. Acting for another identity is not possible."""

    def answer(self, message: bytes) -> Step:
        try:
            authorization, name, password = message.decode("utf-8").split("\0")
        except ValueError:
            return _refused("the message is malformed")
        if authorization not in ("", name):
            return _refused("it asks to act for another identity")
        return _ask(name, password)


class Login(Exchange):
    """LOGIN: name, then password. Obsolete, but what many devices know."""

    prompt = b"Username:"

    def __init__(self) -> None:
        self._name: str | None = None

    def answer(self, message: bytes) -> Step:
        try:
            text = message.decode("utf-8")
        except UnicodeDecodeError:
            return _refused("it is no UTF-8")
        if self._name is None:
            self._name = text
            return Challenge(b"Password:")
        return _ask(self._name, text)


class External(Exchange):
    """EXTERNAL: who the client is, TLS has shown already; it may say as which of these logins it wants to act.

    Args:
        names: logins that the client's certificate is for.
    """

    def __init__(self, names: Sequence[str], same: Callable[[str, str], bool]) -> None:
        self._names, self._same = names, same

    def answer(self, message: bytes) -> Step:
        try:
            wanted = message.decode("utf-8")
        except UnicodeDecodeError:
            return self._refused("the identity is no UTF-8")
        if len(wanted) > LOGIN_NAME_CHARACTERS or not wanted.isprintable():
            return self._refused("the identity is malformed")
        found = [name for name in self._names if not wanted or self._same(name, wanted)]
        if not found:
            return self._refused("the certificate is not for this login", wanted)
        if len(found) > 1:
            return self._refused("the certificate is for several logins, and the client names none")
        return Success(found[0], guessable=False)

    def _refused(self, reason: str, name: str = "") -> Failure:
        return Failure(replies.AUTH_FAILED, reason, name, guessable=False)


class ScramCredential(msgspec.Struct, frozen=True):
    """What the server keeps of a password (RFC 5802 §3): enough to check it, too little to log in with it elsewhere."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramCredential(hidden)"


def make_credential(password: bytes, salt: bytes, iterations: int) -> ScramCredential:
    """Derive the keys from a password (UTF-8, prepared by SASLprep). Slow on purpose: keep it off the event loop."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return ScramCredential(salt, iterations, hashlib.sha256(client_key).digest(), server_key)


def password_matches(password: bytes, credential: ScramCredential) -> bool:
    """Whether this is the password. Slow on purpose, and equally slow for all credentials of one iteration count."""
    derived = make_credential(password, credential.salt, credential.iterations)
    return hmac.compare_digest(derived.stored_key, credential.stored_key)


class ScramSha256(Exchange):
    """SCRAM-SHA-256, and SCRAM-SHA-256-PLUS where `plus` is set.

    Args:
        find: credential of a login by the name as given; for a name that is unknown, one that nobody can match but that
            looks alike, always the same for the same name (RFC 5802 §5.1 tells clients nothing else).
        nonce: printable ASCII without comma, new for each exchange, from a good source of randomness.
        bindings: what binds this connection (RFC 5929), by type. With any, SCRAM-SHA-256-PLUS is offered as well, and a
            client that could have used it but thinks it was not offered (flag "y") has been deceived.
        plus: the client chose the mechanism with channel binding.
        admit: why a login that proved its password is refused all the same, "" where it is not. Asked before our own
            proof is given, which would tell that the password was right.
    """

    def __init__(
        self, find: Callable[[str], ScramCredential], nonce: str, bindings: Mapping[str, bytes] = MappingProxyType({}),
        *, plus: bool = False, admit: Callable[[str], str] = lambda name: "",
    ) -> None:  # fmt: skip
        self._find = find
        self._nonce = nonce
        self._bindings, self._plus, self._admit = bindings, plus, admit
        self._next: Callable[[bytes], Step] = self._client_first
        self._name = ""
        self._binding = b""
        self._auth_message = ""
        self._credential: ScramCredential

    def answer(self, message: bytes) -> Step:
        return self._next(message)

    def _client_first(self, message: bytes) -> Step:
        """`n,,n=name,r=nonce` in; nonce, salt and iterations out."""
        try:
            binding, authorization, bare = message.decode("utf-8").split(",", 2)
        except ValueError:
            return _refused("the first message is malformed")
        if problem := self._problem_with_binding(binding):
            return _refused(problem)
        attributes = bare.split(",")
        if len(attributes) < 2 or attributes[0][:2] != "n=" or attributes[1][:2] != "r=":
            return _refused("the first message is malformed")
        name, nonce = _unescaped(attributes[0][2:]), attributes[1][2:]
        if not name or len(name) > LOGIN_NAME_CHARACTERS or not name.isprintable():
            return _refused("the name is malformed")
        if authorization and _unescaped(authorization.removeprefix("a=")) != name:
            return _refused("it asks to act for another identity", name)
        if not nonce or not nonce.isascii() or not nonce.isprintable() or " " in nonce:
            return _refused("the client's nonce is malformed", name)
        self._name, self._nonce = name, nonce + self._nonce
        self._binding = f"{binding},{authorization},".encode() + self._bindings.get(binding[2:], b"")
        self._credential = credential = self._find(name)
        salt = base64.b64encode(credential.salt).decode()
        server_first = f"r={self._nonce},s={salt},i={credential.iterations}"
        self._auth_message = f"{bare},{server_first}"
        self._next = self._client_final
        return Challenge(server_first.encode())

    def _problem_with_binding(self, flag: str) -> str:
        """Why the client's channel binding flag is not taken (RFC 5802 §6), "" where it is."""
        kind = flag[2:] if flag[:2] == "p=" else ""
        if self._plus:
            return "" if kind in self._bindings else "it uses no channel binding that is offered here"
        if flag == "y" and self._bindings:
            return "it was not told of SCRAM-SHA-256-PLUS, which is offered here: somebody is in between"
        return "" if flag in ("n", "y") else "it asks for channel binding with a mechanism that has none"

    def _client_final(self, message: bytes) -> Step:
        """`c=binding,r=nonce,p=proof` in; the server's own proof out."""
        credential = self._credential
        try:
            without_proof, found, proof_text = message.decode("utf-8").rpartition(",p=")
            attributes = without_proof.split(",")
            proof = base64.b64decode(proof_text, validate=True)
            binding = base64.b64decode(attributes[0].removeprefix("c="), validate=True)
        except (ValueError, binascii.Error):
            return _refused("the final message is malformed", self._name)
        if not found or len(attributes) < 2 or not attributes[0].startswith("c=") or len(proof) != 32:
            return _refused("the final message is malformed", self._name)
        if binding != self._binding or attributes[1] != f"r={self._nonce}":
            return _refused("channel binding or nonce differ", self._name)
        auth_message = f"{self._auth_message},{without_proof}".encode()
        signature = hmac.digest(credential.stored_key, auth_message, "sha256")
        client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), credential.stored_key):
            return _refused("the proof is wrong", self._name)
        if problem := self._admit(self._name):
            return _refused(problem, self._name)
        verifier = base64.b64encode(hmac.digest(credential.server_key, auth_message, "sha256"))
        self._next = self._acknowledged
        return Challenge(b"v=" + verifier)

    def _acknowledged(self, message: bytes) -> Step:
        """The client's empty answer to the server's proof."""
        if message:
            return _refused("something follows the end of the exchange", self._name)
        return Success(self._name)


def _unescaped(name: str) -> str:
    """A saslname decoded (RFC 5802 §5.1), "" where it is malformed."""
    rest = name.replace("=2C", "").replace("=3D", "")
    return "" if "=" in rest else name.replace("=2C", ",").replace("=3D", "=")
