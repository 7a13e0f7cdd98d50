# SPDX-License-Identifier: MIT
"""What TLS one mail host of one recipient domain must show: connector, DANE, MTA-STS and REQUIRETLS made one value
(RFC 7672, RFC 8461, RFC 8689).

Pure. DANE goes before MTA-STS, host by host, and MTA-STS is the domain's: domains that share hosts keep each its own
policy. What could not be found out refuses the host for now; it never means that there is no policy.
"""

from enum import IntEnum, StrEnum

import msgspec

from bridgehead.mail.item import TlsRequirement
from bridgehead.routing.dane import TlsaRecord
from bridgehead.routing.mta_sts import StsMode, StsPolicy
from bridgehead.routing.settings import SendConnector, SmtpDaneMode
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse
from bridgehead.routing.tls_result import ResultType


class TlsLevel(IntEnum):
    """How good a session's TLS is; compared with the best that was seen."""

    NONE = 0
    ENCRYPTED = 1
    """With whoever answered."""
    VERIFIED = 2
    """The certificate satisfied what the connector, or a message, asked for, or would have passed had anybody asked: it
    leads to a trust anchor and carries the host's name."""
    POLICY = 3
    """It satisfied the DANE records or the MTA-STS policy of the domain."""


class PolicySource(StrEnum):
    """Whose demand a policy is."""

    CONNECTOR = "connector"
    DANE = "dane"
    STS = "mta-sts"
    MESSAGE = "requiretls"
    HEADER = "tls-required-no"
    """RFC 8689 §3: what the domain asks for is passed over, what the connector asks for is not."""


class DaneOutcome(IntEnum):
    """What looking for TLSA records came to."""

    ABSENT = 0
    """Securely none, or the names are not signed: DANE does not apply."""
    RECORDS = 1
    UNUSABLE = 2
    """Signed records, none of which we can use: TLS is a must, with anybody (RFC 7672 §2.2)."""
    FAILED = 3
    """Bogus, or no answer: the host is not to be used for now (RFC 7672 §2.1.3)."""
    UNTRUSTED = 4
    """No resolver whose word on DNSSEC we believe."""


class DaneAnswer(msgspec.Struct, frozen=True):
    """TLSA records of one host.

    Attributes:
        base: TLSA base domain: SNI, and a name that DANE-TA accepts.
        expires: Unix time until which it can be relied on.
        evidence: the questions and their answers, in words.
        bogus: FAILED because signatures are wrong rather than for want of an answer.
    """

    outcome: DaneOutcome
    records: tuple[TlsaRecord, ...] = ()
    base: str = ""
    reason: str = ""
    expires: float = 0.0
    evidence: tuple[str, ...] = ()
    bogus: bool = False


class StsAnswer(msgspec.Struct, frozen=True):
    """The MTA-STS policy of one domain.

    Attributes:
        policy: None for none.
        unknown: why it cannot be told whether there is one, which refuses the domain for now; "" where it can.
        failure: why a new policy could not be fetched, whatever holds meanwhile; "" where nothing failed.
        id: of the policy.
    """

    policy: StsPolicy | None = None
    id: str = ""
    expires: float = 0.0
    unknown: str = ""
    failure: str = ""


NO_DANE = DaneAnswer(DaneOutcome.ABSENT)
NO_STS = StsAnswer()


