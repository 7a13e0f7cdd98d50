# SPDX-License-Identifier: MIT
"""Causes in TLS and certificates of the far side, and in what we ask of them (RFC 3207, RFC 5280, RFC 6125)."""

from typing import Final

from bridgehead.diagnosis.facts import AttemptFacts, CertificateFacts, Evidence, Finding, How, Owner, Phase
from bridgehead.diagnosis.rule import Rule, clock, connector_name, day, found, hosts_of, pick
from bridgehead.diagnosis.session_rules import is_rewritten

# OpenSSL's X509_V_ERR_* (x509_vfy.h).
_NO_ISSUER: Final = (2, 20, 21, 27)
_NOT_YET: Final = (9,)
_EXPIRED: Final = (10,)
_SELF_SIGNED: Final = (18,)
_SELF_SIGNED_ROOT: Final = (19,)
_NAME: Final = (62, 64)


def _leaf(one: AttemptFacts) -> CertificateFacts:
    return one.chain[0] if one.chain else CertificateFacts("", "")


def _expired_one(one: AttemptFacts) -> CertificateFacts:
    """The certificate of the chain that is past its end, the leaf where none seems to be."""
    return next((link for link in one.chain if link.not_after and link.not_after < one.time), _leaf(one))


def _no_starttls(one: AttemptFacts) -> bool:
    return one.phase is Phase.STARTTLS and one.how is How.POLICY and not is_rewritten(one.banner, one.in_clear)


def _vanished(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, _no_starttls)
    offered = sum(host.starttls for host in evidence.hosts)
    if not failing or not offered:
        return None
    since = min(one.first or one.time for one in failing)
    return found(
        evidence,
        failing,
        f"We require TLS to {evidence.subject}; since {clock(since)} {hosts_of(failing)} no longer offers STARTTLS "
        f"(it did {offered} {'time' if offered == 1 else 'times'} before).",
        "ask the far administrator; a firewall with SMTP inspection on either side also removes it",
        [f"offered now: {' '.join(failing[-1].in_clear) or 'nothing'}"],
        connector_name(evidence),
    )


def _not_offered(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, _no_starttls)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"We require TLS to {evidence.subject}, and {hosts_of(failing)} does not offer STARTTLS.",
        f"ask the far administrator for TLS, or set require_tls = false on "
        f"{connector_name(evidence) or 'the connector'}",
        [f"offered: {' '.join(failing[-1].in_clear) or 'nothing'}"],
        connector_name(evidence),
    )


def _refused(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.STARTTLS and one.how is How.REPLY)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} offers STARTTLS and then refuses it ({failing[-1].reply}): TLS is out of order there.",
        "ask the far administrator; its certificate is probably missing or unreadable",
    )


def _expired(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code in _EXPIRED)
    if not failing:
        return None
    last = failing[-1]
    certificate = _expired_one(last)
    which = "Its certificate" if certificate is _leaf(last) else f'The intermediate certificate "{certificate.subject}"'
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} shows a certificate that expired on {day(certificate.not_after)}, and we require a "
        f"valid one. "
        f"{which} ({certificate.subject}) was not renewed, or the renewed one is not in use.",
        "tell the far administrator; its users get no mail from us until then",
        [_shown(certificate)],
        connector_name(evidence),
    )


def _not_yet(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code in _NOT_YET)
    if not failing:
        return None
    certificate = _leaf(failing[-1])
    return found(
        evidence,
        failing,
        f"The certificate of {hosts_of(failing)} is valid only from {clock(certificate.not_before)}: it was put in "
        f"use too "
        "early, or this machine's clock is behind.",
        "compare this machine's clock: timedatectl",
        [_shown(certificate)],
    )


def _self_signed(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code in _SELF_SIGNED)
    if not failing:
        return None
    certificate = _leaf(failing[-1])
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} shows a self-signed certificate ({certificate.subject}), and we require one that a "
        f"trusted "
        "authority issued.",
        f"trust it with tls_ca_file on {connector_name(evidence) or 'the connector'}, or have it replaced",
        [_shown(certificate)],
        connector_name(evidence),
    )


