# SPDX-License-Identifier: MIT
"""Causes between connecting and the last octet: blocked ports, rewriting firewalls, sessions that break off."""

from typing import Final

from bridgehead.diagnosis.facts import AttemptFacts, Evidence, Finding, How, Owner, Phase
from bridgehead.diagnosis.rule import Rule, clock, connector_name, found, hosts_of, ip_of, octets, pick, retry

_BLOCKED_ADDRESSES: Final = 3
_SMALL: Final = 4096
"""Octets of content within which a drop speaks of packet size rather than of a limit."""


def _timed_out(one: AttemptFacts) -> bool:
    return one.phase is Phase.CONNECT and one.how is How.TIMED_OUT


def _port_blocked(evidence: Evidence) -> Finding | None:
    mine = pick(evidence.attempts, _timed_out)
    if not mine or len(mine) < len(evidence.attempts):
        return None
    everybody = [*mine, *pick(evidence.elsewhere, _timed_out)]
    port = mine[-1].port
    since = min(one.first or one.time for one in everybody)
    addresses = {one.address for one in everybody if one.port == port}
    answered = [one for one in evidence.elsewhere if one.phase not in (Phase.CONNECT, Phase.DNS) and one.time > since]
    if len(addresses) < _BLOCKED_ADDRESSES or len({one.queue for one in everybody}) < 2 or answered:
        return None
    if evidence.good_elsewhere > since or evidence.last_good > since:
        return None
    works = f", while {' and '.join(map(str, evidence.open_ports))} answers" if evidence.open_ports else ""
    return found(
        evidence,
        mine,
        f"Port {port} out is blocked for everyone{works}: {len(addresses)} addresses of "
        f"{len({one.queue for one in everybody})} destinations give no answer at all since {clock(since)}. A provider, "
        "cloud or antivirus rule drops the packets.",
        'have outgoing port 25 opened, or send through a smart host: smart_hosts = ["relay.provider.net:587"]',
        [f"no answer from {address}:{port}" for address in sorted(addresses)],
    )


def _source_blocked(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, _timed_out)
    before = [host for host in evidence.hosts if host.local]
    if not failing or not before:
        return None
    old = ip_of(max(before, key=lambda host: host.last_good).local)
    new = next((source for one in failing for source in (ip_of(one.local), *evidence.connector.sources) if source), "")
    if not new or new == old:
        return None
    return found(
        evidence,
        failing,
        f"Connections from {new} to port {failing[-1].port} get no answer; from {old} they worked until "
        f"{clock(evidence.last_good)}: an outbound rule or NAT still names the old address.",
        f"allow {new} on the firewall, or put source_ip_addresses of {connector_name(evidence) or 'the connector'} "
        f"back to {old}",
    )


def _no_answer(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, _timed_out)
    if not failing:
        return None
    last = f" It answered last {clock(evidence.last_good)}." if evidence.last_good else ""
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} gives no answer to the attempt to connect to port {failing[-1].port}: the host is "
        f"down, or "
        f"a firewall on the way drops the packets.{last}",
        f"test the way there: bridgehead test smtp {failing[-1].address}:{failing[-1].port}",
    )


def _refused(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.CONNECT and one.how is How.REFUSED)
    if not failing:
        return None
    last = failing[-1]
    return found(
        evidence,
        failing,
        f"Nothing listens on port {last.port} at {hosts_of(failing)}: the connection is refused"
        + (f"; until {clock(evidence.last_good)} it was taken." if evidence.last_good else "."),
        f"have the mail service there started, then: {retry(evidence)}",
    )


def _unreachable(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.CONNECT and one.how is How.UNREACHABLE)
    if not failing:
        return None
    last = failing[-1]
    if "assign" in last.error.lower():
        sources = ", ".join(evidence.connector.sources)
        return found(
            evidence, failing, f"This machine has none of the addresses that the connector sends from ({sources}).",
            f"correct source_ip_addresses of {connector_name(evidence)}, then: bridgehead reload",
            detail=connector_name(evidence),
        )  # fmt: skip
    return found(
        evidence,
        failing,
        f"There is no route to {hosts_of(failing)} ({last.error}).",
        f"look at this machine's routes: ip route get {last.address}",
    )


