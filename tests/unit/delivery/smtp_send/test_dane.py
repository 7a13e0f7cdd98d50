# SPDX-License-Identifier: MIT
"""DANE on the wire: zones of a real NSD, validated by a real Unbound, and mail hosts with real certificates
(RFC 7671, RFC 7672)."""

import ssl

import pytest

from bridgehead.diagnosis.engine import diagnose
from bridgehead.diagnosis.facts import Evidence, Owner, Phase
from bridgehead.mail.item import TlsRequirement
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.net.tls import ClientContexts, ClientTls
from bridgehead.routing.settings import SmtpDaneMode, TlsAuthLevel
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType
from support.odd_certificates import with_old_tls_only
from support.policy_world import PolicyWorld, der_of, tlsa, with_chain
from support.signed_dns import BOGUS, DEAD, EXPIRED, PLAIN

GOOD, CLEAR, OLD, BARE, OTHER, ANCIENT = (f"127.0.0.{number}" for number in (*range(2, 7), 47))


class Site(PolicyWorld):
    """Mail hosts: GOOD shows its whole chain, CLEAR has no TLS, OLD an expired certificate, BARE no chain, OTHER one
    for another name; ANCIENT speaks TLS 1.1 only."""

    def __init__(self, folder):
        super().__init__(folder)
        names = "*.dane.test"
        pairs = {
            GOOD: with_chain(self.authority.issue(names), self.authority),
            CLEAR: None,
            OLD: with_chain(self.authority.issue("old.dane.test", names, days=-1, since_days=9), self.authority),
            BARE: self.authority.issue("bare.dane.test", names),
            OTHER: with_chain(self.authority.issue("mx.other.test"), self.authority),
        }
        self.certificates = {address: der_of(pair) for address, pair in pairs.items() if pair is not None}
        self.by_address = {address: self.mail_host(address, pair) for address, pair in pairs.items()}
        self.by_address[ANCIENT] = self.mail_host(ANCIENT, pairs[GOOD])
        with_old_tls_only(self.by_address[ANCIENT].behaviour.context)
        self.records: list[str] = []
        self._cases()
        self._zones()
        self.dns.start()

    def case(self, name, address, *records):
        """A domain with one mail host of its own."""
        self.records += [f"{name} MX 10 mx-{name}.dane.test.", f"mx-{name} A {address}"]
        self.records += [f"{self.tlsa_name(f'mx-{name}')} TLSA {record}" for record in records]

    def _cases(self):
        good, old, bare, other = (self.certificates[one] for one in (GOOD, OLD, BARE, OTHER))
        root = der_of(self.authority_pair)
        stranger = der_of(self.strangers.issue("mx.strangers.test"))
        self.case("ee-key", GOOD, tlsa(good))
        self.case("ee-key-512", GOOD, tlsa(good, 3, 1, 2))
        self.case("ee-key-whole", GOOD, tlsa(good, 3, 1, 0))
        self.case("ee-certificate", GOOD, tlsa(good, 3, 0, 1))
        self.case("ee-certificate-whole", GOOD, tlsa(good, 3, 0, 0))
        self.case("ee-expired", OLD, tlsa(old))
        self.case("ee-other-name", OTHER, tlsa(other))
        self.case("ta-certificate", GOOD, tlsa(root, 2, 0, 1))
        self.case("ta-key", GOOD, tlsa(root, 2, 1, 2))
        self.case("ta-whole-not-sent", BARE, tlsa(root, 2, 0, 0))
        self.case("ta-key-not-sent", BARE, tlsa(root, 2, 1, 0))
        self.case("ta-digest-not-sent", BARE, tlsa(root, 2, 0, 1))
        self.case("ta-other-name", OTHER, tlsa(root, 2, 0, 1))
        self.case("ta-expired", OLD, tlsa(root, 2, 0, 1))
        self.case("ta-of-leaf", BARE, tlsa(bare, 2, 0, 1))
        self.case("stale", GOOD, tlsa(stranger))
        self.case("rotating", GOOD, tlsa(stranger), tlsa(good))
        self.case("clear", CLEAR, tlsa(good))
        self.case("ancient", ANCIENT, tlsa(good))
        self.case("unusable", GOOD, tlsa(stranger, 1, 1, 1), "3 9 1 " + "ab" * 32, "9 9 9 ff")
        self.case("unusable-clear", CLEAR, tlsa(stranger, 0, 0, 1))
        self.case("none", GOOD)
        self.case("none-ancient", ANCIENT)
        self.case("none-clear", CLEAR)
        self.records += [
            "two MX 10 mx-stale.dane.test.", "two MX 20 mx-ee-key.dane.test.",
            "alias MX 10 al.dane.test.", "al CNAME mx-stale.dane.test.",
            "alias-own MX 10 al-own.dane.test.", "al-own CNAME mx-none.dane.test.",
            f"{self.tlsa_name('al-own')} TLSA {tlsa(stranger)}",
            "alias-out MX 10 al-out.dane.test.", "al-out CNAME mx.plain.test.",
            f"{self.tlsa_name('al-out')} TLSA {tlsa(stranger)}",
            "alias-out-none MX 10 al-none.dane.test.", "al-none CNAME mx.plain.test.",
            "host-bogus MX 10 mx.bogus.test.", "host-expired MX 10 mx.expired.test.", "host-plain MX 10 mx.plain.test.",
            "host-dead MX 10 mx-dead.dane.test.", f"mx-dead A {GOOD}", "_tcp.mx-dead NS ns.test.",
            "no-mx A 127.0.0.6", f"{self.tlsa_name('no-mx')} TLSA {tlsa(stranger)}",
        ]  # fmt: skip

    def _zones(self):
        stranger = der_of(self.strangers.issue("mx.strangers.test"))
        host = (f"mx A {GOOD}", f"{self.tlsa_name()} TLSA {tlsa(stranger)}")
        self.dns.zone("dane.test", *self.records)
        self.dns.zone("_tcp.mx-dead.dane.test", "x TXT x", how=DEAD)
        self.dns.zone("plain.test", "@ MX 10 mx-stale.dane.test.", *host, how=PLAIN)
        self.dns.zone("bogus.test", "@ MX 10 mx-ee-key.dane.test.", *host, how=BOGUS)
        self.dns.zone("expired.test", "@ MX 10 mx-ee-key.dane.test.", *host, how=EXPIRED)

    @property
    def authority_pair(self):
        from support.certificates import Pair

        return Pair(self.authority.root, self.authority.root)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("dane"))
    yield made
    made.close()


