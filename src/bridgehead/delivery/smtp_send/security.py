# SPDX-License-Identifier: MIT
"""TLS and log-on of one outbound session, fail closed (RFC 3207, RFC 4954; TlsAuthLevel, SmartHostAuthMechanism).

Credentials leave only over TLS, and only after the certificate satisfied the policy.
"""

import os
import ssl
from pathlib import Path

from bridgehead.delivery.smtp_send.sasl import choose_mechanism
from bridgehead.diagnosis.facts import How, Phase
from bridgehead.mail.reply import Reply
from bridgehead.mail.secret import Secret
from bridgehead.net.smtp_client import SmtpClient, TlsFailed
from bridgehead.net.tls import ClientContexts
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse, name_matches
from bridgehead.smtp.client_events import Authenticated, AuthenticationFailed, HelloDone, Refused, TlsRefused

_BASIC = (SmartHostAuthMechanism.BASIC_AUTH, SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS)


class HostUnusable(Exception):
    """This host cannot be used now; the next may be.

    Attributes:
        status: enhanced status (class 4).
        phase, how: how far the session came and what ended it, for the flight recorder.
        reply: what the host said, None where it did not.
        tls: the handshake that failed.
        expected_name: the name that the certificate lacks.
    """

    def __init__(
        self, reason: str, status: str, phase: Phase, how: How = How.POLICY, *, reply: Reply | None = None,
        tls: TlsFailed | None = None, expected_name: str = "",
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.status = status
        self.phase = phase
        self.how = how if reply is None else How.REPLY
        self.reply = reply
        self.tls = tls
        self.expected_name = expected_name


class TlsBroken(HostUnusable):
    """STARTTLS was offered and did not work; under an opportunistic policy the host may be tried in clear."""


async def secure_session(
    client: SmtpClient, hello: HelloDone, policy: TlsPolicy, contexts: ClientContexts, host: str, seconds: float
) -> HelloDone:  # fmt: skip
    """Start TLS as the policy says; gives the hello that counts. Raises HostUnusable, TlsBroken, ConnectionLost.

    Args:
        seconds: time for the handshake.
    """
    if policy.use is TlsUse.NEVER:
        return hello
    if not hello.extensions.starttls:
        if policy.use is TlsUse.REQUIRED:
            raise HostUnusable(f"TLS is required and {host} does not offer STARTTLS", "4.7.4", Phase.STARTTLS)
        return hello
    try:
        context = contexts.get(verify=policy.verify_chain, ca_file=policy.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = f"tls_ca_file {policy.ca_file} cannot be used: {error}"
        raise HostUnusable(reason, "4.3.5", Phase.LOCAL) from None
    name = "" if host.startswith("[") else host
    try:
        event = await client.start_tls(context, name, seconds=seconds)
    except TlsFailed as error:
        raise TlsBroken(f"{host}: {error}", "4.7.5", Phase.HANDSHAKE, How.TLS, tls=error) from None
    if isinstance(event, TlsRefused):
        if policy.use is TlsUse.REQUIRED:
            reason = f"TLS is required and {host} answered STARTTLS with {event.reply}"
            raise HostUnusable(reason, "4.7.4", Phase.STARTTLS, reply=event.reply)
        return hello
    if not isinstance(event, HelloDone):
        reply = event.reply if isinstance(event, Refused) else None
        reason = f"{host} answered EHLO after STARTTLS with {reply or 'nothing of use'}"
        raise HostUnusable(reason, "4.7.5", Phase.EHLO, How.PROTOCOL, reply=reply)
    _check_names(client, policy, host)
    return event


def _check_names(client: SmtpClient, policy: TlsPolicy, host: str) -> None:
    names = client.tls.names if client.tls is not None else ()
    if policy.match_name and not name_matches(names, policy.match_name):
        shown = ", ".join(names[:5]) or "no name"
        reason = f"the certificate of {host} is for {shown}, not for {policy.match_name}"
        raise HostUnusable(reason, "4.7.5", Phase.HANDSHAKE, How.TLS, expected_name=policy.match_name)


async def log_on(client: SmtpClient, hello: HelloDone, connector: SendConnector, host: str) -> None:
    """Authenticate where the connector says so. Raises HostUnusable, ConnectionLost."""
    if connector.smart_host_auth_mechanism not in _BASIC:
        return
    if not client.engine.secure:
        raise HostUnusable(f"credentials are sent over TLS only, and {host} has none", "4.7.4", Phase.AUTH)
    try:
        password = read_secret(connector.authentication_password)
        sasl = choose_mechanism(hello.extensions.auth, connector.authentication_username, password)
    except ValueError as error:
        raise HostUnusable(f"connector {connector.name}: {error}", "4.3.5", Phase.AUTH) from None
    if sasl is None:
        offered = " ".join(hello.extensions.auth) or "nothing"
        reason = f"{host} offers {offered} for AUTH; SCRAM-SHA-256, PLAIN or LOGIN is needed"
        raise HostUnusable(reason, "4.7.4", Phase.AUTH)
    event = await client.authenticate(sasl)
    if isinstance(event, AuthenticationFailed):
        who = f"{connector.authentication_username} ({sasl.mechanism})"
        raise HostUnusable(f"{host} refused the log-on of {who}: {event.reply}", "4.7.8", Phase.AUTH, reply=event.reply)
    if not isinstance(event, Authenticated):
        raise HostUnusable(f"{host} ended the session during AUTH", "4.7.0", Phase.AUTH, How.DROPPED)


def read_secret(reference: str) -> Secret:
    """The secret behind "file:PATH" (its first line) or "env:NAME". Raises ValueError, which never holds the secret."""
    kind, _, where = reference.partition(":")
    if kind == "file" and where:
        try:
            text = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the password cannot be read from {where}: {type(error).__name__}") from None
        value = text.split("\n", 1)[0].rstrip("\r")
    elif kind == "env" and where:
        value = os.environ.get(where, "")
    else:
        raise ValueError('authentication_password must be "file:PATH" or "env:NAME"')
    if not value:
        raise ValueError(f"there is no password in {kind}:{where}")
    return Secret(value)
