# SPDX-License-Identifier: MIT
"""The log-on of one outbound session, fail closed (RFC 4954, SmartHostAuthMechanism).

Passwords leave only over TLS, tokens only over TLS whose certificate was checked. An access token that a smart host
refuses is renewed once before that counts as a failure: it may have been revoked, or lack a right granted since.
"""

from typing import Final, Protocol

from bridgehead.delivery.oauth.claims import missing_role
from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.smtp_send.sasl import External, OAuthBearer, choose_mechanism, choose_token_mechanism
from bridgehead.delivery.smtp_send.security import HostUnusable
from bridgehead.diagnosis.facts import How, Phase
from bridgehead.diagnosis.replies import advice
from bridgehead.mail.reply import Reply
from bridgehead.mail.secret import Secret
from bridgehead.net.secrets import read_secret
from bridgehead.net.smtp_client import SmtpClient
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from bridgehead.smtp.client_events import (
    Authenticated,
    AuthenticationFailed,
    ClientEvent,
    HelloDone,
    SaslClient,
)

_BASIC: Final = (SmartHostAuthMechanism.BASIC_AUTH, SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS)


class TokenSource(Protocol):
    """Where access tokens come from."""

    async def token(self, connector: SendConnector) -> Secret:
        """One that is good for a while. Raises TokenFault."""

    async def renewed(self, connector: SendConnector, refused: Secret) -> Secret | None:
        """Another in place of one that was refused, None where there is none to be had now. Raises TokenFault."""


class TokenRefused(HostUnusable):
    """There is no token. `answer`: what the identity provider said, `remedy`: what helps; "" for nothing."""

    def __init__(self, reason: str, fault: TokenFault) -> None:
        super().__init__(reason, "4.7.0", Phase.TOKEN, fault.how)
        self.answer, self.remedy = fault.answer, fault.remedy


def logs_on(connector: SendConnector) -> bool:
    """Whether sessions of this connector log on."""
    mechanism = connector.smart_host_auth_mechanism
    return mechanism in (*_BASIC, SmartHostAuthMechanism.OAUTH, SmartHostAuthMechanism.CLIENT_CERTIFICATE)


async def log_on(
    client: SmtpClient, hello: HelloDone, connector: SendConnector, host: str, tokens: TokenSource | None = None
) -> None:  # fmt: skip
    """Authenticate where the connector says so. Raises HostUnusable, ConnectionLost.

    Args:
        tokens: for connectors that log on with access tokens.
    """
    if not logs_on(connector):
        return
    if not client.engine.secure:
        raise HostUnusable(f"credentials are sent over TLS only, and {host} has none", "4.7.4", Phase.AUTH)
    match connector.smart_host_auth_mechanism:
        case SmartHostAuthMechanism.OAUTH:
            await _with_token(client, hello, connector, host, tokens)
        case SmartHostAuthMechanism.CLIENT_CERTIFICATE:
            if "EXTERNAL" not in hello.extensions.auth:
                raise _not_offered(host, hello, "EXTERNAL")
            sasl = External(connector.authentication_username)
            _judge(await client.authenticate(sasl), connector, host, sasl)
        case _:
            await _with_password(client, hello, connector, host)


async def _with_password(client: SmtpClient, hello: HelloDone, connector: SendConnector, host: str) -> None:
    offered, user = hello.extensions.auth, connector.authentication_username
    chain = client.sent_chain if "SCRAM-SHA-256-PLUS" in offered else ()
    try:
        password = read_secret(connector.authentication_password)
        sasl = choose_mechanism(offered, user, password, chain[0] if chain else b"")
    except ValueError as error:
        raise HostUnusable(f"connector {connector.name}: {error}", "4.3.5", Phase.AUTH) from None
    if sasl is None:
        raise _not_offered(host, hello, "SCRAM-SHA-256, PLAIN or LOGIN")
    event = await client.authenticate(sasl)
    if isinstance(event, AuthenticationFailed) and sasl.mechanism.endswith("-PLUS") and "SCRAM-SHA-256" in offered:
        # The server may know other channel bindings only. The password stays here without one as well.
        sasl = choose_mechanism(["SCRAM-SHA-256"], user, password) or sasl
        event = await client.authenticate(sasl)
    _judge(event, connector, host, sasl)