def _differently(evidence: Evidence) -> Finding | None:
    by_address: dict[str, AttemptFacts] = {}
    for one in evidence.attempts:
        if one.address and one.phase not in (Phase.RCPT, Phase.MAIL, Phase.DATA, Phase.AFTER_DOT):
            by_address[f"{one.address}:{one.port}"] = one
    kinds = {(one.phase, one.how, one.status) for one in by_address.values()}
    if len(by_address) < 2 or len(kinds) < 2:
        return None
    told = ", ".join(f"{one.where} {_in_short(one)}" for one in by_address.values())
    return found(
        evidence,
        list(by_address.values()),
        f"{len(by_address)} hosts were tried, and each fails in its own way: {told}.",
        f"mend the one that is yours to mend, or see each attempt: bridgehead why '{evidence.queue}' --transcript",
    )


def _in_short(one: AttemptFacts) -> str:
    """What one host did, in a few words."""
    match one.how:
        case How.REFUSED:
            return "refuses the connection"
        case How.TIMED_OUT:
            return "does not answer"
        case How.UNREACHABLE:
            return "is unreachable"
        case How.DROPPED:
            return "drops the connection"
        case How.REPLY:
            return f'says "{one.reply[:80]}"'
        case _:
            return f"fails in {one.phase.value} ({one.alert or one.error[:80]})"


def is_rewritten(banner: str, keywords: tuple[str, ...]) -> bool:
    """Whether a box on the way replaced text: asterisks for the banner, X for keywords that it does not know."""
    return "*****" in banner or any(len(word) >= 7 and set(word[:-1]) == {"X"} for word in keywords)


def _rewriting(evidence: Evidence) -> Finding | None:
    hit = pick(evidence.attempts, lambda one: is_rewritten(one.banner, (*one.keywords, *one.in_clear)))
    if not hit:
        return None
    last = hit[-1]
    seen = "asterisks in the banner" if "*****" in last.banner else "keywords overwritten with X"
    without = "" if "STARTTLS" in last.in_clear or last.secure else ", and STARTTLS is not offered"
    return found(
        evidence,
        hit,
        f"A firewall rewrites SMTP on the way to {last.where} ({seen}{without}). Turn off its SMTP inspection.",
        f"switch off SMTP inspection (fixup, Mailguard, ESMTP inspect) on the firewall, then: {retry(evidence)}",
        [f"banner: {last.banner}"],
    )


def _never_greets(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.BANNER and one.how is How.SILENT)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} takes the connection and never greets: it is overloaded, or a device on the way "
        f"answers in "
        "its place.",
        "wait; if it stays, ask the far administrator with our address and the time",
    )


def _hangs_up(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts,
        lambda one: one.how is How.DROPPED and one.phase in (Phase.BANNER, Phase.EHLO, Phase.STARTTLS),
    )
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} takes the connection and closes it without a word ({failing[-1].phase.value}): our "
        f"address "
        "is not let in there, or a device on the way cuts it.",
        "ask the far administrator whether our address is allowed",
    )


def _no_smtp(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.how is How.PROTOCOL)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"What answers at {hosts_of(failing)} does not speak SMTP as it should: {failing[-1].error}.",
        "see whether address and port are right; port 465 wants TLS first and is not used for relaying",
    )


def _cut_in_content(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.DATA and one.how in (How.DROPPED, How.SILENT))
    if not failing:
        return None
    least, most = min(one.least or one.octets for one in failing), max(one.most or one.octets for one in failing)
    times = sum(one.count for one in failing)
    how = "Dropped" if failing[-1].how is How.DROPPED else "Silence"
    about = f"about {octets(most)}" if most - least <= max(64, most // 10) else f"{octets(least)} to {octets(most)}"
    if most <= _SMALL and failing[-1].size > most:
        meaning = "path MTU (large packets do not get through), not SMTP"
        do = 'lower the MTU on the way or allow ICMP "fragmentation needed"; test: ping -M do -s 1472'
    elif most - least <= most // 10 and times > 1:
        meaning = "always at the same size: a limit or an inspecting device, not the network"
        do = "ask the far administrator for the size limit, or switch SMTP inspection off"
    else:
        meaning = "an inspecting device, the far side's limit, or an idle time too short for messages of this size"
        do = f"see how long each session lasted: bridgehead why '{evidence.queue}' --transcript"
    last = failing[-1]
    return found(
        evidence,
        failing,
        f"{how} after {about} of DATA in {times} of {evidence.sessions} tries (the message has {octets(last.size)}) by "
        f"{last.where}: {meaning}.",
        do,
    )


def _in_doubt(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.AFTER_DOT and one.how in (How.DROPPED, How.SILENT))
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} takes the whole message and then "
        f"{'drops the connection' if failing[-1].how is How.DROPPED else 'says nothing'} "
        "instead of answering: whether it has the message cannot be known, and it may arrive twice.",
        "have the far side look at its content filter's time-outs",
    )