def _leaf_only(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code in _NO_ISSUER and len(one.chain) == 1)
    if not failing:
        return None
    certificate = _leaf(failing[-1])
    return found(
        evidence,
        failing,
        f'{hosts_of(failing)} sends only its own certificate, without the intermediate "{certificate.issuer}" that '
        f"issued "
        "it, so the chain does not reach a root we trust.",
        f'have the far side add "{certificate.issuer}" to its chain file; if that is a root of yours: tls_ca_file on '
        f"{connector_name(evidence) or 'the connector'}",
        [_shown(certificate)],
        connector_name(evidence),
    )


def _untrusted(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts,
        lambda one: one.verify_code in _SELF_SIGNED_ROOT or (one.verify_code in _NO_ISSUER and len(one.chain) != 1),
    )
    if not failing:
        return None
    last = failing[-1]
    root = last.chain[-1].issuer if last.chain else "its root"
    where = f" ({evidence.connector.ca_file})" if evidence.connector.ca_file else ""
    return found(
        evidence,
        failing,
        f'The certificate of {hosts_of(failing)} leads to "{root}", which is not among the roots we trust{where}.',
        f"add that root to tls_ca_file of {connector_name(evidence) or 'the connector'} if you trust it, then: "
        f"bridgehead reload",
        [_shown(link) for link in last.chain],
        connector_name(evidence),
    )


def _mismatch(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code in _NAME)
    if not failing:
        return None
    last = failing[-1]
    names = ", ".join(_leaf(last).names[:5]) or _leaf(last).subject or "no name"
    return found(
        evidence,
        failing,
        f"Expected {last.expected_name} in the certificate of {hosts_of(failing)}; it covers {names} only.",
        f"set tls_domain of {connector_name(evidence) or 'the connector'} to a name that it covers, or have it "
        f"reissued",
        [_shown(_leaf(last))],
        connector_name(evidence),
    )


def _other_verification(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.verify_code > 0)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The certificate of {hosts_of(failing)} is not valid: {failing[-1].alert}.",
        "tell the far administrator",
        [_shown(link) for link in failing[-1].chain],
        connector_name(evidence),
    )


def _wants_certificate(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: "CERTIFICATE_REQUIRED" in one.alert)
    if not failing:
        return None
    shown = evidence.connector.certificate
    ours = f"did not get {shown}" if shown else "we show none"
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} demands a certificate from us in the TLS handshake (client authentication), and {ours}.",
        f"set tls_certificate_file on {connector_name(evidence) or 'the connector'}, or have our address allowed there",
        detail=connector_name(evidence),
    )


_REFUSED = {
    "ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "ALERT_UNKNOWN_CA": "it does not know who issued it, or the intermediate is missing",
    "ALERT_UNSUPPORTED_CERTIFICATE": "it may not be used by a client (no Client Authentication usage)",
    "ALERT_BAD_CERTIFICATE": "it takes it for damaged or wrong",
    "ALERT_CERTIFICATE_UNKNOWN": "it does not accept it",
    "ALERT_ACCESS_DENIED": "it is valid and not allowed",
}
"""What a peer's alert says of our certificate (RFC 8446 §6.2)."""


def _ours_refused(evidence: Evidence) -> Finding | None:
    shown = evidence.connector.certificate
    failing = pick(evidence.attempts, lambda one: any(word in one.alert.upper() for word in _REFUSED))
    if not failing or not shown:
        return None
    why = next(why for word, why in _REFUSED.items() if word in failing[-1].alert.upper())
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} accepts the connection but refuses our certificate ({shown}): {why}.",
        f"put a certificate that it accepts into {shown}; it is taken up by itself",
        [f"alert: {failing[-1].alert.lower()}"],
        connector_name(evidence),
    )


