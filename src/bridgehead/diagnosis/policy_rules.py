# SPDX-License-Identifier: MIT
"""Causes in what a recipient's domain, or a message, asks of TLS: DANE, MTA-STS, REQUIRETLS, worse TLS than before
(RFC 7672, RFC 8461, RFC 8689)."""

from typing import Final

from bridgehead.diagnosis.facts import AttemptFacts, Evidence, Finding, Owner, Phase
from bridgehead.diagnosis.rule import Rule, connector_name, day, found, hosts_of, pick, retry

_TLS: Final = (Phase.STARTTLS, Phase.HANDSHAKE)
_RECORDS: Final = "DANE: "
"""How the errors begin of sessions whose certificates do not agree with TLSA records."""


def _under(one: AttemptFacts, source: str) -> bool:
    return one.policy.startswith(source)


def _proof(one: AttemptFacts) -> list[str]:
    shown = [
        f"certificate shown: {link.subject}, by {link.issuer}, until {day(link.not_after)}" for link in one.chain[:1]
    ]
    return [*one.evidence, *shown]


def _bogus(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.bogus)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The DNSSEC signatures of {evidence.subject}, or of its mail hosts, are wrong (bogus): nothing that DNS says "
        "of it may be believed, so mail waits. The fault is theirs, or somebody forges their DNS.",
        f"tell the domain's administrator; see it with: dig +dnssec MX {evidence.subject}",
        failing[-1].evidence,
    )


def _stale_tlsa(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.error.startswith(_RECORDS) and not one.verify_code)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The TLSA records of {hosts_of(failing)} are of another key or certificate than the host shows: most likely "
        "it was renewed and the records name the previous one. To refuse is correct; the fault is theirs.",
        "tell the domain's administrator: publish the new TLSA record, wait for the TTL, then change the certificate",
        _proof(failing[-1]),
    )


def _dane_certificate(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.error.startswith(_RECORDS) and one.verify_code > 0)
    if not failing:
        return None
    problem = failing[-1].error.removeprefix(f"{_RECORDS}{failing[-1].host}: ").removeprefix("expired: ")
    return found(
        evidence,
        failing,
        f"The TLSA records of {hosts_of(failing)} name an authority (usage 2), so dates and names of what it issued "
        f"count, and {problem}. To refuse is correct; the fault is theirs.",
        f"tell the domain's administrator: a new certificate of that authority, for {failing[-1].host}, mends it",
        _proof(failing[-1]),
    )


def _dane_without_tls(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts,
        lambda one: _under(one, "dane") and one.phase in _TLS and not one.error.startswith(_RECORDS),
    )
    if not failing:
        return None
    if failing[-1].phase is Phase.STARTTLS:
        fault = "does not offer or refuses STARTTLS: TLS is out of order there, or somebody between takes it out"
    else:
        fault = f"the handshake fails ({failing[-1].error}): TLS is out of order there, or somebody between disturbs it"
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} has signed TLSA records, which promise TLS, and {fault}. Sending in clear would be "
        "wrong.",
        "tell the domain's administrator; a firewall with SMTP inspection on either side also removes STARTTLS",
        [*failing[-1].evidence, f"offered: {' '.join(failing[-1].in_clear) or 'nothing'}"],
    )


def _tlsa_unknown(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _under(one, "dane") and one.phase is Phase.POLICY and not one.bogus)
    if not failing:
        return None
    if "Mandatory" in failing[-1].error:
        sentence = (
            f"smtp_dane_mode is Mandatory, and {evidence.subject} has no mail host with TLSA records that can be used."
        )
        do = f'set smtp_dane_mode = "Opportunistic" on {connector_name(evidence) or "the connector"}'
    else:
        sentence = (
            f"Whether the mail hosts of {evidence.subject} have TLSA records cannot be told: their DNS, or our "
            "resolver, does not answer the question. Mail waits, since an attacker could be the reason."
        )
        do = "ask the resolver yourself: dig +dnssec TLSA _25._tcp.HOST; some name servers drop such questions"
    return found(evidence, failing, sentence, do, failing[-1].evidence, connector_name(evidence))


