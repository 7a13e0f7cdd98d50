# SPDX-License-Identifier: MIT
"""Names that reports on TLS have for policies and for what fails (RFC 8460 §4.3, §4.4). Pure."""

from enum import StrEnum


class PolicyType(StrEnum):
    """Kinds of policy as reports name them (RFC 8460 §4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(StrEnum):
    """Kinds of failure as reports name them (RFC 8460 §4.3); SUCCESS is ours."""

    SUCCESS = ""
    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"