async def _with_token(
    client: SmtpClient, hello: HelloDone, connector: SendConnector, host: str, tokens: TokenSource | None
) -> None:  # fmt: skip
    if tokens is None:
        raise HostUnusable(f"connector {connector.name}: there is nobody to ask for a token", "4.3.5", Phase.TOKEN)
    try:
        token = await tokens.token(connector)
        refusal = await _present(client, hello, connector, host, token)
        if refusal is not None and (fresh := await tokens.renewed(connector, token)) is not None:
            token = fresh
            refusal = await _present(client, hello, connector, host, token)
    except TokenFault as fault:
        raise TokenRefused(f"connector {connector.name}: {fault}", fault) from None
    if refusal is not None:
        raise _token_refused(connector, host, refusal, token)


async def _present(
    client: SmtpClient, hello: HelloDone, connector: SendConnector, host: str, token: Secret
) -> tuple[OAuthBearer, Reply] | None:  # fmt: skip
    """Log on with a token. None where that worked, else what was said. Raises HostUnusable, ConnectionLost."""
    sasl = choose_token_mechanism(
        hello.extensions.auth, connector.authentication_username, token, host.strip("[]"), _port(client)
    )
    if sasl is None:
        raise _not_offered(host, hello, "XOAUTH2 or OAUTHBEARER")
    if not client.is_open:
        reason = f"{host} closed the connection while a token was asked for; the next session has it"
        raise HostUnusable(reason, "4.4.2", Phase.AUTH, How.DROPPED)
    event = await client.authenticate(sasl)
    if isinstance(event, AuthenticationFailed):
        return sasl, event.reply
    _judge(event, connector, host, sasl)
    return None


def _port(client: SmtpClient) -> int:
    """That we are connected to."""
    port = client.remote.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


def _token_refused(
    connector: SendConnector, host: str, said: tuple[OAuthBearer, Reply], token: Secret
) -> HostUnusable:  # fmt: skip
    """A fresh token was refused too."""
    sasl, reply = said
    words = [reply.text, *([f"({sasl.error})"] if sasl.error else []), *missing_role(connector.oauth, token)]
    text = " ".join(words).replace(token.reveal(), "****")  # though the server has no reason to repeat it
    told = Reply(reply.code, reply.status, text)
    line = " ".join(part for part in (str(told.code), told.status, told.text) if part)
    says, remedy = advice(line, connector=connector.name, who=host, oauth=True)
    who = f"{connector.authentication_username} ({sasl.mechanism})"
    more = f" ({says} → {remedy})" if says else ""
    return HostUnusable(f"{host} refused the log-on of {who}: {line}{more}", "4.7.8", Phase.AUTH, reply=told)


def _judge(event: ClientEvent, connector: SendConnector, host: str, sasl: SaslClient) -> None:
    if isinstance(event, AuthenticationFailed):
        who = f"{connector.authentication_username or 'our certificate'} ({sasl.mechanism})"
        raise HostUnusable(f"{host} refused the log-on of {who}: {event.reply}", "4.7.8", Phase.AUTH, reply=event.reply)
    if not isinstance(event, Authenticated):
        raise HostUnusable(f"{host} ended the session during AUTH", "4.7.0", Phase.AUTH, How.DROPPED)


def _not_offered(host: str, hello: HelloDone, needed: str) -> HostUnusable:
    offered = " ".join(hello.extensions.auth) or "nothing"
    return HostUnusable(f"{host} offers {offered} for AUTH; {needed} is needed", "4.7.4", Phase.AUTH)
