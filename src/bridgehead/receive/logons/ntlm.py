# SPDX-License-Identifier: MIT
"""Clients that log in by NTLM within SPNEGO, where a connector takes it (`ntlm_enabled`): accepted by gss-ntlmssp, that
knows passwords from a file of its own, and asks winbind about other names where that runs (MS-NLMP, RFC 4178).

A logon must be NTLMv2 and bound to the TLS connection whatever else is set, for anybody could pass on another one. The
message is looked at before the library is asked: whose name it is, as guesses count, and that it has no older answer.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.receive.logons.kerberos import (
    GssapiContext,
    KerberosContext,
    KerberosUnavailable,
    require_library,
    said,
)
from bridgehead.smtp.sasl_gssapi import GssAnswer, GssFault

if TYPE_CHECKING:
    import gssapi

_NTLM: Final = "1.3.6.1.4.1.311.2.2.10"
_SPNEGO: Final = "1.3.6.1.5.5.2"
_OID_NTLM: Final = bytes.fromhex("060a2b06010401823702020a")
_OIDS_KERBEROS: Final = (bytes.fromhex("06092a864886f712010202"), bytes.fromhex("06092a864882f712010202"))
_OID_SPNEGO: Final = bytes.fromhex("06062b0601050502")
_SIGNATURE: Final = b"NTLMSSP\0"
_AUTHENTICATE: Final = b"\3\0\0\0"
_FIXED: Final = 64
_OLD_ANSWER: Final = 24
"""Octets of an NTLMv1 answer; those of NTLMv2 are more."""
_UNICODE: Final = 1


class NtlmMessage(NamedTuple):
    """What the client's AUTHENTICATE_MESSAGE says (MS-NLMP §2.2.1.3)."""

    domain: str
    user: str
    old: bool
    """It has an answer of LM or NTLMv1, or none."""


def require_ntlm() -> None:
    """Raises KerberosUnavailable where NTLM cannot be spoken."""
    require_library()
    import gssapi

    if gssapi.OID.from_int_seq(_NTLM) not in gssapi.raw.indicate_mechs():
        raise KerberosUnavailable("apt-get install gss-ntlmssp")


def offers_ntlm_alone(token: bytes) -> bool:
    """Whether a first token is one of SPNEGO that offers NTLM and no Kerberos."""
    spnego = token[:1] == b"\x60" and _OID_SPNEGO in token[:16]
    return spnego and _OID_NTLM in token and not any(one in token for one in _OIDS_KERBEROS)


def read_authenticate(token: bytes) -> NtlmMessage | None:
    """The message within a token of SPNEGO, None where there is none. Raises GssFault where it is none, or not one."""
    if _SIGNATURE not in token:
        return None
    message = token[token.index(_SIGNATURE) :]
    if message[8:12] != _AUTHENTICATE:
        return None
    if token.count(_SIGNATURE) > 1 or len(message) < _FIXED:
        raise GssFault("the client's NTLM message is malformed")
    lm_answer, nt_answer, domain, user = (_field(message, at) for at in (12, 20, 28, 36))
    charset = "utf-16-le" if message[60] & _UNICODE else "ascii"
    old = len(nt_answer) <= _OLD_ANSWER or lm_answer.strip(b"\0") != b""
    try:
        return NtlmMessage(domain.decode(charset), user.decode(charset), old)
    except UnicodeDecodeError:
        raise GssFault("the client's NTLM message holds a malformed name") from None


def _field(message: bytes, at: int) -> bytes:
    length, offset = int.from_bytes(message[at : at + 2], "little"), int.from_bytes(message[at + 4 : at + 8], "little")
    if offset + length > len(message):
        raise GssFault("the client's NTLM message is malformed")
    return message[offset : offset + length]


