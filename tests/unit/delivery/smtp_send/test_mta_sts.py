# SPDX-License-Identifier: MIT
"""MTA-STS as a sender: real policy hosts, real mail hosts, real DNS (RFC 8461), and its failures one by one."""

import sqlite3
from contextlib import closing

import msgspec
import pytest

from bridgehead.diagnosis.engine import diagnose
from bridgehead.diagnosis.facts import Evidence
from bridgehead.mail.item import TlsRequirement
from bridgehead.mail.limits import STS_POLICY_BYTES
from bridgehead.net.sts.policies import StsPolicies
from bridgehead.net.sts.policy_host import FetchError, PolicyHosts
from bridgehead.routing.domain_tls import TlsLevel
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import MtaStsMode, TlsDowngradeMode
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType
from support.policy_host import answer, policy
from support.policy_world import PolicyWorld, der_of, tlsa, with_chain
from support.signed_dns import DEAD, PLAIN
from support.work_source import MemorySource, queued

GOOD, CLEAR, WRONG, EXPIRED, STRANGE, SHARED = (f"127.0.0.{number}" for number in range(12, 18))


class Site(PolicyWorld):
    """Domains `<case>.sts.test`, each with a policy host and a mail host `mx.<case>.sts.test`."""

    def __init__(self, folder):
        super().__init__(folder)
        self.seconds = 1.0
        issue = self.authority.issue
        self.policy_pair = issue("mta-sts.sts.test", "*.sts.test")
        good = with_chain(issue("shared.test", "*.good.sts.test", "*.sts.test", *self._names()), self.authority)
        for address, pair in (
            (GOOD, good),
            (CLEAR, None),
            (WRONG, issue("elsewhere.test")),
            (EXPIRED, issue("expired.test", *self._names(), days=-1, since_days=9)),
            (STRANGE, self.strangers.issue("mx.strange.sts.test", *self._names())),
            (SHARED, issue("mx.shared.test")),
        ):
            self.mail_host(address, pair)
        self.sink = dict(zip((GOOD, CLEAR, WRONG, EXPIRED, STRANGE, SHARED), self.sinks, strict=True))
        self.good = good
        self.records: list[str] = []
        for case, (address, said) in CASES.items():
            self.case(case, address)
            self.policy(case, said(self, case) if callable(said) else said)
        self._signed()
        self.dns.zone("sts.test", *self.records, how=PLAIN)
        self.dns.zone("_mta-sts.silent.sts.test", "x TXT x", how=DEAD)
        self.dns.zone("shared.test", f"mx A {SHARED}", how=PLAIN)
        self.dns.start()

    def _names(self):
        return [f"mx.{case}.sts.test" for case in CASES]

    def case(self, name, address, policy_id="1"):
        self.records += [
            f"{name} MX 10 mx.{name}.sts.test.", f"mx.{name} A {address}", f"mta-sts.{name} A 127.0.0.1",
            f'_mta-sts.{name} TXT "v=STSv1; id={policy_id};"',
        ]  # fmt: skip

    def policy(self, name, said, pair=None):
        domain = f"{name}.sts.test"
        self.hosts.add(domain, pair or self.authority.issue(f"mta-sts.{domain}"), said)

    def _signed(self):
        """DANE and MTA-STS at once: the policy names the host, the TLSA record another key."""
        stranger = der_of(self.strangers.issue("mx.strangers.test"))
        both = ("MX 10 mx.both.test.", f"mx A {GOOD}", "mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=1;"')
        self.dns.zone("both.test", f"@ {both[0]}", *both[1:], f"{self.tlsa_name()} TLSA {tlsa(stranger)}")
        self.hosts.add("both.test", self.authority.issue("mta-sts.both.test"), policy("enforce", "mx.both.test"))
        passing = ("mx A " + WRONG, "mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=1;"')
        wrong = der_of(self.authority.issue("unused.test"))
        self.dns.zone(
            "dane-only.test", "@ MX 10 mx.dane-only.test.", *passing, f"{self.tlsa_name()} TLSA {tlsa(wrong)}"
        )
        self.hosts.add("dane-only.test", self.authority.issue("mta-sts.dane-only.test"), policy("enforce", "no.test"))


def slow(site, _):
    return site.hosts.wait_closed


def dripping(site, _):
    def drip(connection):
        connection.sendall(answer(b"")[:20])
        site.hosts.wait_closed(connection)

    return drip


def enforce(_, case):
    return policy("enforce", f"mx.{case}.sts.test")


def trial(_, case):
    return policy("testing", f"mx.{case}.sts.test")


def redirect(_, case):
    return answer(b"", "301 Moved", "text/plain", f"Location: https://mta-sts.good.sts.test/{case}")


def chunked(_, case):
    body = policy("enforce", f"mx.{case}.sts.test").partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])