def _sts_other_host(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts,
        lambda one: _under(one, "mta-sts") and one.phase is Phase.POLICY and "does not name" in one.error,
    )
    if not failing:
        return None
    hosts = ", ".join(dict.fromkeys(one.host for one in failing))
    return found(
        evidence,
        failing,
        f"The MTA-STS policy of {evidence.subject} does not name its mail host {hosts}: MX records were changed and "
        "the policy was not. To refuse is correct; the fault is theirs.",
        f"tell the domain's administrator to add an mx line to the policy, and to change the id; see: bridgehead "
        f"tls-policy show {evidence.subject}",
        failing[-1].evidence,
    )


def _sts_unknown(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts, lambda one: _under(one, "mta-sts") and one.phase is Phase.POLICY and "not known" in one.error
    )
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The MTA-STS policies known before were lost with their file, and whether {evidence.subject} has one cannot "
        "be told: its DNS or policy host does not answer. Mail waits.",
        "repair the resolver or wait for the policy host; then: " + retry(evidence),
        [failing[-1].error],
    )


def _sts_certificate(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _under(one, "mta-sts") and one.phase in _TLS)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{evidence.subject} enforces MTA-STS, and {hosts_of(failing)} does not keep to it: {failing[-1].error}. To "
        "refuse is correct; the fault is theirs.",
        "tell the domain's administrator: each mail host needs TLS with a valid certificate for its name",
        _proof(failing[-1]),
    )


def _require_tls(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts, lambda one: "requiretls" in one.policy and ("REQUIRETLS" in one.error or one.phase in _TLS)
    )
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The sender asked for REQUIRETLS, and {hosts_of(failing)} cannot give it: {failing[-1].error}.",
        "the sender may send it again without REQUIRETLS, or by another way",
        _proof(failing[-1]),
    )


def _downgrade(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: "tls_downgrade_mode is Refuse" in one.error)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} shows worse TLS than it did before, and our connector refuses that: {failing[-1].error}.",
        f"ask the domain's administrator; where it is meant: bridgehead tls-policy forget {evidence.subject}",
        failing[-1].evidence,
        connector_name(evidence),
    )


POLICY_RULES: Final[list[Rule]] = [
    Rule(
        "dnssec-bogus", (25,), Owner.FAR_SIDE, 96, _bogus, "DNSSEC signatures that are wrong",
        "tell the domain's administrator",
    ),
    Rule(
        "dane-stale-record", (25,), Owner.FAR_SIDE, 95, _stale_tlsa,
        "a TLSA record of another key than the host shows, with record and certificate", "tell the far administrator",
    ),
    Rule(
        "dane-certificate", (25, 14, 15), Owner.FAR_SIDE, 95, _dane_certificate,
        "a certificate of the authority that TLSA records name, out of date or for another name",
        "tell the far administrator",
    ),
    Rule(
        "dane-no-tls", (25, 13), Owner.FAR_SIDE, 95, _dane_without_tls,
        "TLSA records and no STARTTLS, or a handshake that fails", "tell the far administrator",
    ),
    Rule(
        "dane-unknown", (25,), Owner.FAR_SIDE, 94, _tlsa_unknown, "TLSA records that nobody can ask for, or must exist",
        "ask the resolver; see the connector's smtp_dane_mode",
    ),
    Rule(
        "sts-host-not-named", (25,), Owner.FAR_SIDE, 95, _sts_other_host,
        "a mail host that the MTA-STS policy does not name, with the policy's id", "tell the far administrator",
    ),
    Rule(
        "sts-unknown", (25,), Owner.NETWORK, 94, _sts_unknown, "lost MTA-STS policies that cannot be fetched anew",
        "wait for the policy host, or repair the resolver",
    ),
    Rule(
        "sts-not-kept", (25, 14, 15, 16), Owner.FAR_SIDE, 95, _sts_certificate,
        "a host whose TLS or certificate breaks its domain's MTA-STS policy", "tell the far administrator",
    ),
    Rule(
        "requiretls-impossible", (25,), Owner.SENDER, 96, _require_tls,
        "a message that asks for REQUIRETLS and a way that does not give it", "send it without REQUIRETLS",
    ),
    Rule(
        "tls-downgrade", (25, 13), Owner.FAR_SIDE, 97, _downgrade, "worse TLS than was seen before, refused",
        "ask the far administrator; bridgehead tls-policy forget DOMAIN",
    ),
]  # fmt: skip
