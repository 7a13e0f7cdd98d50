# SPDX-License-Identifier: MIT
"""TLS of one outbound session, fail closed (RFC 3207; TlsAuthLevel). The log-on that follows is in `log_on`."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from bridgehead.diagnosis.facts import How, Phase
from bridgehead.mail.reply import Reply
from bridgehead.net.certificates.dane_anchor import anchor_check, server_names
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import CertificateStore, ServerTls
from bridgehead.net.smtp_client import SmtpClient, TlsFailed
from bridgehead.net.tls import ClientContexts, ClientTls
from bridgehead.routing.dane import judge
from bridgehead.routing.domain_tls import DomainTlsPolicy
from bridgehead.routing.settings import SendConnector
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse, name_matches
from bridgehead.smtp.client_events import HelloDone, Refused, TlsRefused
from bridgehead.tracking.tls_reports.port import ResultType

_EXPIRED, _NAME_MISMATCH = 10, 62
"""What OpenSSL calls it where a chain up to an authority that DNS named is out of date, or for another name
(X509_V_ERR_*)."""


class HostUnusable(Exception):
    """This host cannot be used now; the next may be.

    Attributes:
        status: enhanced status (class 4).
        phase, how: how far the session came and what ended it, for the flight recorder.
        reply: what the host said, None where it did not.
        tls: the handshake that failed.
        expected_name: the name that the certificate lacks.
        result: what reports on TLS call it where the rest does not say so.
        permanent: no other time will be better for this message.
    """

    def __init__(
        self, reason: str, status: str, phase: Phase, how: How = How.POLICY, *, reply: Reply | None = None,
        tls: TlsFailed | None = None, expected_name: str = "", result: ResultType | None = None,
        permanent: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.result = result
        self.permanent = permanent
        self.status = status
        self.phase = phase
        self.how = how if reply is None else How.REPLY
        self.reply = reply
        self.tls = tls
        self.expected_name = expected_name


class TlsBroken(HostUnusable):
    """STARTTLS was offered and did not work; under an opportunistic policy the host may be tried in clear."""


class TlsMaker:
    """Gives the context for a policy of one connector.

    Args:
        pair: the certificate to show, None for none. Raises CertificateError where the one meant is not there.
    """

    def __init__(
        self, connector: SendConnector, contexts: ClientContexts, pair: Callable[[], CertificatePair | None]
    ) -> None:  # fmt: skip
        self._connector, self._contexts, self._pair = connector, contexts, pair

    def context(self, policy: TlsPolicy) -> ssl.SSLContext:
        """Raises HostUnusable where a file cannot be used, or no certificate is there that must be shown."""
        connector = self._connector
        try:
            pair = self._pair()
            if pair is None and policy.mutual:
                reason = f"connector {connector.name} has no certificate to show, and mutual TLS is required"
                raise HostUnusable(reason, "4.7.5", Phase.LOCAL)
            verify = policy.verify_chain
            return self._contexts.get(
                ClientTls(
                    owner=connector.name,
                    verify=verify,
                    ca_file=policy.ca_file if verify else "",
                    crl_file=connector.tls_crl_file if verify else "",
                    ocsp=connector.tls_ocsp_mode,
                    certificate=str(pair.certificate) if pair else "",
                    key=str(pair.key) if pair else "",
                    minimum_version=connector.tls_minimum_version,
                    ciphers=connector.tls_ciphers,
                    scope=policy.source.value if isinstance(policy, DomainTlsPolicy) else "",
                )
            )
        except (OSError, ssl.SSLError, CertificateError) as error:
            files = policy.ca_file or connector.tls_certificate_file or "the certificates"
            reason = f"connector {connector.name}: {files} cannot be used for TLS: {error}"
            raise HostUnusable(reason, "4.3.5", Phase.LOCAL) from None


def client_pair(connector: SendConnector, store: CertificateStore) -> CertificatePair | None:
    """The certificate of a connector as it lies on the disk: its own pair, one pinned by name, or none. Raises
    CertificateError."""
    tls = client_tls(connector)
    return store.choose(tls) if tls is not None else None


def client_tls(connector: SendConnector) -> ServerTls | None:
    """How the certificate of a connector is chosen; None where it shows none."""
    if not connector.tls_certificate_file and not connector.tls_certificate_name:
        return None
    return ServerTls(
        owner=connector.name,
        certificate_file=connector.tls_certificate_file,
        key_file=connector.tls_key_file,
        pin=connector.tls_certificate_name,
    )


async def begin_secure(client: SmtpClient, policy: TlsPolicy, maker: TlsMaker, host: str, seconds: float) -> None:
    """TLS before the greeting (RFC 8314). Raises HostUnusable, ConnectionLost."""
    try:
        await client.begin_tls(maker.context(policy), _server_name(policy, host), seconds=seconds)
    except TlsFailed as error:
        raise HostUnusable(f"{host}: {error}", "4.7.5", Phase.HANDSHAKE, How.TLS, tls=error) from None
    _check_peer(client, policy, host)


async def secure_session(
    client: SmtpClient, hello: HelloDone, policy: TlsPolicy, maker: TlsMaker, host: str, seconds: float
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
    context = maker.context(policy)
    try:
        event = await client.start_tls(context, _server_name(policy, host), seconds=seconds)
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
    _check_peer(client, policy, host)
    return event


def check_keyword(hello: HelloDone, policy: TlsPolicy, host: str) -> None:
    """Whether a host promises to pass messages on as REQUIRETLS asks, where that is demanded (RFC 8689 §4.2.1)."""
    if isinstance(policy, DomainTlsPolicy) and policy.requires_keyword and not hello.extensions.require_tls:
        reason = f"REQUIRETLS was asked for by the sender, and {host} does not offer it"
        raise HostUnusable(reason, "5.7.30", Phase.EHLO, permanent=True)


def _server_name(policy: TlsPolicy, host: str) -> str:
    """The name for SNI: the TLSA base domain under DANE (RFC 7672 §8.1), else the host's; none for addresses."""
    if isinstance(policy, DomainTlsPolicy) and policy.server_name:
        return policy.server_name
    return "" if host.startswith("[") else host