@pytest.fixture
async def world(site):
    (site.folder / "policies.db").unlink(missing_ok=True)
    site.forget_all()
    yield site
    await site.rest()


TAKEN = ""


@pytest.mark.parametrize(
    ("case", "error", "note"),
    [
        ("ee-key", TAKEN, "dane"),
        ("ee-key-512", TAKEN, "dane"),
        ("ee-key-whole", TAKEN, "dane"),
        ("ee-certificate", TAKEN, "dane"),
        ("ee-certificate-whole", TAKEN, "dane"),
        ("ee-expired", TAKEN, "dane"),
        ("ee-other-name", TAKEN, "dane"),
        ("ta-certificate", TAKEN, "dane"),
        ("ta-key", TAKEN, "dane"),
        ("ta-whole-not-sent", TAKEN, "dane"),
        ("ta-key-not-sent", TAKEN, "dane"),
        ("ta-digest-not-sent", "none of 1 TLSA records", ""),
        ("ta-other-name", "is for mx.other.test, not for mx-ta-other-name.dane.test", ""),
        ("ta-expired", "was valid until", ""),
        ("ta-of-leaf", "none of 1 TLSA records", ""),
        ("stale", "none of 1 TLSA records", ""),
        ("rotating", TAKEN, "dane"),
        ("clear", "does not offer STARTTLS", ""),
        ("unusable", TAKEN, "dane"),
        ("unusable-clear", "does not offer STARTTLS", ""),
        ("none", TAKEN, ""),
        ("none-clear", TAKEN, ""),
        ("two", TAKEN, "dane"),
        ("alias", "none of 1 TLSA records", ""),
        ("alias-own", "none of 1 TLSA records", ""),
        ("alias-out", "none of 1 TLSA records", ""),
        ("alias-out-none", TAKEN, ""),
        ("host-plain", TAKEN, ""),
        ("no-mx", "none of 1 TLSA records", ""),
    ],
)
async def test_rfc7672_case(world, case, error, note):
    sent = await world.send(f"{case}.dane.test")
    assert error in sent.error
    assert bool(sent.error) is bool(error)
    assert sent.note == note
    assert sent.permanent is False


@pytest.mark.parametrize("case", ["host-bogus.dane.test", "host-expired.dane.test", "bogus.test", "expired.test"])
async def test_d12_bogus_is_not_absence(world, case):
    """Bogus is never absence: neither MX nor TLSA nor addresses, and nothing is sent."""
    before = sum(sink.sessions for sink in world.sinks)
    sent = await world.send(case)
    assert "bogus" in sent.error
    assert not sent.permanent
    assert sent.status.startswith("4.")
    assert sum(sink.sessions for sink in world.sinks) == before