CASES = {
    "good": (GOOD, enforce),
    "pattern": (GOOD, policy("enforce", "*.pattern.sts.test")),
    "deep-pattern": (GOOD, policy("enforce", "*.sts.test")),
    "none": (CLEAR, policy("none")),
    "clear": (CLEAR, enforce),
    "wrong": (WRONG, enforce),
    "expired": (EXPIRED, enforce),
    "strange": (STRANGE, enforce),
    "other-mx": (GOOD, policy("enforce", "mx.elsewhere.test")),
    "testing-good": (GOOD, trial),
    "testing-clear": (CLEAR, trial),
    "testing-wrong": (WRONG, trial),
    "testing-other-mx": (WRONG, policy("testing", "mx.elsewhere.test")),
    "redirect": (CLEAR, redirect),
    "chunked": (WRONG, chunked),
    "huge": (CLEAR, answer(b"x" * (STS_POLICY_BYTES + 1))),
    "html": (CLEAR, answer(b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 9", "200 OK", "text/html")),
    "missing": (CLEAR, answer(b"", "404 Not Found")),
    "garbage": (CLEAR, answer(b"version: STSv2\n")),
    "no-http": (CLEAR, b"220 I am no policy host\r\n\r\n"),
    "slow": (CLEAR, slow),
    "dripping": (CLEAR, dripping),
    "silent": (CLEAR, enforce),
    "changing": (GOOD, enforce),
    "short": (GOOD, policy("enforce", "mx.short.sts.test", max_age=60)),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("sts"))
    yield made
    made.close()


@pytest.fixture
async def world(site):
    (site.folder / "policies.db").unlink(missing_ok=True)
    site.forget_all()
    yield site
    await site.rest()


TAKEN = ""
ENFORCED, TESTED = "mta-sts:enforce", "mta-sts:testing"


@pytest.mark.parametrize(
    ("case", "error", "note"),
    [
        ("good", TAKEN, ENFORCED),
        ("pattern", TAKEN, ENFORCED),
        ("deep-pattern", "does not name mx.deep-pattern.sts.test", ""),
        ("none", TAKEN, ""),
        ("clear", "does not offer STARTTLS", ""),
        ("wrong", "is for elsewhere.test, not for mx.wrong.sts.test", ""),
        ("expired", "certificate has expired", ""),
        ("strange", "the certificate is not valid", ""),
        ("other-mx", "does not name mx.other-mx.sts.test", ""),
        ("testing-good", TAKEN, TESTED),
        ("testing-clear", TAKEN, TESTED),
        ("testing-wrong", TAKEN, TESTED),
        ("testing-other-mx", TAKEN, TESTED),
        ("chunked", "is for elsewhere.test", ""),
    ],
)
async def test_rfc8461_case(world, case, error, note):
    sent = await world.send(f"{case}.sts.test")
    assert error in sent.error
    assert bool(sent.error) is bool(error)
    assert sent.note == note
    assert not sent.permanent


@pytest.mark.parametrize(
    ("case", "result"),
    [
        ("redirect", ResultType.STS_POLICY_FETCH_ERROR),
        ("huge", ResultType.STS_POLICY_INVALID),
        ("html", ResultType.STS_POLICY_FETCH_ERROR),
        ("missing", ResultType.STS_POLICY_FETCH_ERROR),
        ("garbage", ResultType.STS_POLICY_INVALID),
        ("no-http", ResultType.STS_POLICY_FETCH_ERROR),
        ("slow", ResultType.STS_POLICY_FETCH_ERROR),
        ("dripping", ResultType.STS_POLICY_FETCH_ERROR),
    ],
)
async def test_a_policy_host_that_fails_leaves_no_policy_and_is_told(world, case, result):
    """RFC 8461 §3.3: with nothing known, mail goes as to a domain without a policy; the failure is reported once."""
    for _ in range(2):
        sent = await world.send(f"{case}.sts.test")
        assert sent.error == ""
    told = [one for one in world.results if one.policy_type is PolicyType.STS]
    assert [(one.domain, one.result) for one in told] == [(f"{case}.sts.test", result)]


@pytest.mark.parametrize(
    ("how", "words"), [("wrong name", "not valid for"), ("expired", "has expired"), ("stranger", "unable to get")]
)
async def test_the_policy_hosts_certificate_is_checked(world, how, words):
    pair = {
        "wrong name": lambda: world.authority.issue("mta-sts.elsewhere.test"),
        "expired": lambda: world.authority.issue("mta-sts.missing.sts.test", days=-1, since_days=9),
        "stranger": lambda: world.strangers.issue("mta-sts.missing.sts.test"),
    }[how]()
    world.policy("missing", policy("enforce", "mx.missing.sts.test"), pair)
    try:
        assert (await world.send("missing.sts.test")).error == ""
        (told,) = [one for one in world.results if one.policy_type is PolicyType.STS]
        assert told.result is ResultType.STS_WEBPKI_INVALID
        assert words in told.information.lower() or "mismatch" in told.information.lower()
    finally:
        world.policy("missing", answer(b"", "404 Not Found"))


async def test_a_dead_policy_host_is_told(world):
    hosts = PolicyHosts(ca_file=str(world.authority.root), port=1, seconds=1)
    world.factory()
    with pytest.raises(FetchError, match="cannot be asked"):
        await hosts.fetch("good.sts.test", world.resolver)
    with pytest.raises(FetchError, match="has no address"):
        await hosts.fetch("nowhere.sts.test", world.resolver)


async def test_d12_sts_testing_is_not_enforced_and_is_reported(world):
    """D12: testing never blocks; what would have failed is told."""
    assert (await world.send("testing-wrong.sts.test")).error == ""
    assert world.sink[WRONG].to("b@testing-wrong.sts.test")[-1].tls
    assert [one.result for one in world.results] == [ResultType.CERTIFICATE_HOST_MISMATCH]
    assert (await world.send("testing-other-mx.sts.test")).error == ""
    assert world.results[-1].result is ResultType.VALIDATION_FAILURE


async def test_sts_testing_with_a_host_that_fails_costs_one_connection_once_known(world):
    factory = world.factory()
    await world.send("testing-wrong.sts.test", factory=factory)
    before = world.sink[WRONG].sessions
    await world.send("testing-wrong.sts.test", factory=factory)
    assert world.sink[WRONG].sessions == before + 1
    # Each session that the policy would have refused counts in the report (RFC 8460 §4.3), also where none was tried.
    assert [one.result for one in world.results] == [ResultType.CERTIFICATE_HOST_MISMATCH] * 2
    assert world.results[0].information == world.results[1].information


async def test_d12_sts_is_fetched_once_and_kept_over_a_restart(world):
    """D12: the cache outlives the process, and DNS and policy host may be gone."""
    await world.send("good.sts.test")
    await world.send("good.sts.test")
    assert world.hosts.requests.count("mta-sts.good.sts.test") >= 1
    asked = len(world.hosts.requests)
    await world.rest()
    world.forget_all()
    assert world.shared.sts.known("good.sts.test") is not None
    assert (await world.send("good.sts.test")).note == ENFORCED
    assert len(world.hosts.requests) == asked


async def test_d12_sts_cache_holds_while_dns_and_policy_host_are_down(world):
    """D12: STS cache failure = policy off. What is known holds until it ends, whoever is silent."""
    world.factory()
    assert (await world.send("clear.sts.test")).error
    dead = type(world.resolver)(["127.0.0.1:1"], clock=world.clock, timeout=0.2, tries=1, hosts={})
    kept = await world.shared.sts.policy("clear.sts.test", dead)
    assert kept.policy is not None
    assert kept.failure
    await dead.close()


async def test_d12_sts_lost_cache_keeps_mail_waiting_while_nobody_can_tell(world):
    """D12, cache outage: the file is damaged and DNS says nothing: the domain's mail waits, it does not go in clear."""
    await world.send("silent.sts.test")  # with a whole file and nothing known: RFC 8461 says that there is no policy
    assert world.sink[CLEAR].to("b@silent.sts.test")
    await world.rest()
    (world.folder / "policies.db").write_bytes(b"this is no database" * 500)
    world.forget_all()
    assert world.faults
    assert not world.file.is_whole
    sent = await world.send("silent.sts.test")
    assert "the policies known before could not be read" in sent.error
    assert not sent.permanent
    assert (await world.send("none.sts.test")).error == ""  # others are fetched anew and go
    assert (await world.send("clear.sts.test")).error
    await world.file.close()
    with closing(sqlite3.connect(world.folder / "policies.db")) as fresh, fresh:
        assert fresh.execute("SELECT name FROM entry WHERE kind = 'sts'").fetchall()


async def test_sts_a_file_that_cannot_be_written_is_told_and_stops_nothing(world):
    await world.rest()
    world.file._path = world.folder / "nowhere" / "policies.db"
    assert (await world.send("good.sts.test")).note == ENFORCED
    await world.file.close()
    assert "cannot be written" in world.faults[-1]
    assert world.shared.sts.known("good.sts.test") is not None


async def test_d12_sts_policy_per_domain_where_hosts_are_shared(world):
    """D12, shared-MX aliasing: two domains on one host, one enforces, one has no policy; over one factory."""
    world.dns.zone(
        "strict.test", "@ MX 10 mx.shared.test.", "mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=7;"', how=PLAIN
    )
    world.dns.zone("lax.test", "@ MX 10 mx.shared.test.", how=PLAIN)
    world.dns.start()
    world.hosts.add("strict.test", world.authority.issue("mta-sts.strict.test"), policy("enforce", "mx.other.test"))
    factory = world.factory()
    assert "does not name mx.shared.test" in (await world.send("strict.test", factory=factory)).error
    assert (await world.send("lax.test", factory=factory)).error == ""
    assert "does not name mx.shared.test" in (await world.send("strict.test", factory=factory)).error
    assert not world.sink[SHARED].to("b@strict.test")


async def test_d12_sts_does_not_beat_dane(world):
    """D12: the TLSA record fails, the policy and the certificate would be content: refused. And the other way round."""
    sent = await world.send("both.test")
    assert sent.error.startswith("DANE: ")
    assert not world.sink[GOOD].to("b@both.test")


async def test_sts_none_leaves_it_out(world):
    asked = len(world.hosts.requests)
    assert (await world.send("clear.sts.test", mta_sts_mode=MtaStsMode.NONE)).error == ""
    assert len(world.hosts.requests) == asked


async def test_tls_required_no_passes_sts_over(world):
    """RFC 8689 §3."""
    assert (await world.send("clear.sts.test", TlsRequirement.OPTIONAL)).error == ""


async def test_a_policy_with_a_new_id_is_fetched_and_a_failing_one_keeps_the_old(world):
    await world.send("changing.sts.test")
    sts: StsPolicies = world.shared.sts

    class Announcing:
        def __init__(self, dns, policy_id):
            self.dns, self.policy_id = dns, policy_id

        async def txt(self, name):
            return (await self.dns.txt(name)).__class__(0, (b"v=STSv1; id=%s;" % self.policy_id,))

        async def addresses(self, host):
            return await self.dns.addresses(host)

    world.policy("changing", policy("none"))
    assert (await sts.policy("changing.sts.test", Announcing(world.resolver, b"2"))).policy.mode == "none"
    world.policy("changing", answer(b"", "500 Broken"))
    kept = await sts.policy("changing.sts.test", Announcing(world.resolver, b"3"))
    assert (kept.id, kept.policy.mode) == ("2", "none")
    assert "500" in kept.failure
    world.policy("changing", CASES["changing"][1](world, "changing"))


async def test_a_txt_record_that_is_gone_ends_no_policy(world):
    """RFC 8461 §5.1: what is known holds until its max_age ends."""
    await world.send("good.sts.test")

    class Gone:
        async def txt(self, name):
            return await world.resolver.txt(f"gone.{name}")

    kept = await world.shared.sts.policy("good.sts.test", Gone())
    assert kept.policy.mode == "enforce"
    assert kept.failure == ""


async def test_policies_in_use_are_fetched_anew_before_they_end(world):
    await world.send("short.sts.test")
    await world.send("short.sts.test")
    kept = world.shared.sts._kept
    first = kept["short.sts.test"] = msgspec.structs.replace(
        kept["short.sts.test"], fetched_at=world.clock.now() - 100, expires_at=world.clock.now() + 10
    )  # fmt: skip
    await world.shared.sts.refresh()
    second = world.shared.sts.known("short.sts.test")
    assert second.expires_at > first.expires_at


async def test_d12_a_session_takes_no_message_once_its_policy_has_ended(world):
    """The policy is part of what the pool lends a connection for: after it ended, a new session looks it up anew."""
    source = MemorySource([queued(recipients=["b@good.sts.test"])])
    courier = world.factory().courier(NextHop(DeliveryType.DNS_CONNECTOR, "good.sts.test", "out"), source)
    courier.wake()
    await source.all_finished(1)
    (session,) = courier._sessions
    before = world.sink[GOOD].sessions
    session._expired = lambda: True
    source.add(queued(recipients=["c@good.sts.test"]))
    courier.wake()
    await source.all_finished(2)
    assert world.sink[GOOD].sessions == before + 1
    await courier.close()


# --- the best TLS seen --------------------------------------------------------------------------------------------------


async def test_a_downgrade_is_alarmed_and_refused_where_asked(world):
    domain = "none.sts.test"
    assert (await world.send(domain)).error == ""
    assert world.shared.memory.seen(domain).best is TlsLevel.NONE
    world.shared.memory.opened(domain, "mx.none.sts.test", TlsLevel.ENCRYPTED, alarm=True)
    assert (await world.send(domain)).error == ""
    assert "no TLS" in world.alarms.raised[f"tls_downgrade/{domain}"]
    sent = await world.send(domain, tls_downgrade_mode=TlsDowngradeMode.REFUSE)
    assert "tls_downgrade_mode is Refuse" in sent.error
    await world.rest()
    world.forget_all()  # remembered over a restart
    assert (await world.send(domain, tls_downgrade_mode=TlsDowngradeMode.REFUSE)).error
    assert world.shared.memory.forget(domain)
    assert (await world.send(domain, tls_downgrade_mode=TlsDowngradeMode.REFUSE)).error == ""
    assert not world.alarms.raised


async def test_a_certificate_that_nobody_demanded_counts_and_its_loss_is_alarmed(world):
    domain, off = "good.sts.test", {"mta_sts_mode": MtaStsMode.NONE}
    world.shared.memory.forget(domain)
    factory = world.factory(**off)
    await world.send(domain, factory=factory)
    assert world.shared.memory.seen(domain).best is TlsLevel.VERIFIED
    await world.send(domain, factory=factory)
    assert world.sink[GOOD].handshakes[-1][0], "a session taken up again shows no chain"
    assert not world.alarms.raised
    for case in ("strange", "wrong", "expired"):
        world.shared.memory.forget(f"{case}.sts.test")
        assert (await world.send(f"{case}.sts.test", **off)).error == ""
        assert world.shared.memory.seen(f"{case}.sts.test").best is TlsLevel.ENCRYPTED, case
    stranger = world.strangers.issue("mx.good.sts.test")
    context = world.sink[GOOD].behaviour.context
    context.load_cert_chain(stranger.certificate, stranger.key)
    try:
        assert (await world.send(domain, **off)).error == ""
        assert "nobody vouches for" in world.alarms.raised[f"tls_downgrade/{domain}"]
        refusing = {**off, "tls_downgrade_mode": TlsDowngradeMode.REFUSE}
        assert "tls_downgrade_mode is Refuse" in (await world.send(domain, **refusing)).error
    finally:
        context.load_cert_chain(world.good.certificate, world.good.key)
    assert (await world.send(domain, **refusing)).error == ""
    assert not world.alarms.raised


async def test_a_policy_that_vanishes_is_a_downgrade(world):
    await world.send("good.sts.test")
    assert (await world.send("good.sts.test", mta_sts_mode=MtaStsMode.NONE)).error == ""
    assert "vouch" in world.alarms.raised["tls_downgrade/good.sts.test"]
    await world.send("good.sts.test")
    assert not world.alarms.raised


@pytest.mark.parametrize(
    ("case", "cause", "words"),
    [
        ("other-mx", "sts-host-not-named", "does not name its mail host mx.other-mx.sts.test"),
        ("wrong", "sts-not-kept", "enforces MTA-STS"),
        ("expired", "sts-not-kept", "has expired"),
        ("clear", "sts-not-kept", "does not offer STARTTLS"),
    ],
)
async def test_why_names_the_cause(world, case, cause, words):
    """Symptom 25: policy with its id against host and certificate."""
    await world.send(f"{case}.sts.test")
    first = diagnose(Evidence(now=0, subject=f"{case}.sts.test", attempts=world.flights.failures))[0]
    assert first.id == cause
    assert words in first.finding.sentence
    assert any("MTA-STS policy 1 of" in line for line in first.finding.proof)
