# SPDX-License-Identifier: MIT
"""Clients that log in with a Kerberos ticket: security contexts accepted by the system's library, through `gssapi`.

The library is an extra, imported when it is needed. It reads the keytab with every client, so that a new key serves at
once. That may block, so tokens are accepted on threads; the Kerberos server is not asked. Which login a principal is:
`kerberos_logins.py`. Kerberos alone is taken here, also within SPNEGO, whatever the system has installed; NTLM is for
`ntlm.py`.
"""

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.receive.logons.kerberos_logins import same_principal
from bridgehead.receive.logons.settings import KerberosSettings
from bridgehead.receive.settings import ExtendedProtectionPolicy
from bridgehead.smtp.sasl_gssapi import GssAnswer, GssFault

if TYPE_CHECKING:
    import gssapi

_THREADS: Final = 2
_SPNEGO: Final = "1.3.6.1.5.5.2"
_NTLM: Final = b"NTLMSSP\0"
_NTLM_PASSWORDS: Final = "NTLM_USER_FILE"
_PATIENT: Final = "none:"
"""No replay cache: for a token that is looked at before it is taken."""

_REMEDIES: Final = (
    ("Clock skew too great", "let client and server take their time from the same source"),
    ("Ticket expired", "let the client renew its ticket (kinit)"),
    ("Ticket not yet valid", "let client, server and KDC take their time from the same source"),
    ("Request is a replay", "somebody may have copied the ticket on its way, if the client did not send it twice"),
    (
        "likely out of date",
        "the service's key was changed: put the new one into the keytab, or let the client log in anew",
    ),
    ("cannot decrypt ticket", "the keytab's key is not the KDC's: export the keytab anew"),
    ("not found in keytab", "the client asked for another service, or the keytab lacks the key: compare with klist -k"),
)
"""What the library says, and what helps."""


class KerberosUnavailable(Exception):
    """The library is not there; the text says what to install."""


def require_library() -> None:
    """Raises KerberosUnavailable where Kerberos cannot be spoken."""
    try:
        import gssapi  # noqa: F401
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError):
            raise KerberosUnavailable("pip install 'bridgehead[kerberos]'") from None
        raise KerberosUnavailable(f"install MIT Kerberos (libgssapi-krb5-2): {error}") from None


def missing_key(keytab: Path, principal: str) -> str:
    """Why tickets for this service cannot be read with the keytab, "" where they can."""
    import gssapi

    name = gssapi.Name(principal, gssapi.NameType.kerberos_principal)
    try:
        gssapi.Credentials(name=name, usage="accept", mechs=[gssapi.MechType.kerberos], store=_store(keytab))
    except gssapi.exceptions.GSSError as error:
        return said(error)
    return ""


class KerberosAcceptor:
    """Accepts security contexts with the keys of one keytab; with none until `use`."""

    def __init__(self) -> None:
        self.settings, self.keytab = KerberosSettings(), Path()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kerberos")

    def use(self, settings: KerberosSettings, keytab: Path, ntlm_passwords: Path | None = None) -> None:
        """Take these from now on. `ntlm_passwords`: gss-ntlmssp knows the file by the environment alone."""
        self.settings, self.keytab = settings, keytab
        if ntlm_passwords is not None:
            os.environ[_NTLM_PASSWORDS] = str(ntlm_passwords)
        else:
            os.environ.pop(_NTLM_PASSWORDS, None)

    def context(self, bindings: Mapping[str, bytes], policy: ExtendedProtectionPolicy) -> "KerberosContext":
        """A context for one client.

        Args:
            bindings: what binds it to its TLS connection (RFC 5929), by type.
        """
        wanted = policy is not ExtendedProtectionPolicy.NONE
        return KerberosContext(self, self._threads, bindings if wanted else {}, policy)

    def close(self) -> None:
        """End the threads; logons under way fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GssapiContext:
    """One client's context (`smtp.sasl_gssapi.GssContext`), whatever mechanism accepts its tokens."""

    guessable = False

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._context: gssapi.SecurityContext | None = None

    async def accept(self, token: bytes) -> GssAnswer:
        """The client's next token, on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._accept, token)

    def wrap(self, message: bytes) -> bytes:
        """A message with its proof."""
        import gssapi

        assert self._context is not None
        try:
            return bytes(self._context.wrap(message, False).message)
        except gssapi.exceptions.GSSError as error:
            raise GssFault(said(error)) from None

    def unwrap(self, token: bytes) -> bytes:
        """The client's message."""
        import gssapi

        assert self._context is not None
        try:
            return bytes(self._context.unwrap(token).message)
        except gssapi.exceptions.GSSError as error:
            raise GssFault(f"the client's last message is not proved: {said(error)}") from None

    def _accept(self, token: bytes) -> GssAnswer:
        raise NotImplementedError