class NtlmContext(GssapiContext):
    """One client's context.

    Args:
        domains: whose accounts are logins.
        binding: to the TLS connection, b"" where there is none.
        locked: whether a login must not be tried now.
    """

    guessable = True

    def __init__(
        self, threads: ThreadPoolExecutor, domains: list[str], binding: bytes, locked: Callable[[str], bool]
    ) -> None:  # fmt: skip
        super().__init__(threads)
        self._domains, self._binding, self._locked = {one.lower() for one in domains}, binding, locked
        self._said: NtlmMessage | None = None

    async def accept(self, token: bytes) -> GssAnswer:
        """The client's next token: admitted here, accepted on a thread."""
        message = read_authenticate(token)
        if message is not None:
            self._said = message
            self._admit(message, clean_text(message.user, LOGGED_TEXT))
        return await super().accept(token)

    def _accept(self, token: bytes) -> GssAnswer:
        try:
            require_ntlm()
        except KerberosUnavailable as fault:
            raise GssFault(f"the library for NTLM is missing: {fault}", unavailable=True) from None
        import gssapi

        user = clean_text(self._said.user, LOGGED_TEXT) if self._said is not None else ""
        try:
            if self._context is None:
                self._context = self._begin()
            answer = bytes(self._context.step(token) or b"")
            if not self._context.complete:
                return GssAnswer(answer)
            return GssAnswer(answer, self._login(self._context))
        except gssapi.exceptions.BadChannelBindingsError:
            raise GssFault("the client's channel binding is to another TLS connection", name=user) from None
        except gssapi.exceptions.GSSError as error:
            raise GssFault(f"wrong name, password or channel binding by NTLM: {said(error)}", name=user) from None
        except UnicodeDecodeError:
            raise GssFault("the client's NTLM message holds a malformed name", name=user) from None

    def _admit(self, message: NtlmMessage, user: str) -> None:
        if not self._binding:
            raise GssFault("NTLM is taken over TLS only", name=user)
        if message.old:
            raise GssFault("the client answers by LM or NTLMv1, which can be broken", name=user)
        if message.domain.lower() not in self._domains:
            domain = clean_text(message.domain, LOGGED_TEXT)
            raise GssFault(f'"{domain}" is none of kerberos.ntlm_domains', name=user)
        if self._locked(message.user):
            raise GssFault("locked after too many failed logons", name=user)

    def _begin(self) -> "gssapi.SecurityContext":
        """A context that negotiates NTLM alone. With a store of credentials, a keytab's, the library would end the
        process."""
        import gssapi
        from gssapi.raw import ChannelBindings

        ntlm = gssapi.OID.from_int_seq(_NTLM)
        keys = gssapi.Credentials(usage="accept", mechs=[ntlm, gssapi.OID.from_int_seq(_SPNEGO)])
        gssapi.raw.set_neg_mechs(keys, [ntlm])
        bound = ChannelBindings(application_data=self._binding) if self._binding else None
        context = gssapi.SecurityContext(creds=keys, usage="accept", channel_bindings=bound)
        context.__DEFER_STEP_ERRORS__ = False
        return context

    def _login(self, context: "gssapi.SecurityContext") -> str:
        """The account's name, once it is certain that it is the one that was admitted, over this connection. The name
        of the target is not asked for: there is none, and the library would end the process."""
        import gssapi

        admitted = self._said
        shown = str(context.initiator_name).removesuffix("\0")  # the library counts its string's end to the name
        domain, _, user = shown.rpartition("\\")
        if context.mech != gssapi.OID.from_int_seq(_NTLM) or admitted is None:
            raise GssFault("the client used another mechanism than NTLM")
        if (domain.lower(), user.lower()) != (admitted.domain.lower(), admitted.user.lower()):
            raise GssFault("the client is not who it said", name=admitted.user)
        if gssapi.RequirementFlag.channel_bound not in context.actual_flags:
            raise GssFault("the client did not bind its NTLM logon to the TLS connection", name=user)
        return user


class EitherContext:
    """Kerberos or NTLM, as the client's first token has it."""

    def __init__(self, kerberos: KerberosContext, ntlm: NtlmContext) -> None:
        self._kerberos, self._ntlm = kerberos, ntlm
        self._chosen: GssapiContext | None = None

    @property
    def guessable(self) -> bool:
        """Whether the client proves itself by a password."""
        return self._chosen is self._ntlm

    async def accept(self, token: bytes) -> GssAnswer:
        """The client's next token."""
        if self._chosen is None:
            self._chosen = self._ntlm if offers_ntlm_alone(token) else self._kerberos
        return await self._chosen.accept(token)

    def wrap(self, message: bytes) -> bytes:
        """A message with its proof."""
        assert self._chosen is not None
        return self._chosen.wrap(message)

    def unwrap(self, token: bytes) -> bytes:
        """The client's message."""
        assert self._chosen is not None
        return self._chosen.unwrap(token)
