# SPDX-License-Identifier: MIT
"""Whether a connector's expectations hold: a step for each in its test's tree.

Judged on what the connector's own test showed; "from ADDRESS" by the rules that sessions use, and on the wire as well
where the address is one of this machine's.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from bridgehead.admin.connector.expectations import KEYWORDS, Expectation
from bridgehead.admin.connector.receive_rights import foreign_recipient
from bridgehead.admin.connector.relay_self_test import ask_as, evaluate
from bridgehead.admin.probe.observed import Observed
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.mail.reply import Reply
from bridgehead.mail.units import ByteSize
from bridgehead.net.ip_range import parse_binding, parse_ip
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.routing.settings import SendConnector
from bridgehead.routing.tls_policy import TlsUse, name_matches, tls_policy
from bridgehead.smtp.client_events import Extensions


class Outcome(NamedTuple):
    """Whether it holds, and the sentence that says so."""

    holds: bool
    sentence: str


async def judge_send(
    site: Site, tree: StepBuilder, connector: SendConnector, expectations: Sequence[Expectation],
    seen: Sequence[Observed],
) -> None:  # fmt: skip
    """A step for each expectation of a send connector."""

    async def outcome(one: Expectation) -> Outcome:
        return _observed(site, one, seen, connector)

    await _judge(tree, expectations, outcome)


async def judge_receive(
    site: Site, tree: StepBuilder, connector: ReceiveConnector, expectations: Sequence[Expectation],
    seen: Sequence[Observed],
) -> None:  # fmt: skip
    """A step for each expectation of a receive connector."""

    async def outcome(one: Expectation) -> Outcome:
        if one.form.startswith(("relay ", "recipient ", "chosen ")):
            return await _by_rules(site, connector, one)
        return _observed(site, one, seen, connector)

    await _judge(tree, expectations, outcome)


async def _judge(
    tree: StepBuilder, expectations: Sequence[Expectation], outcome: Callable[[Expectation], Awaitable[Outcome]]
) -> None:  # fmt: skip
    if not expectations:
        return
    with tree.step("Comparing with what is expected") as above:
        for one in expectations:
            with above.step("") as step:
                _tell(step, one, await outcome(one))
        _sum_up(above, len(expectations))


def _tell(step: StepBuilder, one: Expectation, outcome: Outcome) -> None:
    if outcome.holds:
        step.passed(f'"{one.text}" holds: {outcome.sentence}')
    else:
        step.failed(f'"{one.text}" does not hold: {outcome.sentence}', "see to the cause, or change `expect`")


def _sum_up(above: StepBuilder, number: int) -> None:
    failed = above.failures
    above.say(f"{failed} of {number} expectations do not hold" if failed else f"All {number} expectations hold")


def _observed(
    site: Site, one: Expectation, seen: Sequence[Observed], connector: SendConnector | ReceiveConnector
) -> Outcome:  # fmt: skip
    """Whether it holds of every address that answered."""
    reached = [each for each in seen if each.reachable]
    if one.form == "domain NAME":
        return Outcome(bool(reached), "its mail hosts were tested" if reached else "none of its mail hosts answers")
    if not reached:
        return Outcome(False, "nothing answered, so that it cannot be said")
    outcomes = [(each.address, _of_address(site, one, each, connector)) for each in reached]
    for address, outcome in outcomes:
        if not outcome.holds:
            return Outcome(False, f"{address}: {outcome.sentence}")
    return outcomes[0][1]


def _of_address(
    site: Site, one: Expectation, seen: Observed, connector: SendConnector | ReceiveConnector
) -> Outcome:  # fmt: skip
    form = one.form
    if form == "reachable":
        return Outcome(True, f"{seen.address} answers EHLO")
    if form.startswith(("starttls", "tls")):
        return _tls_outcome(form, one.values, seen, connector)
    if form.startswith("certificate"):
        return _certificate_outcome(one, seen, site.clock.now(), checked=isinstance(connector, SendConnector))
    if form == "auth succeeds":
        return Outcome(seen.logged_on is True, _LOG_ON[seen.logged_on])
    if form.startswith("auth"):
        return _auth_outcome(form, one.values, seen)
    if form.startswith("recipient"):
        reply = next((reply for path, reply in seen.replies.items() if path.lower() == one.values[0]), None)
        return _reply_outcome(reply, wanted=one.values[1] == "accepted")
    offered = seen.offered or Extensions()
    if form == "size at least SIZE":
        wanted = ByteSize.parse(one.values[0])
        shown = "no SIZE" if offered.size is None else f"SIZE {offered.size or 'without a limit'}"
        return Outcome(offered.size is None or offered.size == 0 or offered.size >= wanted, f"it offers {shown}")
    has = bool(getattr(offered, KEYWORDS[one.values[0]]))
    return Outcome(has, f"{one.values[0].upper()} is {'' if has else 'not '}offered")


_LOG_ON: Final = {True: "the log-on works", False: "the log-on is refused", None: "the test did not come to the log-on"}


def _tls_outcome(
    form: str, values: tuple[str, ...], seen: Observed, connector: SendConnector | ReceiveConnector
) -> Outcome:  # fmt: skip
    offered = seen.before is not None and seen.before.starttls
    shown = "STARTTLS is offered" if offered else "STARTTLS is not offered"
    if form == "starttls offered":
        return Outcome(offered, shown)
    if form == "starttls not offered":
        return Outcome(not offered, shown)
    if form == "tls at least VERSION":
        version = seen.tls_version.removeprefix("TLSv")
        return Outcome(
            bool(version) and version >= values[0].removeprefix("tlsv"), seen.tls_version or "there is no TLS"
        )
    if isinstance(connector, ReceiveConnector):
        if connector.implicit_tls:
            return Outcome(True, "TLS begins with the first octet")
        reply = seen.replies.get("clear") or (seen.replies.get("") if seen.after is None else None)
        refused = reply is not None and reply.code == 530
        return Outcome(refused, f"MAIL without TLS is answered {reply}" if reply else "MAIL is taken without TLS")
    if tls_policy(connector, "").use is not TlsUse.REQUIRED:
        return Outcome(False, "this connector does not demand TLS (require_tls)")
    return Outcome(seen.after is not None, "TLS is demanded and works" if seen.after else "TLS did not come about")


def _certificate_outcome(one: Expectation, seen: Observed, now: float, *, checked: bool) -> Outcome:
    if not seen.chain:
        return Outcome(False, "no certificate was shown")
    leaf = seen.chain[0]
    if one.form == "certificate name NAME":
        return Outcome(name_matches(leaf.names, one.values[0]), f"it is for {', '.join(leaf.names[:6]) or 'no name'}")
    moment = datetime.fromtimestamp(now, UTC)
    margin = timedelta(days=int(one.values[0])) if one.values else timedelta(0)
    if not leaf.not_before <= moment or leaf.not_after < moment + margin:
        return Outcome(False, f"it is valid from {leaf.not_before:%Y-%m-%d} to {leaf.not_after:%Y-%m-%d}")
    if checked and seen.trusted is False:
        return Outcome(False, "it does not lead to a trust anchor")
    if checked and seen.trusted is None:
        return Outcome(False, "this connector does not check it (tls_auth_level)")
    return Outcome(True, f"it is valid to {leaf.not_after:%Y-%m-%d}")


def _auth_outcome(form: str, values: tuple[str, ...], seen: Observed) -> Outcome:
    in_clear = seen.before.auth if seen.before is not None else ()
    offered = seen.offered.auth if seen.offered is not None else ()
    shown = f"AUTH {' '.join(offered)} is offered" if offered else "AUTH is not offered"
    if form == "auth not offered in clear":
        implicit = seen.before is not None and seen.before is seen.after
        exposed = () if implicit else in_clear
        return Outcome(not exposed, f"AUTH {' '.join(exposed)} is offered in clear" if exposed else "none is in clear")
    if form == "auth not offered":
        return Outcome(not offered, shown)
    wanted = values[0].upper() if values else ""
    return Outcome(wanted in offered if wanted else bool(offered), shown)


def _reply_outcome(reply: Reply | None, *, wanted: bool) -> Outcome:
    if reply is None:
        return Outcome(False, "the test did not come to RCPT")
    return Outcome(reply.is_positive == wanted, f"RCPT is answered {reply}")


# --- by the rules -----------------------------------------------------------------------------------------------------


async def _by_rules(site: Site, connector: ReceiveConnector, one: Expectation) -> Outcome:
    """What a client at some address would meet and be told, on each binding of its family."""
    client = one.values[0] if one.form == "chosen for IP" else one.values[1] if one.form.startswith("relay") else ""
    outcomes = []
    for text in connector.bindings:
        binding = parse_binding(text)
        if client and parse_ip(client).version != binding.address.version:
            continue
        local = "127.0.0.1" if binding.address.version == 4 else "::1"
        local = local if binding.is_wildcard else str(binding.address)
        if not client:
            outcomes.append(await _recipient(site, connector, one, text))
            continue
        met = ReceiveConnectors(site.receive_connectors).match(local, binding.port, client).connector
        if one.form == "chosen for IP":
            name = f'"{met.name}"' if met else "no connector"
            outcomes.append(Outcome(met is connector, f"{client} meets {name} on {text}"))
        else:
            outcomes.append(await _relay(site, connector, met, one, text))
    if not outcomes:
        return Outcome(False, f"no binding of this connector is of the address family of {client}")
    return next((outcome for outcome in outcomes if not outcome.holds), outcomes[0])


async def _relay(
    site: Site, connector: ReceiveConnector, met: ReceiveConnector | None, one: Expectation, binding: str
) -> Outcome:  # fmt: skip
    denied = one.values[0] == "denied"
    client = one.values[1]
    if met is None:
        return Outcome(denied, f"no connector takes {client} on {binding}: its connection is refused")
    recipient = f"<{foreign_recipient(met, site.accepted_domains)}>"
    reply = evaluate(site, met, "<>", recipient)
    meets = "" if met is connector else f', which meets "{met.name}",'
    by_rules = f"{client}{meets} is answered {reply}"
    if reply.is_positive == denied:
        return Outcome(False, f"{by_rules} (by evaluation)")
    wire = await ask_as(site, met, binding, client, "<>", recipient)
    if wire is None:
        return Outcome(True, f"{by_rules} (by evaluation)")
    return Outcome(wire.is_positive != denied, f"{client}{meets} is answered {wire} (on the wire)")


async def _recipient(site: Site, connector: ReceiveConnector, one: Expectation, binding: str) -> Outcome:
    path = f"<{one.values[0]}>"
    wire = await ask_as(site, connector, binding, "", "<>", path)
    reply = wire if wire is not None else evaluate(site, connector, "<>", path)
    outcome = _reply_outcome(reply, wanted=one.values[1] == "accepted")
    return Outcome(outcome.holds, f"{outcome.sentence} ({'on the wire' if wire is not None else 'by evaluation'})")
