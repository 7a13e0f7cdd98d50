# SPDX-License-Identifier: MIT
"""Logins on a session: which mechanisms a connector offers, how an exchange ends, when failures end the session.

RFC 4954. Passwords in clear text travel under TLS only. Every failed logon has the same reply at the same time after
the client's last word, whatever was wrong; the reason goes to the log. Lock-out across sessions is in `lockout.py`.
"""

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec

from bridgehead.directory.user_record import User, canonical_name
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.reply import Reply
from bridgehead.mail.secret import Secret
from bridgehead.net.channel_binding import channel_bindings
from bridgehead.net.tls import certificate_identities
from bridgehead.receive.logons.kerberos import KerberosAcceptor
from bridgehead.receive.logons.kerberos_logins import login_of
from bridgehead.receive.logons.ldap.logins import Verdict
from bridgehead.receive.logons.ldap.servers import LoginsUnavailable
from bridgehead.receive.logons.lockout import LockoutTable
from bridgehead.receive.logons.ntlm import EitherContext, NtlmContext
from bridgehead.receive.permissions.rights import Principal, PrincipalKind, grant_key, rights_of
from bridgehead.receive.settings import AuthMechanism, ExtendedProtectionPolicy, ReceiveConnector, Right
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import (
    Exchange,
    External,
    Failure,
    Login,
    Plain,
    ScramCredential,
    ScramSha256,
    Success,
    VerifyPassword,
)
from bridgehead.smtp.sasl_gssapi import Gssapi, GssContext, GssFault, GssVerdict
from bridgehead.smtp.sasl_oauth import OAuthBearer, TokenJudge, TokenVerdict, XOAuth2

_VERIFIERS: Final = 2
"""Threads for slow hashes: enough for a rush, too few to starve the event loop."""
_NONCE_BYTES: Final = 18


class Credentials(Protocol):
    """Where logins are known."""

    def find(self, name: str) -> User | None:
        """The enabled login with this name."""

    def holds(self, name: str) -> bool:
        """Whether there is such a login, disabled or not: then it is nobody else's."""

    def find_by_certificate(self, identities: Collection[str]) -> list[User]:
        """The enabled logins that a client's certificate is for."""

    def credential(self, name: str) -> ScramCredential:
        """What SCRAM needs of a login; for an unknown one a verifier that no password matches."""

    def verify(self, name: str, password: Secret) -> bool:
        """Whether this is the password. Slow; called on a thread. Takes the same time for unknown names."""


class DirectoryLogins(Protocol):
    """Where further logins are known."""

    async def verify(self, name: str, password: Secret) -> Verdict:
        """Whose name and password these are. Raises LoginsUnavailable."""

    async def look_up(self, name: str) -> Verdict:
        """The login of this name. Raises LoginsUnavailable."""

    async def ask_for_nobody(self) -> None:
        """Ask what a wrong password is asked, about nobody. Raises LoginsUnavailable."""


class Verified(msgspec.Struct, frozen=True):
    """What became of a password. `user`: of the directory, None for one of the file's; `asked`: whether it was."""

    step: Success | Failure
    user: User | None = None
    asked: bool = False


class Channel(msgspec.Struct, frozen=True):
    """The connection that a client logs in on.

    Attributes:
        source: its IP address.
        bindings: what binds a login to this TLS connection, by RFC 5929's type.
        identities: by what its certificate may be named in the user file (`net.tls.certificate_identities`).
    """

    source: str
    tls: bool = False
    bindings: Mapping[str, bytes] = {}
    identities: tuple[str, ...] = ()


def channel_of(source: str, connection: ssl.SSLObject | None) -> Channel:
    """What a session's connection shows; None in clear."""
    if connection is None:
        return Channel(source)
    return Channel(source, True, channel_bindings(connection), certificate_identities(connection))


def mechanisms(
    connector: ReceiveConnector, tls: bool, binding: bool = True, certificate: bool = True
) -> tuple[str, ...]:  # fmt: skip
    """The mechanisms to offer, best first; SCRAM with channel binding, EXTERNAL and GSSAPI that must be bound where the
    connection has what they need."""
    configured = connector.auth_mechanism
    offered: tuple[str, ...] = ()
    if tls and certificate and AuthMechanism.EXTERNAL in configured:
        offered = ("EXTERNAL",)
    if AuthMechanism.INTEGRATED in configured and ((tls and binding) or not _must_bind(connector)):
        offered += ("GSSAPI",)
    if AuthMechanism.SCRAM_SHA_256 in configured:
        offered += ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256") if tls and binding else ("SCRAM-SHA-256",)
    if tls and AuthMechanism.OAUTH in configured:
        offered += ("OAUTHBEARER", "XOAUTH2")
    if tls and _takes_passwords(connector):
        offered += ("PLAIN", "LOGIN")
    return offered


