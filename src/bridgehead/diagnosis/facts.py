# SPDX-License-Identifier: MIT
"""What is recorded about attempts, hosts, names and refusals, and the verdict that causes are told in.

Facts are kept as they were found; nothing here judges. All times are Unix seconds. Texts are cleaned and bounded by
whoever records them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """How far a session came before it failed."""

    DNS = "dns"
    POLICY = "policy"
    """What the recipient's domain, or the message, asks of TLS forbids the host, or cannot be told."""
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    TOKEN = "token"  # noqa: S105
    """An access token is asked of the identity provider."""
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """From DATA to the final dot."""
    AFTER_DOT = "after-dot"
    LOCAL = "local"
    """On this machine: the mailbox store, a drop directory, our own settings."""


SESSION_PHASES = frozenset(
    {
        *(Phase.DNS, Phase.POLICY, Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.HANDSHAKE),
        *(Phase.TOKEN, Phase.AUTH),
    }
)
"""What fails here concerns every message for the host; a later success there ends it."""


class How(StrEnum):
    """What ended it."""

    REPLY = "reply"
    """The server said no."""
    REFUSED = "refused"
    """The connection was refused (RST to our SYN)."""
    TIMED_OUT = "timed-out"
    """No answer to our SYN, or to our question."""
    UNREACHABLE = "unreachable"
    """No route, or no source address."""
    DROPPED = "dropped"
    """The connection ended without a reply."""
    SILENT = "silent"
    """The server stopped answering."""
    TLS = "tls"
    PROTOCOL = "protocol"
    """What came was no SMTP."""
    POLICY = "policy"
    """Our own settings forbid to go on."""
    NAME = "name"
    """DNS said that there is nothing, or nothing of use."""


class CertificateFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One certificate as it was sent."""

    subject: str
    issuer: str
    not_before: float = 0.0
    not_after: float = 0.0
    names: tuple[str, ...] = ()
    serial: str = ""


class AttemptFacts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a failed session, or of a message that a session could not deliver. Attempts that ended alike
    at one address are one record with a count; the details are those of the last.

    Attributes:
        queue: identity of the delivery queue, "connector/domain".
        first, time: the first and the last of them.
        count: how many.
        host, address, port: where; "" and 0 where there was no address yet.
        local: our end of the connection.
        error: in words, as the queue's last error has it.
        code, status, text: the reply, 0 and "" where there was none.
        alert: what TLS complained of, in OpenSSL's words.
        verify_code: OpenSSL's X.509 verification error, 0 for none.
        chain: certificates as the server sent them, its own first.
        expected_name: the name that the certificate had to have.
        policy: whose demand on TLS counted where it was not the connector's: "dane", "mta-sts:enforce", "requiretls".
        evidence: what that rests on, in words. `bogus`: signatures in DNS are wrong.
        keywords: EHLO keywords of the last EHLO answer; `in_clear`: those before TLS.
        user: the login that was tried.
        octets: of content that had left when it ended; `least`, `most` over all alike; `size`: the message's.
        seconds: from the start of the session to its end.
        sender, recipients, message: of the last message concerned.
        transcript: lines as in the protocol log, without content and secrets.
    """

    queue: str
    phase: Phase
    how: How
    time: float
    first: float = 0.0
    count: int = 1
    connector: str = ""
    session: str = ""
    host: str = ""
    address: str = ""
    port: int = 0
    local: str = ""
    error: str = ""
    code: int = 0
    status: str = ""
    text: str = ""
    alert: str = ""
    verify_code: int = 0
    chain: tuple[CertificateFacts, ...] = ()
    expected_name: str = ""
    policy: str = ""
    evidence: tuple[str, ...] = ()
    bogus: bool = False
    banner: str = ""
    keywords: tuple[str, ...] = ()
    in_clear: tuple[str, ...] = ()
    secure: bool = False
    user: str = ""
    octets: int = 0
    least: int = 0
    most: int = 0
    size: int = 0
    seconds: float = 0.0
    sender: str = ""
    recipients: tuple[str, ...] = ()
    message: int = 0
    transcript: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """ "mx1.fabrikam.com [203.0.113.9]", as far as known."""
        host = self.host.strip("[]")
        if self.address and host not in ("", self.address):
            return f"{host} [{self.address}]"
        return self.address or host or ("DNS" if self.phase is Phase.DNS else "the far server")

    @property
    def reply(self) -> str:
        """The reply as one line, "" for none."""
        if not self.code and not self.text:
            return ""
        return " ".join(part for part in (str(self.code or ""), self.status, self.text) if part)


