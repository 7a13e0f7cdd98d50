# SPDX-License-Identifier: MIT
"""The cause engine: all facts about a destination → its causes, the one that explains most first.

Every rule looks at all attempts, never at the last error alone. Causes are ranked by the share of sessions that they
explain, then by how particular they are: a firewall that rewrites SMTP is told before the missing STARTTLS that it
brings about.
"""

from typing import Final

import msgspec

from bridgehead.diagnosis.dns_rules import DNS_RULES
from bridgehead.diagnosis.facts import AttemptFacts, Cause, Evidence, How, Phase
from bridgehead.diagnosis.policy_rules import POLICY_RULES
from bridgehead.diagnosis.replies import explain_replies, meaning
from bridgehead.diagnosis.rule import Rule
from bridgehead.diagnosis.session_rules import SESSION_RULES
from bridgehead.diagnosis.tls_rules import TLS_RULES
from bridgehead.diagnosis.token_rules import TOKEN_RULES

RULES: Final[list[Rule]] = [*DNS_RULES, *SESSION_RULES, *TLS_RULES, *POLICY_RULES, *TOKEN_RULES]
_ENOUGH: Final = 0.5


def diagnose(evidence: Evidence) -> list[Cause]:
    """Causes, the best first; none where nothing is known that fails. A cause that only says in general what a more
    particular one says of the same sessions is left out."""
    evidence = _of_now(evidence)
    causes = explain_replies(evidence)
    for rule in RULES:
        finding = rule.test(evidence)
        if finding is not None:
            causes.append(Cause(id=rule.id, rows=rule.rows, owner=rule.owner, finding=finding, weight=rule.weight))
    causes.sort(key=_rank)
    told: set[int] = set()
    kept = []
    for cause in causes:
        about = {id(attempt) for attempt in cause.finding.attempts}
        if about and about <= told:
            continue
        told |= about
        kept.append(cause)
    return kept


def _of_now(evidence: Evidence) -> Evidence:
    """Without what an identity provider answered before its last answer: there is one provider, whose answer changes
    when somebody mends one thing and the next comes to light; sessions that met the former would outvote it."""
    asked = [one for one in evidence.attempts if one.phase is Phase.TOKEN]
    if not asked:
        return evidence
    last = _answer(max(asked, key=lambda one: one.time))
    kept = [one for one in evidence.attempts if one.phase is not Phase.TOKEN or _answer(one) == last]
    return msgspec.structs.replace(evidence, attempts=kept)


def _answer(one: AttemptFacts) -> tuple[How, str]:
    """What kind of answer it was; the words of one kind have numbers and times that differ."""
    rule = meaning(one.reply)
    return one.how, rule.id if rule is not None else ""


def _rank(cause: Cause) -> tuple[bool, int, int]:
    found = cause.finding
    share = found.agreeing / found.seen if found.seen else 0.0 if found.attempts == [] and not found.proof else 1.0
    return share < _ENOUGH, -cause.weight, -found.agreeing
