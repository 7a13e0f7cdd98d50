# SPDX-License-Identifier: MIT
"""Tells how each session's TLS came out: for reports to recipient domains (RFC 8460 §4.3)."""

from typing import Final

from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.delivery.smtp_send.security import HostUnusable
from bridgehead.diagnosis.facts import Phase
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.net.smtp_client import SmtpClient
from bridgehead.routing.domain_tls import DomainTlsPolicy, PolicySource
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType, TlsResult

_TYPES: Final = {PolicySource.DANE: PolicyType.TLSA, PolicySource.STS: PolicyType.STS}
_EXPIRED: Final = 10
_NAME_MISMATCH: Final = (62, 64)
_NOT_TRUSTED: Final = (2, 18, 19, 20, 21, 27)


def result_type(error: Exception, policy: DomainTlsPolicy) -> ResultType | None:
    """What a failure is called in reports; None for one that is not about TLS."""
    if not isinstance(error, HostUnusable):
        return None
    if error.result is not None:
        return error.result
    if error.phase is Phase.POLICY:
        return policy.failure
    if error.phase is Phase.STARTTLS:
        return ResultType.STARTTLS_NOT_SUPPORTED
    if error.phase is not Phase.HANDSHAKE:
        return None
    code = error.tls.verify_code if error.tls is not None else 0
    if error.expected_name or code in _NAME_MISMATCH:
        return ResultType.CERTIFICATE_HOST_MISMATCH
    if code == _EXPIRED:
        return ResultType.CERTIFICATE_EXPIRED
    return ResultType.CERTIFICATE_NOT_TRUSTED if code in _NOT_TRUSTED else ResultType.VALIDATION_FAILURE


def tls_result(
    domain: str, policy: DomainTlsPolicy, target: Target, client: SmtpClient | None, result: ResultType,
    information: str = "", helo: str = "",
) -> TlsResult:  # fmt: skip
    """One session, opened or given up."""
    local = client.local if client is not None else ""
    return TlsResult(
        domain=domain,
        policy_type=_TYPES.get(policy.source, PolicyType.NONE),
        policy_strings=policy.policy_text,
        mx_patterns=policy.patterns,
        result=result,
        sending_ip=local.rpartition(":")[0].strip("[]"),
        receiving_host=target.host,
        receiving_helo=clean_text(helo, LOGGED_TEXT),
        receiving_ip=target.address,
        information=clean_text(information, LOGGED_TEXT),
    )


def is_about_tls(error: Exception) -> bool:
    """Whether a host that failed so might serve a policy that asks for less."""
    return isinstance(error, HostUnusable) and error.phase in (Phase.STARTTLS, Phase.HANDSHAKE, Phase.POLICY)
