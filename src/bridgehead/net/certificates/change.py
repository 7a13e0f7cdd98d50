# SPDX-License-Identifier: MIT
"""What speaks against showing a new certificate where another was shown before: what clients would miss.

The check before a certificate is bound and the one at a hot reload use the same rules, so what passed the first is not
refused by the second.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from bridgehead.net.certificates.chain import ChainFacts
from bridgehead.net.certificates.pairs import CertificateSummary
from bridgehead.routing.tls_policy import name_matches

EXCHANGE_PIN = "<I>"


def change_problems(
    old: ChainFacts | None, new: ChainFacts, *, fqdn: str = "", pin: str = "", now: float, as_client: bool = False
) -> list[str]:
    """Sentences that begin in lower case; none where nothing speaks against it.

    Args:
        old: what is shown now; None where nothing is.
        fqdn: by which the connector is known; counts only where the old certificate carries it.
        pin: TlsCertificateName of the connector.
        as_client: the connector shows it to servers.
    """
    problems = [*_dates(old, new, now), *_chain(old, new)]
    if pin and not fits_pin(new.leaf, pin):
        problems.append(pin_problem(new.leaf, pin))
    if fqdn and old is not None and name_matches(old.leaf.names, fqdn) and not name_matches(new.leaf.names, fqdn):
        problems.append(f"it does not carry {fqdn}, which the one in use does; it is for {_names(new)}")
    if as_client:
        if not new.leaf.client_use and (old is None or old.leaf.client_use):
            problems.append(
                "it has no Client Authentication usage, which the one in use has: a server that demands it ends the "
                "handshake"
                if old is not None
                else "it has no Client Authentication usage: a server that demands it ends the handshake"
            )
    elif not new.server_use and (old is None or old.server_use):
        problems.append("it has no Server Authentication usage: clients that look refuse it")
    return problems


def _dates(old: ChainFacts | None, new: ChainFacts, now: float) -> list[str]:
    """An expired one for one that is expired as well is no worse."""
    if new.is_current(now) or (old is not None and not old.is_current(now)):
        return []
    if now >= new.leaf.not_after:
        return [f"it expired on {day(new.leaf.not_after)}"]
    return [f"it is valid only from {day(new.leaf.not_before)} on"]


def _chain(old: ChainFacts | None, new: ChainFacts) -> list[str]:
    if new.broken and (old is None or not old.broken):
        return [f"its chain is broken: {new.broken}"]
    if old is None:
        return []
    if old.complete and not new.complete and new.missing:
        return [f"its chain is incomplete: the certificate of {new.missing} is missing from the file"]
    if old.trusted and not new.trusted:
        how = "is self-signed" if new.leaf.self_signed else "leads to no trust anchor of this system"
        return [f"it {how}, and the one in use leads to one"]
    return []


def fits_pin(facts: CertificateSummary, pin: str) -> bool:
    """Whether a TlsCertificateName means a certificate: by one of its names, so that a renewal changes nothing, or by
    issuer and subject as Exchange writes them."""
    if not pin.startswith(EXCHANGE_PIN):
        return name_matches(facts.names, pin)
    issuer, _, subject = pin.removeprefix(EXCHANGE_PIN).partition("<S>")
    return _name_parts(issuer) == _name_parts(facts.issuer) and _name_parts(subject) == _name_parts(facts.subject)


def is_successor(facts: CertificateSummary, pin: str) -> bool:
    """Whether only the issuer differs from Exchange's form of a pin."""
    return pin.startswith(EXCHANGE_PIN) and _name_parts(pin.partition("<S>")[2]) == _name_parts(facts.subject)


def pin_problem(facts: CertificateSummary, pin: str) -> str:
    """Why a certificate is not the one that is pinned."""
    if is_successor(facts, pin):
        issuer = pin.removeprefix(EXCHANGE_PIN).partition("<S>")[0]
        return f"the pin names the issuer {issuer}, and this one is issued by {facts.issuer}; pin it by a name instead"
    return f"it does not fit the pin {pin}"


def _name_parts(distinguished_name: str) -> frozenset[str]:
    """Parts of a distinguished name; programs disagree about their order and spacing."""
    return frozenset(part.strip().lower() for part in distinguished_name.split(",") if part.strip())


def _names(facts: ChainFacts) -> str:
    return names_shown(facts.leaf.names)


def names_shown(names: Sequence[str]) -> str:
    """Names of a certificate for a sentence."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "no name"


def day(moment: float) -> str:
    """A Unix time as a day."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
