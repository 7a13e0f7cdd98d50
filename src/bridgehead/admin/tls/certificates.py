# SPDX-License-Identifier: MIT
"""The list of certificates: what each is, who shows it to whom, and what is amiss (Get-ExchangeCertificate)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.tls.certificate_site import Certificates, CertificateSite, CertificateUser
from bridgehead.admin.tls.certificate_views import CertificateReport, CertificateUse, CertificateView
from bridgehead.net.certificates.chain import ChainFacts, check_key, read_bounded
from bridgehead.net.certificates.change import names_shown
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.routing.tls_policy import name_matches

SOON_DAYS: Final = 30
_EDGE_PIN: Final = 256
"""Characters of a TlsCertificateName that Exchange's Edge servers take."""


def report_certificates(site: CertificateSite) -> CertificateReport:
    """Every certificate that the server knows. Blocks for the disk."""
    known = Certificates(site)
    problems: dict[str, None] = {}
    shown: dict[CertificatePair, list[CertificateUser]] = {}
    for user in site.users:
        try:
            shown.setdefault(known.shown_by(user), []).append(user)
        except CertificateError as error:
            problems[f"{user.label} has no certificate: {error}"] = None
        if len(user.tls.pin) > _EDGE_PIN:
            problems[
                f"{user.label}: tls_certificate_name has {len(user.tls.pin)} characters; an Exchange Edge server "
                f"ignores more than {_EDGE_PIN}: pin the certificate by a name"
            ] = None
    views = []
    for pair in dict.fromkeys((site.default, *site.pairs, *shown)):
        try:
            views.append(_view(site, known, pair, shown.get(pair, [])))
        except CertificateError as error:
            problems[f"{error}{_wanted_by(shown.get(pair, []))}"] = None
    return CertificateReport(certificates=views, problems=list(problems))


def find_certificate(report: CertificateReport, wanted: str) -> CertificateView:
    """By name, file, or the beginning of the fingerprint. Raises AdminFault."""
    text = wanted.strip().lower()
    for fits in (
        lambda one: one.name.lower() == text,
        lambda one: text in (name.lower() for name in one.names),
        lambda one: text in (one.certificate_file.lower(), one.key_file.lower()),
        lambda one: len(text) >= 8 and one.fingerprint.lower().startswith(text.replace(":", "")),
    ):
        found = [one for one in report.certificates if fits(one)]
        if found:
            return max(found, key=lambda one: (one.kept, not one.self_signed, one.not_after))
    names = ", ".join(dict.fromkeys(one.name for one in report.certificates)) or "none"
    raise AdminFault(NOT_FOUND, f'there is no certificate "{wanted}"', f"these are known: {names}")