class KerberosContext(GssapiContext):
    """A context that takes Kerberos tickets."""

    def __init__(
        self, acceptor: "KerberosAcceptor", threads: ThreadPoolExecutor, bindings: Mapping[str, bytes],
        policy: ExtendedProtectionPolicy,
    ) -> None:  # fmt: skip
        super().__init__(threads)
        self._acceptor, self._bindings, self._policy = acceptor, bindings, policy

    def _accept(self, token: bytes) -> GssAnswer:
        try:
            require_library()
        except KerberosUnavailable as fault:
            raise GssFault(f"the library for Kerberos is missing: {fault}", unavailable=True) from None
        import gssapi

        if _NTLM in token[:64]:
            raise GssFault(
                "the client offers NTLM, which is not taken: let it get a Kerberos ticket for this server's name"
            )
        try:
            if self._context is None:
                self._context = self._begin(self._binding_used(token))
            answer = bytes(self._context.step(token) or b"")
            if not self._context.complete:
                return GssAnswer(answer)
            return GssAnswer(answer, self._principal(self._context))
        except gssapi.exceptions.MissingCredentialsError as error:
            raise GssFault(f"{said(error)}: correct kerberos.keytab_file", unavailable=True) from None
        except gssapi.exceptions.BadChannelBindingsError:
            raise GssFault(
                "the client's channel binding is to another TLS connection: somebody is in between, or a proxy ends TLS"
            ) from None
        except gssapi.exceptions.BadMechanismError:
            raise GssFault("the client offers neither Kerberos nor SPNEGO with it") from None
        except gssapi.exceptions.GSSError as error:
            raise GssFault(_with_remedy(said(error))) from None
        except UnicodeDecodeError:
            raise GssFault("the ticket holds a name that is no UTF-8") from None

    def _begin(self, binding: bytes, rcache: str = "") -> "gssapi.SecurityContext":
        """A context that takes Kerberos alone, by itself or within SPNEGO, bound to this."""
        import gssapi
        from gssapi.raw import ChannelBindings

        both = [gssapi.MechType.kerberos, gssapi.OID.from_int_seq(_SPNEGO)]
        keys = gssapi.Credentials(usage="accept", mechs=both, store=_store(self._acceptor.keytab, rcache))
        gssapi.raw.set_neg_mechs(keys, [gssapi.MechType.kerberos])  # else SPNEGO tries what else the system has
        bound = ChannelBindings(application_data=binding) if binding else None
        context = gssapi.SecurityContext(creds=keys, usage="accept", channel_bindings=bound)
        context.__DEFER_STEP_ERRORS__ = False  # a fault at once, and not with the next call
        return context

    def _binding_used(self, token: bytes) -> bytes:
        """What the client's first token is bound to, of what this connection has; one that is not bound fits all."""
        import gssapi

        *others, last = [f"{kind}:".encode() + data for kind, data in self._bindings.items()] or [b""]
        for binding in others:
            try:
                self._begin(binding, _PATIENT).step(token)
            except gssapi.exceptions.BadChannelBindingsError:
                continue
            return binding
        return last

    def _principal(self, context: "gssapi.SecurityContext") -> str:
        """Who the client is, once it is certain that it meant us, by Kerberos, over this connection."""
        import gssapi

        if context.mech != gssapi.MechType.kerberos:
            raise GssFault("the client used another mechanism than Kerberos")
        service, principal = str(context.target_name), str(context.initiator_name)
        if not any(same_principal(service, own) for own in self._acceptor.settings.service_principals):
            raise GssFault(
                f"the ticket is for {clean_text(service, LOGGED_TEXT)}, which is none of kerberos.service_principals"
            )
        bound = gssapi.RequirementFlag.channel_bound in context.actual_flags
        if self._policy is ExtendedProtectionPolicy.REQUIRE and not bound:
            raise GssFault(
                "the client did not bind its logon to the TLS connection, as extended_protection_policy requires"
            )
        return principal


def _store(keytab: Path, rcache: str = "") -> dict[str, str]:
    return {"keytab": f"FILE:{keytab}"} | ({"rcache": rcache} if rcache else {})


def said(error: "gssapi.exceptions.GSSError") -> str:
    """What the library says of a fault: of the mechanism's where it knows, else in general."""
    own = error.get_all_statuses(error.min_code, False)
    known = [text for text in own if text not in ("Success", "Unknown error")]
    return clean_text("; ".join(known or error.get_all_statuses(error.maj_code, True)), LOGGED_TEXT)


def _with_remedy(text: str) -> str:
    return next((f"{text}: {remedy}" for fragment, remedy in _REMEDIES if fragment in text), text)
