# SPDX-License-Identifier: MIT
"""Causes told by words: recorded replies and pasted texts against the table in `reply_rules.py`."""

import re
from typing import Final

from bridgehead.diagnosis.dns_rules import nearest_domain
from bridgehead.diagnosis.facts import AttemptFacts, Cause, Evidence, Finding, How, Owner, Phase
from bridgehead.diagnosis.reply_rules import IDENTITY, MICROSOFT, OAUTH_LOG_ON, REPLY_RULES, TRANSPORT, ReplyRule
from bridgehead.diagnosis.reply_text import ReplyText, addresses_in
from bridgehead.diagnosis.rule import clock, connector_name, found, ip_of
from bridgehead.mail.header import clean_text

_ADDRESS_MATTERS: Final = frozenset(
    {"tenant-attribution", "spf", "dmarc", "no-reverse-name", "block-list", "address-banned", "relay-denied"}
)
"""Refusals that a change of our own address explains."""
_UNKNOWN: Final = "unknown-reply"


def explain_replies(evidence: Evidence) -> list[Cause]:
    """One cause for each meaning that the recorded replies have."""
    by_rule: dict[str, tuple[ReplyRule | None, list[AttemptFacts]]] = {}
    for one in evidence.attempts:
        if one.how is not How.REPLY:
            continue
        rule = meaning(one.reply, oauth=evidence.connector.oauth and one.phase is Phase.AUTH)
        by_rule.setdefault(rule.id if rule else _UNKNOWN, (rule, []))[1].append(one)
    return [_cause(evidence, rule, attempts) for rule, attempts in by_rule.values()]


def meaning(line: str, *, oauth: bool = False) -> ReplyRule | None:
    """The first row of the table that fits, None for none.

    Args:
        oauth: the answer is one to an access token.
    """
    rules = [*OAUTH_LOG_ON, *REPLY_RULES] if oauth else REPLY_RULES
    return next((rule for rule in rules if rule.pattern.search(line)), None)


def advice(line: str, *, connector: str, who: str, oauth: bool = False) -> tuple[str, str]:
    """What an answer means and what to do about it, ("", "") where its words are not known.

    Args:
        connector: name of ours. who: what said it. oauth: the answer is one to an access token.
    """
    rule = meaning(line, oauth=oauth)
    if rule is None:
        return "", ""
    one = AttemptFacts(queue="", phase=Phase.AUTH, how=How.REPLY, time=0.0, host=who, text=line)
    words = _words(one, Evidence(now=0.0)) | {"connector": connector}
    return _fill(rule.says, words, rule.pattern.search(line)), _fill(rule.do, words, None)


def _cause(evidence: Evidence, rule: ReplyRule | None, attempts: list[AttemptFacts]) -> Cause:
    last = attempts[-1]
    if rule is None:
        sentence = f'{last.where} answers {last.phase.value.upper()} with "{last.reply}".'
        finding = found(evidence, attempts, sentence, "ask the far administrator, with the reply and the time")
        return Cause(id=_UNKNOWN, rows=(), owner=_owner_of_unknown(last), finding=finding, weight=15)
    words = _words(last, evidence)
    sentence = _fill(rule.says, words, rule.pattern.search(last.reply))
    sentence += _changed_address(rule, last, evidence)
    detail = connector_name(evidence) if rule.owner is Owner.YOU else ""
    finding = found(evidence, attempts, sentence, _fill(rule.do, words, None), detail=detail)
    if rule.id == "domain-does-not-exist":
        finding.sentence += nearest_domain(evidence.subject, evidence)
    return Cause(id=rule.id, rows=rule.rows, owner=rule.owner, finding=finding, weight=_weight(rule))


def _owner_of_unknown(one: AttemptFacts) -> Owner:
    return Owner.FAR_SIDE if one.code < 500 else Owner.SENDER


def _weight(rule: ReplyRule) -> int:
    if rule in IDENTITY or rule in OAUTH_LOG_ON:
        return 67
    return 66 if rule in MICROSOFT else 20 if rule in TRANSPORT else 64