def _view(
    site: CertificateSite, known: Certificates, pair: CertificatePair, users: list[CertificateUser]
) -> CertificateView:  # fmt: skip
    facts = known.facts(pair)
    leaf = facts.leaf
    kept_as = site.folder.name_of(pair)
    return CertificateView(
        name=kept_as or (leaf.names[0] if leaf.names else leaf.subject),
        names=list(leaf.names),
        issuer=leaf.issuer,
        subject=leaf.subject,
        serial=leaf.serial,
        fingerprint=leaf.fingerprint,
        not_before=datetime.fromtimestamp(leaf.not_before, UTC),
        not_after=datetime.fromtimestamp(leaf.not_after, UTC),
        days_left=int((leaf.not_after - site.now) // 86400),
        key_type=facts.key_type,
        chain_length=leaf.chain_length,
        chain_complete=facts.complete,
        trusted=facts.trusted,
        missing_issuer=facts.missing,
        self_signed=leaf.self_signed,
        server_use=facts.server_use,
        client_use=leaf.client_use,
        certificate_file=str(pair.certificate),
        key_file=str(pair.key),
        kept=bool(kept_as),
        acme=kept_as in site.acme_names,
        uses=_uses(site, known, pair, users),
        warnings=list(_warnings(site, known, pair, facts, users)),
    )


def _uses(
    site: CertificateSite, known: Certificates, pair: CertificatePair, users: list[CertificateUser]
) -> list[CertificateUse]:  # fmt: skip
    uses = [CertificateUse(by=user.label, how=how_chosen(user, known.facts(pair))) for user in users]
    if pair in site.pairs:
        names = names_shown(known.facts(pair).leaf.names)
        uses += [
            CertificateUse(by=user.label, how=f"to clients that ask for {names} (SNI)")
            for user in site.users
            if user.asked_by_name and user not in users
        ]
    return uses


def how_chosen(user: CertificateUser, facts: ChainFacts) -> str:
    """Why somebody shows a certificate."""
    if user.tls.certificate_file:
        return "its own file"
    if user.tls.pin:
        return f"pinned as {user.tls.pin}"
    return f"by its name {user.fqdn}" if name_matches(facts.leaf.names, user.tls.fqdn) else "by default"


def _warnings(
    site: CertificateSite, known: Certificates, pair: CertificatePair, facts: ChainFacts, users: list[CertificateUser]
) -> Iterator[str]:  # fmt: skip
    yield from _about_dates(site, known, pair, facts, users)
    if users or not facts.leaf.self_signed:  # the one made at the first start stays, when nobody shows it any more
        yield from chain_warnings(facts)
    try:
        if problem := check_key(read_bounded(pair.key), facts.ders[0]):
            yield f"{pair.key}: {problem}; nobody can show this certificate"
    except CertificateError as error:
        yield f"{error}; the server's account must be able to read the key"
    for user in users:
        if not user.client and not user.tls.pin and user.fqdn and not name_matches(facts.leaf.names, user.fqdn):
            yield (
                f"{user.label} calls itself {user.fqdn}, which this certificate does not carry: clients that look "
                f"refuse it; bind one for {user.fqdn}"
            )
        if user.client and not facts.leaf.client_use:
            yield f"{user.label} shows it to servers, and it has no Client Authentication usage: some refuse it"
        if not user.client and not facts.server_use:
            yield f"{user.label} shows it to clients, without Server Authentication usage: those that look refuse it"
    if not users and pair in site.pairs and not any(one.asked_by_name for one in site.users):
        yield "nobody shows it: every connector is pinned to another or has its own file"


def _about_dates(
    site: CertificateSite, known: Certificates, pair: CertificatePair, facts: ChainFacts, users: list[CertificateUser]
) -> Iterator[str]:  # fmt: skip
    leaf, moment = facts.leaf, datetime.fromtimestamp(facts.leaf.not_after, UTC)
    if site.now < leaf.not_before:
        yield f"it is valid only from {datetime.fromtimestamp(leaf.not_before, UTC):%Y-%m-%d} on"
    left = (leaf.not_after - site.now) / 86400
    if left >= SOON_DAYS:
        return
    said = f"it expired on {moment:%Y-%m-%d}" if left < 0 else f"it expires in {int(left)} days, on {moment:%Y-%m-%d}"
    newer = [
        one.facts
        for one in known.known()
        if one.pair != pair and set(leaf.names) & set(one.facts.names) and one.facts.not_after > leaf.not_after
    ]
    if newer and users:
        until = datetime.fromtimestamp(max(one.not_after for one in newer), UTC)
        yield f"{said}; a renewed one, valid to {until:%Y-%m-%d}, is there but not bound to {users[0].label}"
    elif not newer:
        yield f"{said}: renew it"


def chain_warnings(facts: ChainFacts) -> Iterator[str]:
    """What whoever checks chains will say."""
    if facts.broken:
        yield f"the chain is broken: {facts.broken}"
    elif facts.leaf.self_signed:
        yield "it is self-signed: whoever checks certificates refuses it"
    elif facts.missing:
        only = "only its own certificate is sent" if facts.leaf.chain_length == 1 else "the chain sent is not complete"
        yield f"{only}; clients do not fetch what is missing: add the certificate of {facts.missing} to the file"
    elif not facts.trusted:
        yield "its chain leads to a root that this system does not trust: only who was given that root believes it"


def _wanted_by(users: list[CertificateUser]) -> str:
    return f" (shown by {', '.join(user.label for user in users)})" if users else ""