def _no_agreement(evidence: Evidence) -> Finding | None:
    words = ("PROTOCOL", "VERSION", "NO_SHARED_CIPHER", "HANDSHAKE_FAILURE", "WRONG_VERSION", "INSUFFICIENT_SECURITY")
    failing = pick(evidence.attempts, lambda one: any(word in one.alert for word in words))
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} and we have no version or cipher of TLS in common "
        f"({failing[-1].alert.replace('_', ' ').lower()}): "
        "it speaks only what is older than TLS 1.2 (RFC 8996), or no TLS at all.",
        f'have TLS 1.2 switched on there; until then tls_minimum_version = "1.0" on '
        f"{connector_name(evidence) or 'the connector'} takes what is older, which every audit tells",
    )


def _breaks(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.HANDSHAKE and not one.verify_code)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The TLS handshake with {hosts_of(failing)} fails: "
        f"{failing[-1].alert.replace('_', ' ').lower() or failing[-1].error}.",
        f"see each step: bridgehead test smtp {failing[-1].address}:{failing[-1].port}",
    )


def _shown(link: CertificateFacts) -> str:
    names = f", for {', '.join(link.names[:5])}" if link.names else ""
    valid = f", valid {day(link.not_before)} to {day(link.not_after)}" if link.not_after else ""
    return f"certificate {link.subject}, issued by {link.issuer}{valid}{names}, serial …{link.serial[-6:]}"


TLS_RULES: Final = [
    Rule(
        "starttls-vanished",
        (13,),
        Owner.FAR_SIDE,
        88,
        _vanished,
        "TLS is required and no longer offered, though it was before",
        "ask the far side",
    ),
    Rule(
        "starttls-not-offered",
        (13,),
        Owner.FAR_SIDE,
        75,
        _not_offered,
        "TLS is required and not offered",
        "ask the far side",
    ),
    Rule(
        "starttls-refused", (13, 17), Owner.FAR_SIDE, 75, _refused, "STARTTLS offered, then refused", "ask the far side"
    ),
    Rule("tls-certificate-expired", (15,), Owner.FAR_SIDE, 80, _expired, "their certificate has expired", "tell them"),
    Rule(
        "tls-certificate-not-yet-valid",
        (15,),
        Owner.FAR_SIDE,
        80,
        _not_yet,
        "their certificate is not valid yet",
        "compare clocks",
    ),
    Rule(
        "tls-certificate-self-signed",
        (16,),
        Owner.FAR_SIDE,
        80,
        _self_signed,
        "their certificate is self-signed",
        "tls_ca_file",
    ),
    Rule(
        "tls-chain-incomplete",
        (16,),
        Owner.FAR_SIDE,
        80,
        _leaf_only,
        "they send the leaf only",
        "have the chain completed",
    ),
    Rule(
        "tls-untrusted-root",
        (16,),
        Owner.FAR_SIDE,
        78,
        _untrusted,
        "their chain ends at an unknown root",
        "tls_ca_file",
    ),
    Rule(
        "tls-name-mismatch",
        (14,),
        Owner.FAR_SIDE,
        80,
        _mismatch,
        "their certificate is for other names",
        "tls_domain, or have it reissued",
    ),
    Rule(
        "tls-certificate-invalid", (14, 15, 16), Owner.FAR_SIDE, 55, _other_verification, "any other fault", "tell them"
    ),
    Rule(
        "tls-client-certificate-demanded",
        (22,),
        Owner.YOU,
        80,
        _wants_certificate,
        "the peer demands a client certificate",
        "be allowed by address",
    ),
    Rule(
        "tls-our-certificate-refused",
        (15, 16, 22),
        Owner.YOU,
        82,
        _ours_refused,
        "the peer's alert refuses the certificate that we show",
        "show one that it accepts",
    ),
    Rule(
        "tls-no-common-version",
        (21,),
        Owner.FAR_SIDE,
        72,
        _no_agreement,
        "no version or cipher in common",
        "TLS 1.2 there",
    ),
    Rule(
        "tls-handshake-fails",
        (17, 22),
        Owner.FAR_SIDE,
        50,
        _breaks,
        "any other end of the handshake",
        "bridgehead test smtp",
    ),
]
