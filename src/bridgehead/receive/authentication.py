# SPDX-License-Identifier: MIT
"""Logins on a session: which mechanisms a connector offers, how an exchange ends, when failures end the session.

RFC 4954. Passwords in clear text travel under TLS only. Every failed logon has the same reply after the same delay,
whatever was wrong; the reason goes to the log.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from bridgehead.directory.users import User
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.reply import Reply
from bridgehead.mail.secret import Secret
from bridgehead.receive.permissions import Principal, PrincipalKind, rights_of
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector, Right
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import Exchange, Login, Plain, ScramCredential, ScramSha256, VerifyPassword

_VERIFIERS: Final = 2
"""Threads for slow hashes: enough for a rush, too few to starve the event loop."""
_NONCE_BYTES: Final = 18


class Credentials(Protocol):
    """Where logins are known."""

    def find(self, name: str) -> User | None:
        """The enabled login with this name."""

    def credential(self, name: str) -> ScramCredential:
        """What SCRAM needs of a login; for an unknown one a verifier that no password matches."""

    def verify(self, name: str, password: Secret) -> bool:
        """Whether this is the password. Slow; called on a thread. Takes the same time for unknown names."""


def mechanisms(connector: ReceiveConnector, tls: bool) -> tuple[str, ...]:
    """The mechanisms to offer, best first."""
    configured = connector.auth_mechanism
    offered: tuple[str, ...] = ("SCRAM-SHA-256",) if AuthMechanism.SCRAM_SHA_256 in configured else ()
    if tls and _takes_passwords(connector):
        offered += ("PLAIN", "LOGIN")
    return offered


def _takes_passwords(connector: ReceiveConnector) -> bool:
    configured = connector.auth_mechanism
    return AuthMechanism.BASIC_AUTH in configured or AuthMechanism.BASIC_AUTH_REQUIRE_TLS in configured


class Authenticator:
    """Judges logins for all sessions.

    Args:
        random_bytes: good randomness, for nonces.
    """

    def __init__(self, credentials: Credentials, random_bytes: Callable[[int], bytes]) -> None:
        self._credentials = credentials
        self._random_bytes = random_bytes
        self._threads = ThreadPoolExecutor(_VERIFIERS, thread_name_prefix="authentication")

    def exchange(self, mechanism: str, connector: ReceiveConnector, tls: bool) -> Exchange | Reply:
        """Begin an exchange, or the reply that refuses the mechanism (name in upper case)."""
        if mechanism not in mechanisms(connector, tls):
            if mechanism in mechanisms(connector, True):
                return replies.ENCRYPTION_REQUIRED
            return replies.MECHANISM_UNRECOGNIZED
        if mechanism == "PLAIN":
            return Plain()
        if mechanism == "LOGIN":
            return Login()
        return ScramSha256(self._credentials.credential, self._random_bytes(_NONCE_BYTES).hex())

    async def verify(self, request: VerifyPassword) -> bool:
        """Whether a password is right, found out on a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, self._credentials.verify, request.name, request.password
        )  # fmt: skip

    def principal(self, name: str, connector: ReceiveConnector) -> Principal | None:
        """As whom a session runs after this login succeeded; None where the login has no right to submit there,
        which is answered like a wrong password, or was disabled meanwhile."""
        user = self._credentials.find(name)
        if user is None:
            return None
        principal = principal_of(user)
        return principal if Right.SUBMIT in rights_of(connector, principal) else None

    def close(self) -> None:
        """End the threads; logons under way fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def principal_of(user: User) -> Principal:
    """A login as a principal, its addresses in the form used to compare."""
    return Principal(
        PrincipalKind.USER,
        user.name,
        frozenset(parse_mailbox(address).key for address in user.addresses),
        frozenset(_grant_key(grant) for grant in user.send_as),
    )


def _grant_key(grant: str) -> str:
    """A send_as entry as `Principal.may_send_as` compares it."""
    if grant == "*":
        return grant
    if grant.startswith("*@"):
        return "*@" + parse_mailbox(f"x{grant[1:]}").domain_key
    return parse_mailbox(grant).key


class LogonFailures:
    """Failed logons of one session (MaxLogonFailures)."""

    __slots__ = ("_count", "_limit")

    def __init__(self, connector: ReceiveConnector) -> None:
        self._count = 0
        self._limit = connector.max_logon_failures

    def add(self) -> Reply:
        """Count one. The reply to give after AuthTarpitInterval; 421 ends the session, with a limit of 0 never."""
        self._count += 1
        if self._limit and self._count >= self._limit:
            return replies.TOO_MANY_LOGON_FAILURES
        return replies.AUTH_FAILED
