# SPDX-License-Identifier: MIT
"""What operators see of certificates. Light: every command imports it."""

from datetime import datetime

import msgspec

from bridgehead.admin.probe.steps import Verdict


class CertificateUse(msgspec.Struct, frozen=True, kw_only=True):
    """Who shows a certificate, and to whom.

    Attributes:
        by: 'receive connector "Internet"'.
        how: "by its name mail.contoso.com", "pinned as …", "its own file", "by default", "to clients that ask for …".
    """

    by: str
    how: str


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate that the server knows.

    Attributes:
        name: by which commands know it: under which it is kept, else its first name.
        names: DNS names and addresses it is for.
        days_left: whole days until it expires, negative afterwards.
        chain_length: certificates in the file, its own included.
        chain_complete: leads to a trust anchor of this system or ends in a root of its own. `trusted`: the former.
        missing_issuer: whose certificate the file lacks, "" for none.
        server_use, client_use: Extended Key Usage.
        kept: the server keeps it itself (`certificate bind`, ACME).
        acme: it is renewed by ACME.
        warnings: what is the matter, with what to do.
    """

    name: str
    names: list[str]
    issuer: str
    subject: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    days_left: int
    key_type: str
    chain_length: int
    chain_complete: bool
    trusted: bool
    missing_issuer: str
    self_signed: bool
    server_use: bool
    client_use: bool
    certificate_file: str
    key_file: str
    kept: bool = False
    acme: bool = False
    uses: list[CertificateUse] = []
    warnings: list[str] = []


class CertificateReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every certificate, and what no certificate can be found for.

    Attributes:
        problems: connectors without a certificate, files that cannot be read.
    """

    certificates: list[CertificateView]
    problems: list[str] = []


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the check of a new certificate found.

    Attributes:
        subject: "the certificate", or who would show it.
    """

    verdict: Verdict
    subject: str
    sentence: str
    remedy: str = ""


class CertificateCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What would come of a new certificate.

    Attributes:
        name: under which it would be kept.
        replaces: fingerprint of the one kept under that name now, "" for none.
        verdict: FAILURE where it is refused.
    """

    name: str
    names: list[str]
    fingerprint: str
    not_after: datetime | None
    replaces: str
    verdict: Verdict
    findings: list[CheckFinding]


class CertificateBound(msgspec.Struct, frozen=True, kw_only=True):
    """What became of binding a certificate.

    Attributes:
        forced: it was taken in spite of failures.
    """

    name: str
    fingerprint: str
    forced: bool
    check: CertificateCheck


class RenewalView(msgspec.Struct, frozen=True, kw_only=True):
    """A renewal by ACME, under way or the last one.

    Attributes:
        state: "never", "running", "done" or "failed".
        steps: what was done, in order.
        reason: why it failed.
        next_at: when it is tried by itself.
        failures: in a row.
    """

    name: str
    names: list[str]
    challenge: str
    state: str
    steps: list[str] = []
    reason: str = ""
    began_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