def _check_peer(client: SmtpClient, policy: TlsPolicy, host: str) -> None:
    if isinstance(policy, DomainTlsPolicy) and policy.records:
        _check_records(client, policy, host)
    _check_names(client, policy, host)


def _check_records(client: SmtpClient, policy: DomainTlsPolicy, host: str) -> None:
    """The certificates agree with the TLSA records."""
    chain = client.sent_chain
    verdict = judge(
        policy.records, chain, server_names(chain[0]) if chain else (), policy.names, anchor_check(datetime.now(UTC))
    )
    if verdict.passed:
        return
    result, code = ResultType.VALIDATION_FAILURE, 0
    if verdict.expired:
        result, code = ResultType.CERTIFICATE_EXPIRED, _EXPIRED
    elif verdict.mismatch:
        result, code = ResultType.CERTIFICATE_HOST_MISMATCH, _NAME_MISMATCH
    raise HostUnusable(
        f"DANE: {host}: {verdict.reason}", "4.7.5", Phase.HANDSHAKE, How.TLS, result=result,
        tls=TlsFailed(verdict.reason, verify_code=code, chain=chain),
        expected_name=policy.names[0] if verdict.mismatch else "",
    )  # fmt: skip


def _check_names(client: SmtpClient, policy: TlsPolicy, host: str) -> None:
    names = client.tls.names if client.tls is not None else ()
    if policy.match_name and not name_matches(names, policy.match_name):
        shown = ", ".join(names[:5]) or "no name"
        reason = f"the certificate of {host} is for {shown}, not for {policy.match_name}"
        raise HostUnusable(reason, "4.7.5", Phase.HANDSHAKE, How.TLS, expected_name=policy.match_name)