def _must_bind(connector: ReceiveConnector) -> bool:
    """Whether a logon by Kerberos needs channel binding."""
    return connector.extended_protection_policy is ExtendedProtectionPolicy.REQUIRE


def _takes_passwords(connector: ReceiveConnector) -> bool:
    configured = connector.auth_mechanism
    return AuthMechanism.BASIC_AUTH in configured or AuthMechanism.BASIC_AUTH_REQUIRE_TLS in configured


async def _no_issuers(token: Secret, claimed: str) -> TokenVerdict:
    return TokenVerdict(reason="there are no [[auth_servers]]")


class Authenticator:
    """Judges logins for all sessions.

    Args:
        random_bytes: good randomness, for nonces.
        lockout: accounts and sources that failed too often.
        now: Unix time.

    Attributes:
        judge_token: finds out whose token it is; to be set where issuers are configured.
        directory: asked about passwords, and the logins of tickets, of names that `credentials` does not hold; to be
            set where one is configured.
        kerberos: accepts tickets, once it was told of a keytab.
    """

    def __init__(
        self, credentials: Credentials, random_bytes: Callable[[int], bytes], lockout: LockoutTable,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._credentials = credentials
        self._random_bytes = random_bytes
        self.lockout, self._now = lockout, now
        self.judge_token: TokenJudge = _no_issuers
        self.directory: DirectoryLogins | None = None
        self.kerberos = KerberosAcceptor()
        self._threads = ThreadPoolExecutor(_VERIFIERS, thread_name_prefix="authentication")
        # Of its own: gss-ntlmssp may ask DNS and winbind, and hold up nobody else meanwhile.
        self._ntlm_threads = ThreadPoolExecutor(_VERIFIERS, thread_name_prefix="ntlm")

    def exchange(
        self, mechanism: str, connector: ReceiveConnector, channel: Channel,
        vouched: Callable[[User], None] = lambda user: None,
    ) -> Exchange | Reply:  # fmt: skip
        """Begin an exchange, or the reply that refuses the mechanism (name in upper case).

        Args:
            vouched: is told of a login that the directory vouches for, before the exchange ends with its name.
        """
        if mechanism not in mechanisms(connector, channel.tls, bool(channel.bindings), bool(channel.identities)):
            if not channel.tls and mechanism in mechanisms(connector, True):
                return replies.ENCRYPTION_REQUIRED
            return replies.MECHANISM_UNRECOGNIZED
        if mechanism == "PLAIN":
            return Plain()
        if mechanism == "LOGIN":
            return Login()
        if mechanism == "OAUTHBEARER":
            return OAuthBearer(self.judge_token)
        if mechanism == "XOAUTH2":
            return XOAuth2(self.judge_token)
        if mechanism == "EXTERNAL":
            names = [user.name for user in self._credentials.find_by_certificate(channel.identities)]
            return External(names, lambda name, wanted: name == canonical_name(wanted))
        if mechanism == "GSSAPI":
            context = self._context(connector, channel)
            return Gssapi(
                context, lambda principal, wanted: self._login_of(principal, wanted, vouched, ntlm=context.guessable)
            )  # fmt: skip
        return ScramSha256(
            self._credentials.credential, self._random_bytes(_NONCE_BYTES).hex(), channel.bindings,
            plus=mechanism.endswith("-PLUS"), admit=lambda name: self.objection(name, connector, channel.source),
        )  # fmt: skip

    async def verify(self, request: VerifyPassword, connector: ReceiveConnector, source: str) -> Verified:
        """Whether a password is right: by the file, on a thread; for names that it does not hold, by the directory.

        Who does not come in is answered as the directory lets it be answered, and after as long, whoever knows the
        name: whether it is away, or slow, must tell nobody which names are in the file, or locked.
        """
        name, loop = request.name, asyncio.get_running_loop()
        if await loop.run_in_executor(self._threads, self._credentials.verify, name, request.password):
            verified = Verified(Success(name))
        elif self.directory is None or self._credentials.holds(name):
            verified = Verified(Failure(replies.AUTH_FAILED, "wrong name or password", name))
        elif self.lockout.is_locked(canonical_name(name), source, self._now(), guessable=True):
            # The directory counts failures, too: whoever guesses here must not lock the account there.
            verified = Verified(Failure(replies.AUTH_FAILED, "locked after too many failed logons", name))
        else:
            verified = await self._ask_directory(self.directory, name, request.password)
        step, objection = verified.step, ""
        if isinstance(step, Success):
            objection = self.objection(step.name, connector, source, user=verified.user)
            if not objection:
                return verified
        if self.directory is None or (verified.asked and not objection):
            return verified
        try:
            await self.directory.ask_for_nobody()
        except LoginsUnavailable as fault:
            reason = f"{step.reason if isinstance(step, Failure) else objection}, which nobody is told while {fault}"
            return Verified(Failure(replies.AUTH_TEMPORARY, reason, name, counts=not objection))
        return verified

    async def _ask_directory(self, directory: DirectoryLogins, name: str, password: Secret) -> Verified:
        try:
            verdict = await directory.verify(name, password)
        except LoginsUnavailable as fault:
            return Verified(Failure(replies.AUTH_TEMPORARY, str(fault), name, counts=False), asked=True)
        if verdict.user is None:
            return Verified(Failure(replies.AUTH_FAILED, verdict.reason, verdict.name), asked=verdict.asked)
        if self._credentials.holds(verdict.name):
            held = "the users file has a login of that name"
            return Verified(Failure(replies.AUTH_FAILED, held, verdict.name), asked=verdict.asked)
        return Verified(Success(verdict.name), verdict.user, verdict.asked)

    def _context(self, connector: ReceiveConnector, channel: Channel) -> GssContext:
        kerberos = self.kerberos.context(channel.bindings, connector.extended_protection_policy)
        if not connector.ntlm_enabled:
            return kerberos
        end_point = channel.bindings.get("tls-server-end-point")
        ntlm = NtlmContext(
            self._ntlm_threads, self.kerberos.settings.ntlm_domains,
            b"tls-server-end-point:" + end_point if end_point else b"",
            lambda name: self.lockout.is_locked(canonical_name(name), channel.source, self._now(), guessable=True),
        )  # fmt: skip
        return EitherContext(kerberos, ntlm)

    async def _login_of(
        self, principal: str, wanted: str, vouched: Callable[[User], None], *, ntlm: bool
    ) -> GssVerdict:  # fmt: skip
        """Which login a ticket is for; one of the directory is told to `vouched`."""
        of_directory: dict[str, User] = {}

        async def find(name: str) -> User | str:
            user = self._credentials.find(name)
            if user is not None:
                return user
            missing = f'there is no enabled login "{name}": add it with `bridgehead user add`'
            if self.directory is None or self._credentials.holds(name):
                return missing
            verdict = await self.directory.look_up(name)
            if verdict.user is None or self._credentials.holds(verdict.name):
                return f"{missing}, or to the directory: {verdict.reason or 'the users file has a login of that name'}"
            of_directory[verdict.name] = verdict.user
            return verdict.user

        try:
            found = await login_of(principal, wanted, self.kerberos.settings, find, ntlm=ntlm)
        except LoginsUnavailable as fault:
            raise GssFault(str(fault), unavailable=True) from None
        if found.name in of_directory:
            vouched(of_directory[found.name])
        return found

    def objection(
        self, name: str, connector: ReceiveConnector, source: str, *, guessable: bool = True, user: User | None = None
    ) -> str:  # fmt: skip
        """Why a login that proved who it is may not come in, "" where it may. From outside, each looks like a wrong
        password. `user`: of the directory."""
        if self.lockout.is_locked(canonical_name(name), source, self._now(), guessable=guessable):
            return "locked after too many failed logons"
        if self.principal(name, connector, user) is None:
            return "no right to submit on this connector"
        return ""

    def failed(self, name: str, source: str, *, guessable: bool = True) -> None:
        """A logon failed: remember it against account and source."""
        self.lockout.failed(canonical_name(name) if name else "", source, self._now(), guessable=guessable)

    def succeeded(self, name: str, source: str) -> None:
        """A logon succeeded: the account begins anew, and is known there."""
        self.lockout.succeeded(canonical_name(name), source)

    def principal(self, name: str, connector: ReceiveConnector, user: User | None = None) -> Principal | None:
        """As whom a session runs after this login succeeded; None where the login has no right to submit there,
        which is answered like a wrong password, or was disabled meanwhile. `user`: of the directory, which has just
        vouched for it."""
        user = user or self._credentials.find(name)
        if user is None:
            return None
        principal = principal_of(user)
        return principal if Right.SUBMIT in rights_of(connector, principal) else None

    def close(self) -> None:
        """End the threads; logons under way fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._ntlm_threads.shutdown(wait=False, cancel_futures=True)
        self.kerberos.close()


def principal_of(user: User) -> Principal:
    """A login as a principal, its addresses in the form used to compare."""
    return Principal(
        PrincipalKind.USER,
        user.name,
        frozenset(parse_mailbox(address).key for address in user.addresses),
        frozenset(map(grant_key, user.send_as)),
        send_on_behalf=frozenset(map(grant_key, user.send_on_behalf)),
        primary_address=user.addresses[0] if user.addresses else "",
    )


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