async def test_dns_that_is_silent_about_tlsa_keeps_mail_waiting(world):
    sent = await world.send("host-dead.dane.test")
    assert "cannot be told" in sent.error
    assert not sent.permanent
    assert not world.by_address[GOOD].to("b@host-dead.dane.test")


async def test_a_domain_that_does_not_exist_is_a_final_failure(world):
    sent = await world.send("missing.dane.test")
    assert sent.permanent
    assert sent.status == "5.4.4"


async def test_mx_records_that_are_not_signed_leave_dane_out(world):
    """RFC 7672 §2.2.1: plain.test names a host whose TLSA records would fail."""
    sent = await world.send("plain.test")
    assert sent == type(sent)(status=sent.status)
    assert world.by_address[GOOD].to("b@plain.test")


async def test_d12_a_resolver_that_is_not_trusted_is_not_believed(world):
    """A resolver elsewhere could be anybody: its AD bit counts only where an administrator says so."""
    far = SecureResolver(["192.0.2.53"], clock=world.clock)
    assert not far.is_trusted
    assert SecureResolver(["192.0.2.53"], clock=world.clock, trusted=["192.0.2.53"]).is_trusted
    factory = world.factory()
    world.resolver._any_trusted = False
    sent = await world.send("stale.dane.test", factory=factory)
    assert sent.error == ""
    sent = await world.send("stale.dane.test", factory=world.factory(smtp_dane_mode=SmtpDaneMode.MANDATORY))
    assert "no DNS server is trusted" in sent.error


async def test_d12_an_unvalidating_resolver_vouches_for_nothing(world):
    """NSD itself answers without validation: nothing is secure."""
    nsd = SecureResolver([f"127.0.0.1:{world.dns._ports[0]}"], clock=world.clock, hosts={})
    found = await nsd.mx("ee-key.dane.test")
    assert [one.exchange for one in found.records] == ["mx-ee-key.dane.test"]
    assert not found.secure
    await nsd.close()


async def test_mandatory_sends_only_to_hosts_with_tlsa_records(world):
    assert (await world.send("ee-key.dane.test", smtp_dane_mode=SmtpDaneMode.MANDATORY)).note == "dane"
    for case in ("none", "unusable"):
        sent = await world.send(f"{case}.dane.test", smtp_dane_mode=SmtpDaneMode.MANDATORY)
        assert "no usable TLSA records" in sent.error


async def test_none_leaves_dane_out(world):
    assert (await world.send("stale.dane.test", smtp_dane_mode=SmtpDaneMode.NONE)).error == ""


async def test_a_connector_that_checks_certificates_itself_stands_alone(world):
    sent = await world.send(
        "stale.dane.test", require_tls=True, tls_auth_level=TlsAuthLevel.CERTIFICATE_VALIDATION
    )  # fmt: skip
    assert sent.error == ""


async def test_tls_required_no_passes_dane_over(world):
    """RFC 8689 §3."""
    sent = await world.send("stale.dane.test", TlsRequirement.OPTIONAL)
    assert sent.error == ""
    assert sent.note == "tls-required-no"
    assert world.by_address[GOOD].to("b@stale.dane.test")[-1].tls


async def test_failures_are_told_with_their_evidence(world):
    """The flight recorder gets record and certificate; reports get the kind of failure."""
    await world.send("stale.dane.test")
    facts = world.flights.failures[-1]
    assert facts.phase is Phase.HANDSHAKE
    assert facts.policy == "dane"
    assert any("TLSA _" in line and "3 1 1" in line for line in facts.evidence)
    assert facts.chain[0].names == ("*.dane.test",)
    (result,) = world.results
    assert (result.policy_type, result.result) == (PolicyType.TLSA, ResultType.VALIDATION_FAILURE)
    assert result.domain == "stale.dane.test"
    assert result.policy_strings[0].startswith("3 1 1 ")
    await world.send("bogus.test")
    await world.send("host-bogus.dane.test")
    assert world.results[-1].result is ResultType.DNSSEC_INVALID
    await world.send("host-dead.dane.test")
    assert world.results[-1].result is ResultType.DNSSEC_INVALID  # "no valid records were returned", RFC 8460 §4.3.2.1
    await world.send("none.dane.test", smtp_dane_mode=SmtpDaneMode.MANDATORY)
    assert world.results[-1].result is ResultType.DANE_REQUIRED
    await world.send("unusable.dane.test")
    assert world.results[-1].result is ResultType.TLSA_INVALID
    assert "(not usable)" in world.results[-1].information
    await world.send("clear.dane.test")
    assert world.results[-1].result is ResultType.STARTTLS_NOT_SUPPORTED
    await world.send("ee-key.dane.test")
    assert world.results[-1].result is ResultType.SUCCESS
    assert world.results[-1].receiving_host == "mx-ee-key.dane.test"