class DomainTlsPolicy(TlsPolicy, frozen=True, kw_only=True):
    """What a host of a domain must show.

    Attributes:
        source: whose demand it is.
        testing: failures are told and change nothing (RFC 8461 §5).
        level: what a session under it has reached; ENCRYPTED where nobody checked.
        names: what a DANE-TA certificate may be for.
        records: usable TLSA records.
        server_name: for SNI, "" for the host's.
        requires_keyword: the host must offer REQUIRETLS.
        refusal: why the host must not be used at all, "" where it may. `permanent`: for this message, for good.
            `status` fits.
        failure: what reports call what is wrong with the policy itself: what it is refused for, or records that nobody
            can use; None for nothing.
        expires: Unix time until which a session opened under it may take further messages, 0 for no limit.
        evidence: what it rests on, in words, for trace and `why`.
        policy_text, patterns: of the domain's policy, for reports.
    """

    source: PolicySource = PolicySource.CONNECTOR
    testing: bool = False
    level: TlsLevel = TlsLevel.ENCRYPTED
    names: tuple[str, ...] = ()
    records: tuple[TlsaRecord, ...] = ()
    server_name: str = ""
    requires_keyword: bool = False
    refusal: str = ""
    permanent: bool = False
    status: str = "4.7.5"
    failure: ResultType | None = None
    bogus: bool = False
    expires: float = 0.0
    evidence: tuple[str, ...] = ()
    policy_text: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def is_authenticated(self) -> bool:
        """A session under it is with whom it should be."""
        return bool(self.records) or (self.verify_chain and bool(self.match_name))

    def __str__(self) -> str:
        """Short, for the tracking log: "dane", "mta-sts:enforce", "connector"."""
        mode = f":{'testing' if self.testing else 'enforce'}" if self.source is PolicySource.STS else ""
        asked = "+requiretls" if self.requires_keyword and self.source is not PolicySource.MESSAGE else ""
        return f"{self.source.value}{mode}{asked}"


