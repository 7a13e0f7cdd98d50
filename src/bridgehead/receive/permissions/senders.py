# SPDX-License-Identifier: MIT
"""Is a message from whom it says? The author field, a login's own addresses, and strangers who write in our name.

A domain of ours in From or MAIL, from a client that nobody vouches for, on a connector open to the Internet: refused
unless SPF or DKIM shows that the domain sent it (aligned, as DMARC has it), or a named exception allows it. Trouble in
DNS leads to 4yz, never to a pass. What the checks themselves are: `bridgehead.msgauth`, `mail/author.py`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.author import MISLEADING, Author, FromFault, read_author
from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.reply import Reply
from bridgehead.msgauth.dkim.verify import CheckSignature, DkimVerifier
from bridgehead.msgauth.dmarc import DmarcVerdict, check_dmarc
from bridgehead.msgauth.lookup import AuthenticationLookup
from bridgehead.msgauth.spf import SpfVerdict, check_spf
from bridgehead.receive.content import HeaderDecision
from bridgehead.receive.permissions.addresses import AcceptedDomains, check_header_from, own_address
from bridgehead.receive.permissions.rights import Principal, PrincipalKind
from bridgehead.receive.permissions.sender_exceptions import SenderExceptions
from bridgehead.receive.settings import NonCompliantSenderPolicy, Right
from bridgehead.smtp import replies

FAULT_FIELD: Final = b"X-MS-Exchange-P2FromRegexMatch: true\r\n"
"""What Exchange adds where From is not as the RFC has it, for rules and readers to go by."""


def check_faults(faults: Sequence[FromFault], policy: NonCompliantSenderPolicy) -> Reply | None:
    """The reply that refuses a From field which shows different readers different authors, None where it passes."""
    misleading = next((fault for fault in faults if fault in MISLEADING), None)
    if misleading is None or policy is not NonCompliantSenderPolicy.REJECT:
        return None
    several = misleading in (FromFault.SEVERAL_FIELDS, FromFault.SEVERAL_AUTHORS)
    return replies.SEVERAL_AUTHORS if several else replies.BAD_FROM


def fault_field(faults: Sequence[FromFault], policy: NonCompliantSenderPolicy) -> bytes:
    """The field that tells of an odd From, b"" where nothing is to be told."""
    told = any(fault is not FromFault.MISSING for fault in faults)
    return FAULT_FIELD if told and policy is not NonCompliantSenderPolicy.ACCEPT else b""


class MessageCheck(Protocol):
    """What checks the sender of one message; `rewritten`: it leaves under another name than it came with; `reason`: why
    it was refused, in words."""

    rewritten: bool
    reason: str

    @property
    def is_due(self) -> bool:
        """`verdict` must be asked before the message is taken."""

    @property
    def custom_data(self) -> str:
        """What RECEIVE says of it, "" for nothing."""

    def header(self, header: bytes) -> HeaderDecision:
        """Decide about the header section."""

    async def verdict(self) -> Reply | None:
        """Decide what takes time."""


class SenderServices(Protocol):
    """What the checks need of the server."""

    accepted_domains: AcceptedDomains
    sender_exceptions: SenderExceptions
    authentication_lookup: AuthenticationLookup
    check_signature: CheckSignature


class SenderFacts(msgspec.Struct, frozen=True):
    """What is known before the header comes."""

    client_ip: str
    helo: str
    reverse_path: Mailbox
    principal: Principal
    rights: frozenset[Right]
    policy: NonCompliantSenderPolicy
    protected: bool
    """Strangers must show that mail in our name is ours (AntiSpoofingEnabled)."""
    fqdn: str


class SenderCheck:
    """Checks the sender of one message.

    Attributes:
        note: what let a message in our name pass, for the tracking log: "dkim=contoso.com", "exception=Scanners".
        reason: why it was refused, for the logs.
    """

    def __init__(self, facts: SenderFacts, services: SenderServices, now: float) -> None:
        self._facts, self._services, self._now = facts, services, now
        self._ours: list[Mailbox] = []
        self._author: Author = Author(())
        self._dkim: DkimVerifier | None = None
        self.note = ""
        self.reason = ""
        self.rewritten = False

    @property
    def is_due(self) -> bool:
        """`verdict` must be asked before the message is taken."""
        return bool(self._ours)

    def header(self, header: bytes) -> HeaderDecision:
        """Decide what can be decided without DNS."""
        facts = self._facts
        block = HeaderBlock(header)
        author = self._author = read_author(block)
        if refusal := check_header_from(block, author, facts.rights, facts.principal):
            return HeaderDecision(refusal)
        sender = _sender_to_add(block, author, facts)
        faults = [one for one in author.faults if not (sender and one is FromFault.SEVERAL_AUTHORS)]
        if refusal := check_faults(faults, facts.policy):
            self.reason = next(fault for fault in faults if fault in MISLEADING).value
            return HeaderDecision(refusal)
        return HeaderDecision(
            fields=fault_field(faults, facts.policy),
            body=self._watch(header) if self._is_in_our_name(author) else None,
            header=sender + header if sender else b"",
        )

    @property
    def custom_data(self) -> str:
        """What RECEIVE says of it, "" for nothing."""
        return f"S:SenderAuth={self.note}" if self.note else ""

    def _is_in_our_name(self, author: Author) -> bool:
        """Whether a stranger writes as one of our domains, and no exception covers that."""
        facts = self._facts
        if not facts.protected or facts.principal.kind is not PrincipalKind.ANONYMOUS:
            return False
        named = [*author.addresses, *(() if facts.reverse_path.is_null else (facts.reverse_path,))]
        ours = [one for one in named if self._services.accepted_domains.find(one.domain_key) is not None]
        if not ours:
            return False
        exception = self._services.sender_exceptions.find(ours, facts.client_ip, self._now)
        if exception:
            self.note = f"exception={exception}"
            return False
        self._ours = ours
        return True

    def _watch(self, header: bytes) -> "DkimVerifier | None":
        """DKIM needs the body as it comes; nobody reads it where nothing is signed."""
        verifier = DkimVerifier(header, self._now)
        self._dkim = verifier
        return verifier if verifier.is_signed else None

    async def verdict(self) -> Reply | None:
        """The refusal of a message in our name, None where something vouches for it."""
        facts, lookup = self._facts, self._services.authentication_lookup
        path = facts.reverse_path
        sender = "" if path.is_null else f"{path.local_part}@{path.domain_key}"
        spf = await check_spf(facts.client_ip, sender, facts.helo, lookup, receiver=facts.fqdn, now=int(self._now))
        dkim = await self._dkim.verdicts(lookup, self._services.check_signature) if self._dkim is not None else []
        for domain in self._domains(self._author.addresses):
            result = await check_dmarc(domain, spf, dkim, lookup)
            if result.verdict is DmarcVerdict.TEMPERROR:
                self.reason = f"{domain}: {result.reason}"
                return replies.SENDER_UNCHECKED
            if result.verdict is not DmarcVerdict.PASS:
                self.reason = f"{domain} is ours: SPF {spf.verdict} for {spf.domain}" + "".join(
                    f", DKIM {one.verdict} for {one.domain or '?'}" for one in dkim
                )
                return replies.SENDER_IS_OURS
            self.note = result.aligned
        if self._domains([path]) and not self._author_vouches(path):
            if spf.verdict is SpfVerdict.TEMPERROR:
                self.reason = spf.reason
                return replies.SENDER_UNCHECKED
            if spf.verdict is not SpfVerdict.PASS:
                self.reason = f"the sender's domain {path.domain_key} is ours: SPF {spf.verdict}"
                return replies.SENDER_IS_OURS
            self.note = self.note or f"spf={spf.domain}"
        return None

    def _domains(self, addresses: Sequence[Mailbox]) -> list[str]:
        """Domains of ours among these, each once."""
        return list(dict.fromkeys(one.domain_key for one in addresses if one in self._ours))

    def _author_vouches(self, path: Mailbox) -> bool:
        """Whether the author of the same domain was shown to be real, which speaks for the reverse-path as well."""
        return bool(self.note) and any(one.domain_key == path.domain_key for one in self._author.addresses)


def _sender_to_add(block: HeaderBlock, author: Author, facts: SenderFacts) -> bytes:
    """A Sender field for a login that writes on somebody's behalf and does not say so itself, else b""."""
    principal = facts.principal
    if not principal.send_on_behalf or Right.ACCEPT_ANY_SENDER in facts.rights or block.count(b"sender"):
        return b""
    if all(principal.may_send_as(address) for address in author.addresses):
        return b""
    own = own_address(principal, facts.reverse_path)
    return f"Sender: {own}\r\n".encode() if own is not None else b""