async def test_each_session_in_clear_after_a_broken_handshake_is_told_as_that(world):
    """RFC 8460 §4.3: STARTTLS was offered; that the host does not support it would send its administrator astray."""
    factory = world.factory()
    for _ in range(2):  # the second knows of the first, and does not try
        assert (await world.send("none-ancient.dane.test", factory=factory)).error == ""
    assert not world.by_address[ANCIENT].transactions[-1].tls
    told = [one for one in world.results if one.domain == "none-ancient.dane.test"]
    assert [one.result for one in told] == [ResultType.VALIDATION_FAILURE] * 2
    assert all("handshake" in one.information.lower() or "TLS" in one.information for one in told)


async def test_the_session_is_logged_with_its_policy(world):
    await world.send("ee-key.dane.test")
    assert "policy dane" in world.log.text


async def test_d12_dane_never_takes_a_tls_session_up_again(world):
    """Each handshake under DANE shows its certificates anew (session tickets across services)."""
    sink = world.by_address[GOOD]
    factory = world.factory()
    before = len(sink.handshakes)
    for _ in range(2):
        assert (await world.send("ee-key.dane.test", factory=factory)).error == ""
    assert [resumed for resumed, _ in sink.handshakes[before:]] == [False, False]


@pytest.mark.parametrize(
    ("case", "cause", "words"),
    [
        ("stale.dane.test", "dane-stale-record", "the records name the previous one"),
        ("ta-expired.dane.test", "dane-certificate", "was valid until"),
        ("ta-other-name.dane.test", "dane-certificate", "is for mx.other.test, not for mx-ta-other-name.dane.test"),
        ("clear.dane.test", "dane-no-tls", "does not offer or refuses STARTTLS"),
        ("ancient.dane.test", "dane-no-tls", "the handshake fails"),
        ("host-dead.dane.test", "dane-unknown", "cannot be told"),
        ("bogus.test", "dnssec-bogus", "bogus"),
        ("host-bogus.dane.test", "dnssec-bogus", "bogus"),
    ],
)
async def test_why_names_the_cause(world, case, cause, words):
    """Symptom 25: record against certificate."""
    await world.send(case)
    evidence = Evidence(now=world.clock.now(), subject=case, attempts=world.flights.failures)
    first = diagnose(evidence)[0]
    assert first.id == cause
    assert words in first.finding.sentence
    assert first.owner is Owner.FAR_SIDE
    if cause == "dane-stale-record":
        (record,) = [line.rpartition(" ")[2] for line in first.finding.proof if line.startswith("TLSA _")]
        assert len(record) == 64, "the digest is there as a whole, to be compared with dig's"
        assert any(line.startswith("certificate shown: ") for line in first.finding.proof)


@pytest.mark.parametrize(
    ("case", "taken"),
    [
        ("alias", False),  # signed all the way: the records of the name that it leads to count
        ("alias-own", False),  # there are none there: those of the alias itself count
        ("alias-out", False),  # it leads into a zone without signatures, and is signed itself: likewise
        ("alias-out-none", True),
    ],
)
async def test_d12_mx_hosts_that_are_aliases(world, case, taken):
    """CNAME MX zones (RFC 7672 §2.2.2): each of these records is of another key than the host shows."""
    sent = await world.send(f"{case}.dane.test")
    assert (sent.error == "") is taken


def test_d12_our_client_hello_fits_into_one_packet():
    """One that does not breaks on middleboxes that look at the first packet only. From 3.5 on OpenSSL sends an ML-KEM
    key of 1,184 octets with it, as browsers do; its configuration can leave that out."""
    bound = 1400 if ssl.OPENSSL_VERSION_INFO < (3, 5) else 1400 + 1184 + 36
    for scope in ("", "dane", "mta-sts"):
        outgoing = ssl.MemoryBIO()
        context = ClientContexts().get(ClientTls(owner="out", scope=scope))
        connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="mx." + "a" * 60 + ".test")
        with pytest.raises(ssl.SSLWantReadError):
            connection.do_handshake()
        assert 0 < len(outgoing.read()) < bound