class HostFindings(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one host before it is called.

    Attributes:
        host: as the MX record has it, or as the smart host is configured.
        domain: recipient domain; "" for a smart host.
        mx_is_secure: DNSSEC vouches that the domain has this host (RFC 7672 §2.2.1).
    """

    host: str
    domain: str = ""
    mx_is_secure: bool = False
    dane: DaneAnswer = NO_DANE
    sts: StsAnswer = NO_STS


def host_policy(
    connector: SendConnector, requirement: TlsRequirement, demand: TlsPolicy, found: HostFindings
) -> DomainTlsPolicy:  # fmt: skip
    """The policy for one host.

    Args:
        demand: the connector's own (`tls_policy`).
        requirement: of the messages that the session is for.
    """
    own = _from_connector(demand)
    if requirement is TlsRequirement.OPTIONAL:
        return msgspec.structs.replace(own, source=PolicySource.HEADER, evidence=("TLS-Required: No",))
    policy = own if _stands_alone(demand) else _of_domain(connector, own, found)
    if requirement is TlsRequirement.NONE or (policy.refusal and not policy.testing):
        return policy
    return _with_requirement(connector, requirement, policy, found)


def _from_connector(demand: TlsPolicy) -> DomainTlsPolicy:
    values = {name: getattr(demand, name) for name in TlsPolicy.__struct_fields__}
    level = TlsLevel.VERIFIED if demand.verify_chain else TlsLevel.ENCRYPTED
    return DomainTlsPolicy(**values, level=level)


def _stands_alone(demand: TlsPolicy) -> bool:
    """A connector that checks certificates itself, or never starts TLS, has had its administrator decide already."""
    return demand.verify_chain or demand.mutual or demand.use is TlsUse.NEVER


def _refused(policy: DomainTlsPolicy, source: PolicySource, reason: str, **more: object) -> DomainTlsPolicy:
    return msgspec.structs.replace(policy, **{"source": source, "refusal": reason, "failure": None, **more})


def _of_domain(connector: SendConnector, own: DomainTlsPolicy, found: HostFindings) -> DomainTlsPolicy:
    """DANE of the host, else MTA-STS of the domain, else what the connector says."""
    dane, mandatory = found.dane, connector.smtp_dane_mode is SmtpDaneMode.MANDATORY
    if dane.outcome is DaneOutcome.FAILED:
        return _refused(
            own, PolicySource.DANE, f"whether {found.host} has TLSA records cannot be told: {dane.reason}",
            failure=ResultType.DNSSEC_INVALID, bogus=dane.bogus, evidence=dane.evidence,
        )  # fmt: skip
    if dane.outcome is DaneOutcome.RECORDS or (dane.outcome is DaneOutcome.UNUSABLE and not mandatory):
        return _from_dane(own, found)
    if mandatory:
        reason = f"SmtpDaneMode is Mandatory and {found.host} has no usable TLSA records: {dane.reason or 'none'}"
        return _refused(
            own, PolicySource.DANE, reason, failure=ResultType.DANE_REQUIRED, evidence=dane.evidence
        )  # fmt: skip
    policy = _from_sts(connector, own, found)
    return msgspec.structs.replace(
        policy, evidence=(*dane.evidence, *policy.evidence), expires=_sooner(dane.expires, policy.expires)
    )


def _from_dane(own: DomainTlsPolicy, found: HostFindings) -> DomainTlsPolicy:
    dane = found.dane
    names = tuple(dict.fromkeys(name for name in (dane.base, found.host, found.domain) if name))
    return msgspec.structs.replace(
        own, source=PolicySource.DANE, use=TlsUse.REQUIRED, records=dane.records, names=names, server_name=dane.base,
        level=TlsLevel.POLICY if dane.records else TlsLevel.ENCRYPTED, expires=dane.expires, evidence=dane.evidence,
        failure=None if dane.records else ResultType.TLSA_INVALID,
        policy_text=tuple(map(str, dane.records)), patterns=(dane.base,),
    )  # fmt: skip


def _from_sts(connector: SendConnector, own: DomainTlsPolicy, found: HostFindings) -> DomainTlsPolicy:
    sts, policy = found.sts, found.sts.policy
    if sts.unknown:
        reason = f"the MTA-STS policy of {found.domain} is not known: {sts.unknown}"
        return _refused(own, PolicySource.STS, reason, failure=ResultType.VALIDATION_FAILURE)
    if policy is None or policy.mode is StsMode.NONE:
        return msgspec.structs.replace(own, expires=sts.expires)
    about = f"MTA-STS policy {sts.id} of {found.domain}: mode {policy.mode.value}, mx {', '.join(policy.mx[:5])}"
    common = msgspec.structs.replace(
        own, source=PolicySource.STS, testing=policy.mode is StsMode.TESTING, expires=sts.expires, evidence=(about,),
        policy_text=policy.lines(), patterns=policy.mx,
    )  # fmt: skip
    if not policy.allows(found.host):
        return msgspec.structs.replace(
            common, refusal=f"the MTA-STS policy of {found.domain} does not name {found.host}",
            failure=ResultType.VALIDATION_FAILURE,
        )  # fmt: skip
    return msgspec.structs.replace(
        common, use=TlsUse.REQUIRED, verify_chain=True, match_name=found.host, ca_file=connector.tls_ca_file,
        level=TlsLevel.POLICY,
    )  # fmt: skip


def _with_requirement(
    connector: SendConnector, requirement: TlsRequirement, policy: DomainTlsPolicy, found: HostFindings
) -> DomainTlsPolicy:  # fmt: skip
    """REQUIRETLS: the host's name vouched for, its certificate verified, the extension on offer (RFC 8689 §2)."""
    keyword = requirement is TlsRequirement.REQUIRED
    if policy.is_authenticated and not policy.testing:
        return msgspec.structs.replace(policy, requires_keyword=keyword)
    vouched = not found.domain or found.mx_is_secure or found.host.strip(".") == found.domain
    allowed = found.sts.policy is not None and found.sts.policy.mode is not StsMode.NONE
    vouched = vouched or (allowed and found.sts.policy is not None and found.sts.policy.allows(found.host))
    if not vouched:
        reason = f"REQUIRETLS: neither DNSSEC nor MTA-STS vouches that {found.host} is a mail host of {found.domain}"
        return _refused(policy, PolicySource.MESSAGE, reason, testing=False, permanent=keyword, status="5.7.30")
    if policy.use is TlsUse.NEVER:
        reason = f"REQUIRETLS, and connector {connector.name} ignores STARTTLS"
        return _refused(policy, PolicySource.MESSAGE, reason, testing=False, permanent=keyword, status="5.7.10")
    return msgspec.structs.replace(
        policy, source=PolicySource.MESSAGE, use=TlsUse.REQUIRED, verify_chain=True, testing=False, refusal="",
        failure=None, match_name=policy.match_name or found.host, ca_file=connector.tls_ca_file,
        level=TlsLevel.VERIFIED, requires_keyword=keyword,
        evidence=(*policy.evidence, "REQUIRETLS asked for by the sender"),
    )  # fmt: skip


def _sooner(one: float, other: float) -> float:
    """The earlier of two times, 0 being none."""
    return min(one, other) if one and other else one or other