def _words(one: AttemptFacts, evidence: Evidence) -> dict[str, str]:
    ours = ip_of(one.local)
    named = [address for address in addresses_in(one.text) if address != one.address]
    ip = named[0] if named else ours
    return {
        "who": one.where, "reply": one.reply, "local_shown": f" ({ours})" if ours else "",
        "ip": ip or "of ours",
        "ip_shown": f" {ip}" if ip else "", "ip_or_ours": ip or "our address", "queue": evidence.queue or "QUEUE",
        "connector": evidence.connector.name or "CONNECTOR", "fqdn": evidence.fqdn or "our name in EHLO",
        "our_name": f"our name {evidence.fqdn}" if evidence.fqdn else "our name",
        "target": one.host or one.address or "HOST", "domain": evidence.subject.rpartition("@")[2] or "DOMAIN",
        "scope": _scope(one.reply), "smtp_auth_remedy": _smtp_auth_remedy(one),
        "size_shown": f" (it has {one.size:,} bytes)".replace(",", " ") if one.size else "",
    }  # fmt: skip


def _scope(reply: str) -> str:
    return "for the whole tenant" if "tenant" in reply.lower() else "for this mailbox (mailbox setting)"


def _smtp_auth_remedy(one: AttemptFacts) -> str:
    mailbox = f"Set-CASMailbox {one.user or 'MAILBOX'} -SmtpClientAuthenticationDisabled $false"
    if "tenant" in one.reply.lower():
        return f"allow it for this mailbox: {mailbox}; or for all: Set-TransportConfig with the same parameter"
    return f"allow it: {mailbox}"


def _fill(template: str, words: dict[str, str], match: "re.Match[str] | None") -> str:
    """A row's text with its words; names of hosts are left as they are at the beginning of a sentence."""
    groups = {name: value or "" for name, value in (match.groupdict() if match else {}).items()}
    text = template.format_map(words | groups)
    return f"T{text[1:]}" if text.startswith("the far server") else text


def _changed_address(rule: ReplyRule, one: AttemptFacts, evidence: Evidence) -> str:
    """That our address is another than at the last success, where that explains the refusal."""
    before = [host for host in evidence.hosts if host.local and host.last_good]
    if rule.id not in _ADDRESS_MATTERS or not before or not one.local:
        return ""
    last = max(before, key=lambda host: host.last_good)
    old, new = ip_of(last.local), ip_of(one.local)
    if old == new:
        return ""
    return f" Our address changed from {old} to {new}; with {old} the last message was taken {clock(last.last_good)}."


def explain_text(text: ReplyText, evidence: Evidence) -> Cause:
    """What one pasted answer means; always something."""
    line = text.line
    rule = meaning(line) or meaning(text.wrapped_in)
    attempt = AttemptFacts(
        queue="",
        phase=Phase.RCPT,
        how=How.REPLY,
        time=evidence.now,
        host=text.host or "",
        address=text.address,
        code=text.code,
        status=text.status,
        text=text.text,
    )
    words = _words(attempt, evidence) | {"who": text.where or "the far server", "queue": "QUEUE"}
    proof = [f"the answer: {line}", *_around(text)]
    if rule is None:
        sentence = _by_code(text)
        finding = Finding(sentence=sentence, do="ask the administrator of the server that said it", proof=proof)
        return Cause(id=_UNKNOWN, rows=(), owner=_owner_of_unknown(attempt), finding=finding)
    sentence = _fill(rule.says, words, rule.pattern.search(line))
    finding = Finding(sentence=sentence, do=_fill(rule.do, words, None), proof=proof)
    return Cause(id=rule.id, rows=rule.rows, owner=rule.owner, finding=finding, weight=_weight(rule))


def _around(text: ReplyText) -> list[str]:
    lines = []
    if text.wrapped_in:
        lines.append(f"it was wrapped in: {clean_text(text.wrapped_in, 200)}")
    if text.where:
        lines.append(f"the host: {text.where}")
    if text.last_retry:
        lines.append(f"last tried: {text.last_retry}")
    return lines


_CLASSES: Final = {"2": "says that it worked", "4": "asks to try again later", "5": "refuses for good"}
_SUBJECTS: Final = {
    "0": "", "1": ", about an address", "2": ", about the mailbox", "3": ", about the mail system",
    "4": ", about network or routing", "5": ", about the protocol", "6": ", about the content", "7": ", about "
    "security or policy",
}  # fmt: skip


def _by_code(text: ReplyText) -> str:
    """What class and subject of the codes say where the words are unknown (RFC 3463 §3)."""
    first = text.status[:1] or str(text.code)[:1]
    if first not in _CLASSES:
        return "This text holds no reply or status code that says what happened."
    subject = _SUBJECTS.get(text.status.split(".")[1], "") if text.status.count(".") == 2 else ""
    who = text.where or "The server"
    return f'{who} {_CLASSES[first]}{subject}; its words are not known: "{clean_text(text.text, 200)}".'