class HostFacts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of good sessions with one address of one queue.

    Attributes:
        good: messages taken, `last_good` the last time.
        sessions: sessions in which one was taken; `starttls` of them with STARTTLS on offer, `encrypted` with TLS.
        local: our end of the last one.
        heard: what the server said up to its last EHLO answer, as it came.
    """

    queue: str
    host: str = ""
    address: str = ""
    port: int = 0
    good: int = 0
    last_good: float = 0.0
    sessions: int = 0
    starttls: int = 0
    encrypted: int = 0
    local: str = ""
    heard: bytes = b""


class DnsFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question asked now. `outcome`: found, no data, no such domain, failed. `server`: "" for all configured."""

    name: str
    kind: str
    outcome: str
    server: str = ""
    values: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0


class RefusalFacts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What our own door refused one source, alike refusals counted.

    Attributes:
        command: the client's line, "" where it may hold a secret.
        sender: reverse-path of the transaction.
        right: the one that was missing, "" where none was.
        setting, limit, used: the limit that was reached, what it is, how much there was; `origin`: where it is set.
        size: octets of content that had come.
        detail: what only we know: the hops, the place in the content, the TLS alert.
        others: "name: why it was not chosen" of the connectors that would have allowed it, then of the rest.
        nearest: an address that exists and is much like the one that does not.
    """

    source: str
    connector: str
    code: int
    status: str
    text: str
    time: float
    first: float = 0.0
    count: int = 1
    local_ip: str = ""
    local_port: int = 0
    helo: str = ""
    principal: str = ""
    secure: bool = False
    auth_tried: bool = False
    command: str = ""
    sender: str = ""
    right: str = ""
    setting: str = ""
    limit: int = 0
    used: int = 0
    origin: str = ""
    size: int = 0
    detail: str = ""
    others: tuple[str, ...] = ()
    nearest: str = ""


class ConnectorFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What our send connector says, as far as causes depend on it. `origin`: file and line of the connector;
    `certificate`: file or name of the one that it shows, "" for none."""

    name: str = ""
    origin: str = ""
    tls_required: bool = False
    tls_auth_level: str = ""
    tls_domain: str = ""
    ca_file: str = ""
    certificate: str = ""
    sources: tuple[str, ...] = ()
    smart_hosts: tuple[str, ...] = ()
    user: str = ""
    oauth: bool = False
    max_message_size: int = 0


class Evidence(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that is known about one destination, text or source.

    Attributes:
        subject: domain or queue, as told to people.
        attempts: failed ones since the last success at the same address, oldest first.
        elsewhere: failed ones of other destinations.
        hosts: good sessions of this destination; `good_elsewhere` is the last success anywhere else.
        dns: questions asked now. `servers`: the resolvers in use.
        open_ports: other ports of the same addresses that answered just now.
        known_domains: domains that mail was delivered to, with how much.
        fqdn: our own name.
    """

    now: float
    subject: str = ""
    queue: str = ""
    attempts: Sequence[AttemptFacts] = ()
    elsewhere: Sequence[AttemptFacts] = ()
    hosts: Sequence[HostFacts] = ()
    good_elsewhere: float = 0.0
    dns: Sequence[DnsFacts] = ()
    servers: Sequence[str] = ()
    open_ports: Sequence[int] = ()
    connector: ConnectorFacts = ConnectorFacts()
    known_domains: Mapping[str, int] = {}
    fqdn: str = ""

    @property
    def sessions(self) -> int:
        """Failed attempts in all."""
        return sum(one.count for one in self.attempts)

    @property
    def last_good(self) -> float:
        """The last success with this destination, 0 for none."""
        return max((host.last_good for host in self.hosts), default=0.0)


class Owner(StrEnum):
    """Whose it is to mend."""

    YOU = "you"
    FAR_SIDE = "the far side"
    NETWORK = "the network"
    SENDER = "the sender"
    NOBODY = "nobody"
    """It is as it should be."""


class Finding(msgspec.Struct, kw_only=True):
    """What one rule found.

    Attributes:
        sentence: the cause, for people.
        agreeing: sessions that say so, out of `seen`; 0 of 0 where it does not rest on sessions.
        do: the one command or step.
        proof: facts that it rests on, one line each.
        since, last: the first and the last of them, 0 where unknown.
        attempts: whose transcripts prove it.
    """

    sentence: str
    agreeing: int = 0
    seen: int = 0
    do: str = ""
    proof: list[str] = []
    since: float = 0.0
    last: float = 0.0
    owner_detail: str = ""
    attempts: list[AttemptFacts] = []


class Cause(msgspec.Struct, kw_only=True):
    """A finding with the rule that made it."""

    id: str
    rows: tuple[int, ...]
    owner: Owner
    finding: Finding
    weight: int = 0

    @property
    def certainty(self) -> str:
        """CERTAIN, LIKELY or POSSIBLE, with the sessions that agree."""
        found = self.finding
        if not found.seen:
            return "CERTAIN"
        share = found.agreeing / found.seen
        word = "CERTAIN" if share >= 0.9 else "LIKELY" if share >= 0.5 else "POSSIBLE"
        return f"{word} (seen in {found.agreeing} of {found.seen} {'session' if found.seen == 1 else 'sessions'})"
