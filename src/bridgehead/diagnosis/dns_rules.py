# SPDX-License-Identifier: MIT
"""Causes in name resolution: our resolvers, the domain's name servers, records that lead nowhere (RFC 1035, RFC "
"7505)."""

import difflib
from typing import Final

from bridgehead.diagnosis.facts import AttemptFacts, DnsFacts, Evidence, Finding, Owner, Phase
from bridgehead.diagnosis.rule import Rule, clock, connector_name, found, pick

ALIVE: Final = "."
"""The name that a resolver is asked for to see whether it answers at all."""
_NO_ANSWER: Final = ("4.4.3", "4.4.4")


def _dns(one: AttemptFacts) -> bool:
    return one.phase is Phase.DNS


def _resolver_dead(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _dns(one) and one.status in _NO_ANSWER)
    servers = [fact for fact in evidence.dns if fact.server and fact.name == ALIVE]
    if not failing or not servers or any(fact.outcome != "failed" for fact in servers):
        return None
    said = "; ".join(f"{fact.server} {_complaint(fact)}" for fact in servers)
    since = min(one.first or one.time for one in failing)
    name = "The resolver" if len(servers) == 1 else "None of the resolvers"
    verb = "does not answer" if len(servers) == 1 else "answers"
    return found(
        evidence,
        failing,
        f"{name} {verb} ({said}), since {clock(since)} at the latest: no name can be resolved, and nothing can leave "
        "until one answers.",
        "set dns_servers to a resolver that answers, then: bridgehead reload",
        [f"{fact.server}: {fact.reason} after {fact.seconds:.1f} s" for fact in servers],
        "dns_servers of [server] or of the connector",
    )


def _complaint(fact: DnsFacts) -> str:
    return "refuses to resolve" if "refus" in fact.reason.lower() else "is silent or fails"


def _aaaa_ignored(evidence: Evidence) -> Finding | None:
    for six in evidence.dns:
        if six.kind != "AAAA" or six.outcome != "failed" or six.server:
            continue
        four = next(
            (fact for fact in evidence.dns if fact.name == six.name and fact.kind == "A" and not fact.server), None
        )
        if four is None or four.outcome == "failed":
            continue
        about = pick(evidence.attempts, _dns)
        what = "an A record" if four.outcome == "found" else "for A that there is none"
        ending = (
            "Mail goes out over IPv4 all the same; the fault is theirs."
            if four.outcome == "found"
            else "Whether the host has an address cannot be known, so mail waits; the fault is theirs."
        )
        finding = found(
            evidence, about,
            f"The name servers for {six.name} answer {what} but not AAAA ({six.reason or 'no answer'}, "
            f"{six.seconds:.1f} s). "
            f"{ending}",
            "have the domain's administrator repair AAAA answers; meanwhile: name its host as a smart host by IPv4 "
            "address",
            [_shown(four), _shown(six)],
        )  # fmt: skip
        if four.outcome == "found":
            finding.agreeing = finding.seen = 0  # proved by the answers themselves, not by failed sessions
        return finding
    return None


def _shown(fact: DnsFacts) -> str:
    return f"{fact.kind} of {fact.name}: {fact.outcome} {' '.join(fact.values)}{fact.reason}"


def _domain_fails(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _dns(one) and one.status == "4.4.3")
    if not failing:
        return None
    alive = [fact for fact in evidence.dns if fact.server and fact.outcome != "failed"]
    why = "its name servers are down, or its DNSSEC signatures are broken" if alive else "nothing usable came back"
    return found(
        evidence,
        failing,
        f"DNS gives no answer for {evidence.subject}: {failing[-1].error.removeprefix('DNS gave no answer: ')}; {why}.",
        f"bridgehead test domain {evidence.subject}",
        [f"{fact.server} answers for other names" for fact in alive],
    )


def _no_such_domain(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts, lambda one: _dns(one) and one.status[1:] == ".4.4" and "does not exist" in one.error
    )
    if not failing or evidence.connector.smart_hosts:
        return None
    name = evidence.subject
    near = nearest_domain(name, evidence)
    return found(
        evidence,
        failing,
        f"{name} does not exist.{near}",
        "correct the address and send again",
        [f"DNS says NXDOMAIN for {name}"],
    )


def nearest_domain(name: str, evidence: Evidence) -> str:
    """A sentence about the domain that was probably meant, "" for none."""
    others = [known for known in evidence.known_domains if known != name]
    close = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
    if not close:
        return ""
    count = evidence.known_domains[close[0]]
    return f" {count} earlier {'message' if count == 1 else 'messages'} went to {close[0]}."


def _leads_nowhere(evidence: Evidence) -> Finding | None:
    texts = ("that have no address", "has neither MX nor address")
    failing = pick(evidence.attempts, lambda one: _dns(one) and any(text in one.error for text in texts))
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{failing[-1].error.partition('; ')[2] or failing[-1].error}: its DNS records lead nowhere.",
        f"have the administrator of {evidence.subject} repair the MX record",
    )


def _null_mx(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _dns(one) and one.status[1:] == ".1.10")
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{evidence.subject} says in DNS that it takes no mail at all (null MX, RFC 7505).",
        "correct the address and send again",
    )


def _loops_back(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _dns(one) and one.status[1:] == ".4.6")
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"Mail for {evidence.subject} loops: the domain's best mail host is this server, which does not accept the "
        "domain as its own.",
        f'add [[accepted_domains]] domain_name = "{evidence.subject}", or correct its MX record, then: bridgehead '
        f"reload",
        detail="accepted domains of this server",
    )


def _smart_host(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: _dns(one) and one.status == "4.4.4")
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The smart host of {connector_name(evidence) or 'the connector'} cannot be found: {failing[-1].error}.",
        f"correct smart_hosts ({evidence.connector.origin or 'send_connectors'}), then: bridgehead reload",
        detail=connector_name(evidence),
    )


DNS_RULES: Final = [
    Rule(
        "resolver-dead",
        (2,),
        Owner.YOU,
        95,
        _resolver_dead,
        "no resolver in use answers any question",
        "set dns_servers to one that answers",
    ),
    Rule(
        "dns-aaaa-ignored",
        (1,),
        Owner.FAR_SIDE,
        85,
        _aaaa_ignored,
        "the name servers answer A but drop or garble AAAA",
        "have the domain's administrator repair them",
    ),
    Rule(
        "domain-does-not-exist",
        (11,),
        Owner.SENDER,
        80,
        _no_such_domain,
        "NXDOMAIN, with the nearest domain that mail went to",
        "correct the address",
    ),
    Rule("null-mx", (11,), Owner.SENDER, 80, _null_mx, "the domain takes no mail (RFC 7505)", "correct the address"),
    Rule(
        "loops-back",
        (61,),
        Owner.YOU,
        80,
        _loops_back,
        "the best MX of a foreign domain is this server",
        "accept the domain or correct its MX",
    ),
    Rule(
        "mx-leads-nowhere",
        (1, 11),
        Owner.FAR_SIDE,
        75,
        _leads_nowhere,
        "the MX names hosts without address",
        "have the domain's administrator repair it",
    ),
    Rule(
        "smart-host-unresolvable",
        (4,),
        Owner.YOU,
        75,
        _smart_host,
        "no smart host of the connector can be resolved",
        "correct smart_hosts",
    ),
    Rule(
        "domain-dns-fails",
        (1,),
        Owner.FAR_SIDE,
        70,
        _domain_fails,
        "SERVFAIL or silence for one domain while the resolver answers for others",
        "bridgehead test domain shows each server's answer; retry later",
    ),
]
