# SPDX-License-Identifier: MIT
"""Causes of what our own door refuses: the connector that a client fell to, the right or the limit that decided.

The client is told little; here stands what the server knew. One row for each kind of refusal, the first that fits
counts.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bridgehead.diagnosis.door_words import (
    add_recipient,
    address_in,
    allow_sender,
    device_of,
    let_relay,
    limit_of,
    line_end,
    login_needed,
    make_room,
    other_sender,
    raise_limit,
    recipient_unknown,
    relay_denied,
    spoofed,
    too_large,
    too_many_connections,
    who,
)
from bridgehead.diagnosis.facts import Cause, Finding, Owner, RefusalFacts
from bridgehead.diagnosis.rule import clock, times

_TLS_OLD: Final = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_SHARED_CIPHER", "UNKNOWN_PROTOCOL", "WRONG_VERSION")
_TLS_EXPIRED: Final = ("CERTIFICATE_EXPIRED",)
_TLS_UNTRUSTED: Final = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE")


class DoorRule(NamedTuple):
    """One kind of refusal.

    Attributes:
        fits: whether a refusal is of this kind.
        says, do: sentence and remedy.
        what: for the manual.
    """

    id: str
    rows: tuple[int, ...]
    owner: Owner
    fits: Callable[[RefusalFacts], object]
    says: Callable[[RefusalFacts], str]
    do: Callable[[RefusalFacts], str]
    what: str


def explain_refusals(refusals: Sequence[RefusalFacts]) -> list[Cause]:
    """Causes of what one source was refused, what is refused most often first."""
    causes = []
    for one in sorted(refusals, key=lambda refusal: (-refusal.count, -refusal.time)):
        rule = next(rule for rule in DOOR_RULES if rule.fits(one))
        finding = Finding(
            sentence=rule.says(one), agreeing=one.count, seen=sum(other.count for other in refusals), do=rule.do(one),
            proof=_proof(one), since=one.first, last=one.time,
            owner_detail=one.connector and f'receive connector "{one.connector}"',
        )  # fmt: skip
        causes.append(Cause(id=rule.id, rows=rule.rows, owner=rule.owner, finding=finding, weight=60))
    return causes


def _proof(one: RefusalFacts) -> list[str]:
    reply = " ".join(part for part in (str(one.code or ""), one.status, one.text) if part)
    said = f"to {one.command} " if one.command else ""
    lines = [f"{one.source} was answered {said}with {reply} ({times(one.count)}, last {clock(one.time)})"]
    if one.connector:
        where = f" on {one.local_ip}:{one.local_port}" if one.local_port else ""
        who = f", as {one.principal}" if one.principal else ""
        lines.append(f'its connector was "{one.connector}"{where}{who}{", over TLS" if one.secure else ""}')
    if one.right:
        lines.append(f"the right that was missing: {one.right}")
    if one.detail:
        lines.append(one.detail)
    return [*lines, *one.others[:4]]


def _tls(one: RefusalFacts, words: Sequence[str]) -> bool:
    return one.text == "TLS handshake failed" and any(word in one.detail.upper() for word in words)


def _is(*statuses: str) -> Callable[[RefusalFacts], object]:
    return lambda one: one.status in statuses


def _words(*texts: str) -> Callable[[RefusalFacts], object]:
    return lambda one: any(text in one.text.lower() for text in texts)


DOOR_RULES: Final[list[DoorRule]] = [
    DoorRule(
        "door-relay-denied",
        (26,),
        Owner.YOU,
        _words("unable to relay"),
        relay_denied,
        let_relay,
        "550 5.7.1 Unable to relay: which connector the client fell to and why not another",
    ),
    DoorRule(
        "door-must-starttls",
        (27,),
        Owner.SENDER,
        _words("must issue a starttls"),
        lambda one: f'"{one.connector}" takes mail over TLS only, and {who(one)} did not begin it.',
        lambda one: "switch TLS (STARTTLS) on in the client, or require_tls off on the connector",
        "530 5.7.0 Must issue a STARTTLS command first",
    ),
    DoorRule(
        "door-login-needed",
        (27,),
        Owner.SENDER,
        _words("not authenticated", "permissions to submit"),
        login_needed,
        lambda one: (
            "give the client a login: bridgehead user add; or let its address in by AnonymousUsers on a connector "
            "of its own"
        ),
        "530 5.7.1 Client was not authenticated: no login was tried, or the one tried failed",
    ),
    DoorRule(
        "door-login-failed",
        (28,),
        Owner.SENDER,
        _is("5.7.8"),
        lambda one: f"The login of {who(one)} fails: {one.detail or 'wrong name or password'}.",
        lambda one: (
            "set the password anew: bridgehead user passwd; the name it tried stands in the server's own log"
            if one.detail in ("", "wrong name or password")
            else "the reason says what to change; who tried stands in the server's own log"
        ),
        "535 5.7.8 Authentication unsuccessful",
    ),
    DoorRule(
        "door-too-many-logons",
        (28,),
        Owner.SENDER,
        _words("failed logons"),
        lambda one: f"{who(one)} failed to log on too often in one session; {limit_of(one)}.",
        lambda one: "correct the password in the client, or look for somebody guessing",
        "421 4.7.0 Too many failed logons",
    ),
    DoorRule(
        "door-login-not-possible",
        (28,),
        Owner.SENDER,
        lambda one: one.code in (502, 504, 538) and ("AUTH" in one.text or one.status in ("5.7.11", "5.5.4")),
        lambda one: f'{who(one)} tries to log on where "{one.connector}" does not offer it so: {one.text}.',
        lambda one: "let the client begin TLS first, or add the mechanism to auth_mechanism of the connector",
        "502, 504, 538: the mechanism is not offered, or not without TLS",
    ),
    DoorRule(
        "door-send-as-denied",
        (29,),
        Owner.SENDER,
        _is("5.7.60"),
        other_sender,
        allow_sender,
        "550 5.7.60: the login, or the device, may not use this sender",
    ),
    DoorRule(
        "door-device-recipient",
        (26,),
        Owner.YOU,
        _words("this device may not send"),
        lambda one: (
            f'{who(one)} is the device "{device_of(one)}", which may send to its allowed_recipients only; '
            f"{address_in(one)} is none of them."
        ),
        lambda one: f'add it to allowed_recipients of the device "{device_of(one)}", then: bridgehead reload',
        "550 5.7.1: a device and a recipient that it may not send to",
    ),
    DoorRule(
        "door-spoofing",
        (29, 51),
        Owner.SENDER,
        _is("5.7.26"),
        spoofed,
        lambda one: (
            "let the service sign with DKIM for the domain, or add its address to the domain's SPF record; where it "
            "can do neither: [[sender_exceptions]] with owner and end (docs/explanation/spoofing.md)"
        ),
        "550 5.7.26: mail in the name of one of our own domains that nothing vouches for",
    ),
    DoorRule(
        "door-odd-author",
        (39,),
        Owner.SENDER,
        lambda one: one.status == "5.1.20" or (one.status == "5.6.0" and "From" in one.text),
        lambda one: (
            f"{who(one)} sends a message whose From field shows different readers different authors "
            f"({one.detail or one.text}), as forgeries do."
        ),
        lambda one: (
            "mend the program that writes it; where nobody can: non_compliant_sender_policy = "
            f'"Tag" on "{one.connector}"'
        ),
        "550 5.1.20, 5.6.0: several authors, group syntax, control characters, text behind a semicolon in From",
    ),
    DoorRule(
        "door-own-domain-from-outside",
        (29,),
        Owner.SENDER,
        _words("this sender's domain"),
        lambda one: (
            f'{who(one)} is a stranger to "{one.connector}" and sends as one of our own domains ({address_in(one)}).'
        ),
        lambda one: (
            "give it a login, or a connector for its address that grants "
            "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"
        ),
        "550 5.7.1: an anonymous client uses an authoritative domain",
    ),
    DoorRule(
        "door-shutting-down",
        (32,),
        Owner.YOU,
        _words("shutting down"),
        lambda one: "The server was being stopped.",
        lambda one: "start it again: systemctl start bridgehead",
        "421 4.3.2 Service is shutting down",
    ),
    DoorRule(
        "door-too-many-connections",
        (35,),
        Owner.YOU,
        _words("concurrent connections"),
        too_many_connections,
        raise_limit,
        "421 4.3.2: the connector's or the source's connections are all taken",
    ),
    DoorRule(
        "door-back-pressure",
        (33, 34),
        Owner.YOU,
        _is("4.3.1"),
        lambda one: f"Mail is put off because resources are short ({one.detail or 'back pressure'}).",
        make_room,
        "452 4.3.1 Insufficient system resources",
    ),
    DoorRule(
        "door-rate-limited",
        (35,),
        Owner.YOU,
        _words("submission rate"),
        lambda one: f"{who(one)} sends more messages a minute than it may; {limit_of(one)}.",
        raise_limit,
        "421 4.4.2 Message submission rate exceeded",
    ),
    DoorRule(
        "door-header-too-large",
        (37,),
        Owner.SENDER,
        _words("header size"),
        lambda one: (
            f"The header that {who(one)} sends is too large: {one.detail or 'its size'}; {limit_of(one, ' bytes')}."
        ),
        lambda one: "mend the program that lets this field grow, or raise max_header_size",
        "552 5.3.4 Header size exceeds: which field is the large one",
    ),
    DoorRule(
        "door-message-too-large",
        (36,),
        Owner.YOU,
        _is("5.3.4"),
        too_large,
        raise_limit,
        "552 5.3.4 Message size exceeds: declared or real size, and the limit",
    ),
    DoorRule(
        "door-too-many-recipients",
        (38,),
        Owner.NOBODY,
        _is("4.5.3"),
        lambda one: (
            f"{who(one)} names more than {one.limit} recipients in one message; the sender sends the rest in "
            "another: not an error."
        ),
        lambda one: f"nothing; or raise max_recipients_per_message ({one.origin or one.connector})",
        "452 4.5.3 Too many recipients",
    ),
    DoorRule(
        "door-bad-address",
        (39,),
        Owner.SENDER,
        _is("5.1.7", "5.1.3", "5.1.4", "5.1.5", "5.1.6"),
        lambda one: f"{who(one)} says {one.command or 'an address'}, which is no address mail can go to ({one.text}).",
        lambda one: f'set a full address in the device, or default_domain on "{one.connector}" to complete bare names',
        "501 5.1.7, 5.1.3, 550 5.1.4 to 5.1.6: bare, single-label, reserved addresses",
    ),
    DoorRule(
        "door-bare-line-feed",
        (40,),
        Owner.SENDER,
        _is("5.6.11"),
        lambda one: f"{who(one)} ends lines with {line_end(one)} ({one.detail or 'in the content'}).",
        lambda one: f'mend the program, or set bare_linefeed_repair = true on "{one.connector}"',
        "550 5.6.11: bare LF, bare CR or NUL, with the place",
    ),
    DoorRule(
        "door-recipient-unknown",
        (41,),
        Owner.SENDER,
        _is("5.1.1"),
        recipient_unknown,
        add_recipient,
        "550 5.1.1 User unknown, with the nearest address",
    ),
    DoorRule(
        "door-directory-unavailable",
        (41,),
        Owner.YOU,
        _words("looked up now"),
        lambda one: "The directory of recipients cannot be read now, so clients are asked to come again.",
        lambda one: "see why: bridgehead status; then bridgehead check",
        "451 4.3.0 Recipients cannot be looked up now",
    ),
    DoorRule(
        "door-loop",
        (61,),
        Owner.YOU,
        _is("5.4.6"),
        lambda one: (
            f"A message from {who(one)} goes round in a circle ({one.detail}): two servers each take the domain for "
            "the other's."
        ),
        lambda one: "decide who delivers the domain: bridgehead connector match --to ADDRESS shows where we send it",
        "554 5.4.6 Hop count exceeded, with the hosts of the circle",
    ),
    DoorRule(
        "door-tls-too-old",
        (21,),
        Owner.SENDER,
        lambda one: _tls(one, _TLS_OLD),
        lambda one: (
            f"{who(one)} speaks no TLS that we take: it offers only what is older than TLS 1.2, or no cipher in "
            f"common ({one.detail.replace('_', ' ').lower()})."
        ),
        lambda one: (
            f'update the device, or let it send without TLS on a connector of its own ("{one.connector}" offers it)'
        ),
        "a handshake that fails over version or cipher: old devices",
    ),
    DoorRule(
        "door-certificate-expired",
        (15,),
        Owner.YOU,
        lambda one: _tls(one, _TLS_EXPIRED),
        lambda one: f"{who(one)} refuses our certificate: it has expired.",
        lambda one: "put the renewed one where tls_certificate_file points to; it is taken up by itself",
        "a client's alert: our certificate has expired",
    ),
    DoorRule(
        "door-certificate-untrusted",
        (16, 20),
        Owner.YOU,
        lambda one: _tls(one, _TLS_UNTRUSTED),
        lambda one: (
            f"{who(one)} refuses our certificate: it does not know who issued it, or the name is another "
            f"({one.detail.replace('_', ' ').lower()}). "
            f"{one.origin or 'Often only the leaf is sent, without the intermediate.'}"
        ),
        lambda one: "add the intermediate to tls_certificate_file and see that it carries the connector's fqdn",
        "a client's alert: unknown issuer, bad certificate",
    ),
    DoorRule(
        "door-client-certificate",
        (20,),
        Owner.SENDER,
        lambda one: one.text == "TLS handshake failed" and "certificate" in one.detail,
        lambda one: f'The certificate that {who(one)} shows is not accepted on "{one.connector}": {one.detail}.',
        lambda one: (
            f'let it show one in force of an authority in tls_ca_file of "{one.connector}", or add its authority there'
        ),
        "a client's own certificate that is not of an authority that we trust, out of date or revoked",
    ),
    DoorRule(
        "door-tls-fails",
        (17, 21),
        Owner.SENDER,
        lambda one: one.text == "TLS handshake failed",
        lambda one: f"The TLS handshake of {who(one)} fails: {one.detail.replace('_', ' ').lower()}.",
        lambda one: f"try it from here: bridgehead test receive-connector '{one.connector}'",
        "any other handshake that fails",
    ),
    DoorRule(
        "door-no-connector",
        (26,),
        Owner.YOU,
        _words("no receive connector"),
        lambda one: (
            f"No receive connector takes {who(one)} on port {one.local_port}: no remote range holds its address."
        ),
        lambda one: f'add "{one.source}" to remote_ip_ranges of the connector it is meant for, then: bridgehead reload',
        "554 5.7.1: no connector accepts the client",
    ),
    DoorRule(
        "door-protocol-error",
        (),
        Owner.SENDER,
        lambda one: one.code in (500, 501, 502, 503, 554, 555, 421),
        lambda one: f"{who(one)} does not keep to SMTP: {one.text}{f' (after {one.command})' if one.command else ''}.",
        lambda one: 'see the session: bridgehead trace, or protocol_logging_level = "Verbose" on the connector',
        "commands out of order, unknown or too long",
    ),
    DoorRule(
        "door-other",
        (),
        Owner.YOU,
        lambda one: True,
        lambda one: f"{who(one)} was answered {one.code} {one.status} {one.text}.",
        lambda one: f"bridgehead connector match --from {one.source} --port {one.local_port}",
        "anything else",
    ),
]