def _closed_between(evidence: Evidence) -> Finding | None:
    failing = pick(
        evidence.attempts,
        lambda one: one.how in (How.DROPPED, How.SILENT) and one.phase in (Phase.MAIL, Phase.RCPT, Phase.AUTH),
    )
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"{hosts_of(failing)} ends the session at {failing[-1].phase.value.upper()} without a reply.",
        "ask the far administrator, with our address and the time",
    )


def _local(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.LOCAL)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"Delivery on this machine fails: {failing[-1].error}.",
        f"mend it (folder, rights, disk space, the mailbox store), then: {retry(evidence)}",
    )


def _login_without_tls(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.AUTH and one.how is How.POLICY)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The login of the connector cannot be used: {failing[-1].error}.",
        f"correct it on {connector_name(evidence) or 'the connector'}, then: bridgehead reload; {retry(evidence)}",
        detail=connector_name(evidence),
    )


SESSION_RULES: Final = [
    Rule(
        "firewall-rewrites-smtp",
        (10,),
        Owner.NETWORK,
        92,
        _rewriting,
        "asterisks in the banner or X-ed keywords: a box rewrites SMTP",
        "switch off SMTP inspection",
    ),
    Rule(
        "port-25-blocked",
        (7,),
        Owner.NETWORK,
        90,
        _port_blocked,
        "no answer from three or more addresses of several destinations, and success nowhere",
        "smart host on 587",
    ),
    Rule(
        "source-address-blocked",
        (6,),
        Owner.NETWORK,
        85,
        _source_blocked,
        "no answer since the source address changed",
        "allow the new source address",
    ),
    Rule(
        "hosts-fail-differently",
        (9,),
        Owner.FAR_SIDE,
        60,
        _differently,
        "several hosts, each with its own error",
        "look at each",
    ),
    Rule(
        "connection-timed-out",
        (6,),
        Owner.NETWORK,
        40,
        _no_answer,
        "no answer to the attempt to connect",
        "bridgehead test smtp ADDRESS",
    ),
    Rule("connection-refused", (5,), Owner.FAR_SIDE, 40, _refused, "the port is closed", "have the service started"),
    Rule(
        "unreachable",
        (6,),
        Owner.YOU,
        40,
        _unreachable,
        "no route, or a source address that is not ours",
        "ip route get",
    ),
    Rule("never-greets", (8,), Owner.FAR_SIDE, 45, _never_greets, "connected, then silence", "wait or ask"),
    Rule(
        "hangs-up", (8,), Owner.FAR_SIDE, 45, _hangs_up, "closed before or right after the banner", "ask the far side"
    ),
    Rule("not-smtp", (8,), Owner.FAR_SIDE, 45, _no_smtp, "the answer is no SMTP", "correct address and port"),
    Rule(
        "cut-in-content",
        (8,),
        Owner.NETWORK,
        70,
        _cut_in_content,
        "the connection breaks in the midst of the content, with how many octets were sent",
        "MTU, inspection, limits",
    ),
    Rule("in-doubt", (8,), Owner.FAR_SIDE, 65, _in_doubt, "no reply to the final dot", "the far side's filter"),
    Rule(
        "closed-in-envelope",
        (8,),
        Owner.FAR_SIDE,
        45,
        _closed_between,
        "dropped between AUTH and DATA",
        "ask the far side",
    ),
    Rule(
        "login-impossible",
        (27, 28),
        Owner.YOU,
        75,
        _login_without_tls,
        "our own login cannot be used: no TLS, no common mechanism, no password",
        "correct the connector",
    ),
    Rule(
        "local-delivery-fails",
        (),
        Owner.YOU,
        50,
        _local,
        "mailbox store, drop directory or a setting of ours",
        "mend it, then retry",
    ),
]
