# SPDX-License-Identifier: MIT
"""Each symptom of sending, produced by real hosts, certificates and DNS, and the sentence that tells its cause."""

import datetime
import ssl
from collections.abc import Iterator

import pytest

from e2e.why_world import World, world
from support.odd_certificates import DAY, make, serving, with_old_tls_only, write
from support.odd_hosts import (
    Blackhole,
    OddHost,
    cuts_content_after,
    drops_after_the_dot,
    hangs_up,
    never_greets,
    speaks_ssh,
)
from support.ports import free_port, wait_until
from support.sink import Sink, Transaction

CHECKED = {"require_tls": True, "tls_auth_level": "CertificateValidation"}

REPLIES: dict[str, tuple[str, str, str]] = {
    # domain: reply to RCPT, cause, a part of the sentence
    "attribution.test": ("451 5.7.64 TenantAttribution; Relay Access Denied SMTP", "tenant-attribution", "inbound connector"),
    "region.test": ("450 4.4.62 Mail sent to the wrong Office 365 region. ATTR35.", "wrong-region", "another region"),
    "directsend.test": ("451 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization", "direct-send-refused",
                        "refuses Direct Send"),
    "outofdate.test": ("450 4.7.230 Connecting Exchange server version is out-of-date; connection throttled", "out-of-date-server",
                       "out of date"),
    "threads.test": ("432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", "recipient-thread-limit", "only so many"),
    "busy.test": ("451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)", "reputation-throttled", "slows us down"),
    "banned.test": ("450 5.7.606 Access denied, banned sending IP [192.0.2.8]", "address-banned", "192.0.2.8"),
    "listed.test": ("450 4.7.1 Service unavailable; Client host [192.0.2.8] blocked using zen.spamhaus.org", "block-list", "spamhaus"),
    "spf.test": ("451 5.7.23 The message was rejected because of Sender Policy Framework violation", "spf", "SPF record"),
    "dmarc.test": ("421 4.7.26 This mail has been blocked because the sender is unauthenticated. DMARC", "dmarc", "DMARC policy"),
    "ptr.test": ("450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.8]", "no-reverse-name", "no reverse name"),
    "quota.test": ("451 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
                   "sender-restricted", "used up"),
    "suspended.test": ("450 5.2.251 Account suspended after repeated errors", "continuous-errors", "suspended there"),
    "internal.test": ("451 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", "group-internal-only", "internal senders"),
    "forward.test": ("450 5.7.367 Remote server returned forwarding not allowed", "forwarding-barred", "Forwarding to the outside"),
    "basic.test": ("450 5.7.30 Basic authentication is not supported for Client Submission.", "basic-authentication-retired", "password"),
    "grey.test": ("451 4.7.1 Greylisting in action, please come back later", "greylisted", "greylists"),
    "rate.test": ("450 4.7.1 Error: too many messages from your host, rate limit", "rate-limited", "fewer messages"),
    "connections.test": ("421 4.7.0 Too many concurrent SMTP connections from this IP", "too-many-connections", "fewer connections"),
    "helo.test": ("450 4.7.1 <mx.contoso.test>: Helo command rejected: Host not found", "helo-refused", "mx.contoso.test"),
    "pressure.test": ("452 4.3.1 Insufficient system resources", "back-pressure", "back pressure"),
    "stopped.test": ("450 4.3.2 Service not available", "service-not-available", "stopped, in maintenance"),
    "front.test": ("451 4.7.0 Temporary server error. Please try again later. PRX2", "front-end-proxy", "back end"),
    "exps.test": ("451 5.7.3 Cannot achieve Exchange Server authentication", "exchange-server-authentication", "Extended verbs"),
    "full.test": ("452 4.2.2 Mailbox full", "mailbox-full", "mailbox is full"),
    "strange.test": ("450 4.9.9 xyzzy", "unknown-reply", "xyzzy"),
}  # fmt: skip

FINAL: dict[str, tuple[str, str, str]] = {
    "relay.test": ("550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "relay-denied", "does not relay for us"),
    "nobody.test": ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "recipient-unknown",
                    "knows no such recipient"),
    "large.test": ("552 5.3.4 Message size exceeds fixed maximum message size", "too-large", "larger than"),
    "loop.test": ("554 5.4.14 Hop count exceeded - possible mail loop ATTR34", "loop", "circle"),
    "spam.test": ("550 5.7.1 Message rejected as spam by Content Filtering.", "content-refused", "spam"),
    "header.test": ("552 5.3.4 Header size exceeds fixed maximum size", "header-too-large", "header is larger"),
    "barelf.test": ("550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds", "bare-line-feed", "not CR LF"),
}  # fmt: skip


def _rcpt(argument: str) -> str | None:
    domain = argument.partition("@")[2].partition(">")[0]
    known = REPLIES.get(domain) or FINAL.get(domain)
    return known[0] if known else None


def _content(transaction: Transaction) -> str | None:
    return {
        "x@afterdata.test": "451 4.6.0 STOREDRV.Deliver; corrupt content, message conversion failed",
        "x@afterdata5.test": "554 5.6.0 STOREDRV.Deliver; corrupt content",
    }.get(transaction.forward_paths[0])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All misbehaving hosts at once, each with a message on its way; the tests only ask."""
    for one in world(tmp_path_factory.mktemp("why")):
        _answering_hosts(one)
        _hosts_without_smtp(one)
        _names(one)
        _certificates(one)
        _logins(one)
        one.start()
        (one.folder / "gone").unlink()
        for recipient, message in one.messages:
            one.send(recipient, message)
        yield one


def _host(lab: World, domain: str, host: OddHost | Sink, **settings: object) -> None:
    lab.host(domain, lab.stack.enter_context(host).port, **settings)
    lab.messages.append((f"x@{domain}", b""))


def _answering_hosts(lab: World) -> None:
    sink = lab.stack.enter_context(Sink(on_rcpt=_rcpt, on_content=_content))
    for domain in (*REPLIES, *FINAL, "afterdata.test", "afterdata5.test", "fine.test"):
        lab.host(domain, sink.port)
        lab.messages.append((f"x@{domain}", b""))
    asterisks = "220 ***************************************2******0*********"
    _host(lab, "asterisks.test", Sink(banner=asterisks, hello_refused=True), require_tls=True)
    _host(lab, "overwritten.test", Sink(extensions=("PIPELINING", "XXXXXXXA")), require_tls=True)
    _host(lab, "plain.test", Sink(), require_tls=True)
    _host(lab, "bannered.test", Sink(banner="554 5.7.1 Your address 192.0.2.8 is listed at dnsbl.test; no service"))


def _hosts_without_smtp(lab: World) -> None:
    _host(lab, "silent.test", OddHost(never_greets), connection_inactivity_timeout=1)
    _host(lab, "hangsup.test", OddHost(hangs_up))
    _host(lab, "ssh.test", OddHost(speaks_ssh))
    _host(lab, "dot.test", OddHost(drops_after_the_dot))
    lab.host("cut.test", lab.stack.enter_context(OddHost(cuts_content_after(1460), receive_buffer=2048)).port)
    lab.messages.append(("x@cut.test", b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 76 + b"\r\n") * 900))
    lab.host("closed.test", free_port())
    lab.messages.append(("x@closed.test", b""))
    lab.host("nosource.test", free_port(), source_ip_addresses=["192.0.2.77"])
    lab.messages.append(("x@nosource.test", b""))
    refusing = lab.stack.enter_context(Sink(banner="421 4.3.2 Service not available"))
    lab.smart_host("several.test", free_port(), refusing.port, lab.stack.enter_context(Blackhole()).port)
    lab.messages.append(("x@several.test", b""))


def _names(lab: World) -> None:
    lab.dns.add("half.test", "MX", "10 mx.half.test.")
    lab.dns.add("mx.half.test", "TXT", '"no address"')
    lab.dns.silent("mx.half.test", "AAAA")
    lab.dns.add("mangled.test", "MX", "10 mx.mangled.test.")
    lab.dns.add("mx.mangled.test", "TXT", '"no address"')
    lab.dns.garble("mx.mangled.test", "AAAA")
    lab.dns.servfail("broken.test")
    lab.dns.add("nullmx.test", "MX", "0 .")
    lab.dns.add("nowhere.test", "MX", "10 gone.nowhere.test.")
    for domain in ("half.test", "mangled.test", "broken.test", "nullmx.test", "nowhere.test", "gmial.test"):
        lab.route(domain, port=25)
        lab.messages.append((f"x@{domain}", b""))
    lab.route("deaf.test", dns_servers=[f"127.0.0.1:{free_port()}"])
    lab.messages.append(("x@deaf.test", b""))
    lab.connectors.append({
        "name": "To lost.test", "address_spaces": ["lost.test"], "smart_hosts": ["relay.lost.test"], "dns_servers": [lab.dns.address]
    })  # fmt: skip
    lab.messages.append(("x@lost.test", b""))


def _certificates(lab: World) -> None:
    folder = lab.folder / "certificates"
    root = make("Test Root", authority=True)
    stranger = make("Strange Root", authority=True)
    middle = make("Test Intermediate R11", root, authority=True)
    anchors = write(folder, "root", root)
    made = {
        "expired.test": (make("mx.expired.test", root, begins=-9 * DAY, ends=-datetime.timedelta(hours=30)),),
        "early.test": (make("mx.early.test", root, begins=DAY),),
        "selfsigned.test": (make("mx.selfsigned.test"),),
        "leafonly.test": (make("mx.leafonly.test", middle),),
        "untrusted.test": (make("mx.untrusted.test", stranger), stranger),
        "othername.test": (make("mail.elsewhere.test", root),),
    }
    for domain, (leaf, *chain) in made.items():
        level = "DomainValidation" if domain == "othername.test" else "CertificateValidation"
        context = serving(write(folder, domain, leaf, *chain))
        settings = {"require_tls": True, "tls_auth_level": level, "tls_ca_file": str(anchors)}
        _host(lab, domain, Sink(context=context), **settings)
    context = serving(write(folder, "demands", make("mx.demands.test", root)))
    context.load_verify_locations(anchors)
    context.verify_mode = ssl.CERT_REQUIRED
    _host(lab, "demands.test", Sink(context=context), require_tls=True)
    ours = str(write(folder, "ours", make("mx.contoso.test", stranger)))
    _host(
        lab, "refusesours.test", Sink(context=context), require_tls=True, tls_certificate_file=ours, tls_key_file=ours
    )
    old = with_old_tls_only(serving(write(folder, "old", make("mx.old.test", root))))
    _host(lab, "old.test", Sink(context=old), require_tls=True)
    _host(
        lab,
        "refusedtls.test",
        Sink(context=context, on_starttls=lambda: "454 4.7.0 TLS not available"),
        require_tls=True,
    )


def _logins(lab: World) -> None:
    leaf = make("login.test")
    context = serving(write(lab.folder / "certificates", "login", leaf))
    password = lab.folder / "password"
    password.write_text("wrong-canary-4711\n")
    (lab.folder / "gone").write_text("right\n")
    sink = lab.stack.enter_context(Sink(context=context, users={"ann": "right"}))
    login = {"smart_host_auth_mechanism": "BasicAuth", "authentication_username": "ann", "require_tls": True,
             "tls_auth_level": "EncryptionOnly"}  # fmt: skip
    lab.smart_host("login.test", sink.port, authentication_password=f"file:{password}", **login)
    lab.smart_host("nopassword.test", sink.port, authentication_password=f"file:{lab.folder / 'gone'}", **login)
    lab.messages += [("x@login.test", b""), ("x@nopassword.test", b"")]


# --- what the servers said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", REPLIES)
def test_a_reply_is_told_by_its_meaning(lab: World, domain: str) -> None:
    reply, cause, part = REPLIES[domain]
    verdict = lab.verdict(domain, cause)
    assert part in verdict.why
    assert verdict.state == "STUCK"
    assert verdict.messages == 1
    assert verdict.sessions_agreeing == verdict.sessions_seen >= 1
    assert verdict.certainty.startswith("CERTAIN (seen in ")
    assert verdict.do
    assert verdict.expires is not None
    assert verdict.since is not None
    assert any(reply[:7] in line for line in verdict.proof), verdict.proof


@pytest.mark.parametrize("domain", FINAL)
def test_a_final_refusal_is_told_from_the_tracking_log(lab: World, domain: str) -> None:
    _, cause, part = FINAL[domain]
    verdict = lab.verdict(f"x@{domain}", cause)
    assert part in verdict.why
    assert verdict.state == "FAILED"
    assert any("FAIL" in line for line in verdict.proof)


def test_a_peer_that_refuses_after_data(lab: World) -> None:
    verdict = lab.verdict("afterdata.test", "corrupt-content", transcripts=True)
    assert "broken MIME" in verdict.why
    lines = verdict.transcripts[0].lines
    assert "> DATA" in lines
    assert "< 451 4.6.0 STOREDRV.Deliver; corrupt content, message conversion failed" in lines
    assert lab.verdict("x@afterdata5.test", "corrupt-content").state == "FAILED"


def test_a_delivered_message_says_so(lab: World) -> None:
    found = wait_until(lambda: lab.why("x@fine.test").verdicts)
    assert found[0].state == "DELIVERED"
    assert "250" in found[0].why


def test_asterisks_in_the_banner(lab: World) -> None:
    verdict = lab.verdict("asterisks.test", "firewall-rewrites-smtp", transcripts=True)
    assert verdict.why.startswith(
        "A firewall rewrites SMTP on the way to mx.asterisks.test [127.0.0.1] (asterisks in the banner"
    )
    assert "STARTTLS is not offered" in verdict.why
    assert verdict.owner == "the network"
    assert any(line.startswith("< 220 ****") for line in verdict.transcripts[0].lines)
    assert "overwritten with X" in lab.verdict("overwritten.test", "firewall-rewrites-smtp").why


def test_a_banner_that_refuses(lab: World) -> None:
    assert "192.0.2.8" in lab.verdict("bannered.test", "block-list").why


# --- below SMTP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "cause", "part"),
    [
        ("silent.test", "never-greets", "takes the connection and never greets"),
        ("hangsup.test", "hangs-up", "closes it without a word"),
        ("ssh.test", "not-smtp", "does not speak SMTP"),
        ("dot.test", "in-doubt", "takes the whole message and then drops the connection"),
        ("closed.test", "connection-refused", "Nothing listens on port"),
        ("nosource.test", "unreachable", "192.0.2.77"),
    ],
)
def test_hosts_that_are_no_mail_hosts(lab: World, domain: str, cause: str, part: str) -> None:
    verdict = lab.verdict(domain, cause)
    assert part in verdict.why
    assert verdict.state == "STUCK"
    assert verdict.reason


def test_content_that_is_cut_says_after_how_many_octets(lab: World) -> None:
    verdict = lab.verdict("cut.test", "cut-in-content", transcripts=True)
    assert verdict.why.startswith("Dropped after ")
    assert "bytes of DATA" in verdict.why
    assert "path MTU" in verdict.why
    assert any("octets of content had left" in line for line in verdict.transcripts[0].lines)


def test_several_hosts_each_with_its_own_error(lab: World) -> None:
    verdict = lab.verdict("several.test", "hosts-fail-differently")
    assert "3 hosts were tried" in verdict.why
    for part in ("refuses the connection", "does not answer", "Service not available"):
        assert part in verdict.why


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["half.test", "mangled.test"])
def test_name_servers_that_drop_or_garble_aaaa(lab: World, domain: str) -> None:
    verdict = lab.verdict(domain, "dns-aaaa-ignored", seconds=40)
    assert f"The name servers for mx.{domain} answer for A that there is none but not AAAA" in verdict.why
    assert "the fault is theirs" in verdict.why
    assert verdict.owner == "the far side"


def test_a_domain_whose_name_servers_fail_while_the_resolver_lives(lab: World) -> None:
    verdict = lab.verdict("broken.test", "domain-dns-fails")
    assert "DNS gives no answer for broken.test" in verdict.why
    assert any("answers for other names" in line for line in verdict.proof)


def test_a_resolver_that_is_dead(lab: World) -> None:
    verdict = lab.verdict("deaf.test", "resolver-dead")
    assert "does not answer" in verdict.why
    assert "nothing can leave until one answers" in verdict.why
    assert verdict.owner == "you"


def test_a_smart_host_without_address(lab: World) -> None:
    verdict = lab.verdict("x@lost.test", "smart-host-unresolvable")
    assert "relay.lost.test" in verdict.why
    assert "bridgehead.toml:" in verdict.owner_detail


@pytest.mark.parametrize(
    ("domain", "cause", "part"),
    [
        ("gmial.test", "domain-does-not-exist", "gmial.test does not exist"),
        ("nullmx.test", "null-mx", "takes no mail at all"),
        ("nowhere.test", "mx-leads-nowhere", "leads nowhere"),
    ],
)
def test_domains_that_lead_nowhere_return_the_message(lab: World, domain: str, cause: str, part: str) -> None:
    verdict = lab.verdict(f"x@{domain}", cause)
    assert part in verdict.why
    assert verdict.state == "FAILED"


# --- certificates and logins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "cause", "parts"),
    [
        ("plain.test", "starttls-not-offered", ("We require TLS", "does not offer STARTTLS")),
        ("expired.test", "tls-certificate-expired", ("expired on", "mx.expired.test [127.0.0.1]")),
        ("early.test", "tls-certificate-not-yet-valid", ("valid only from",)),
        ("selfsigned.test", "tls-certificate-self-signed", ("self-signed certificate (mx.selfsigned.test)",)),
        ("leafonly.test", "tls-chain-incomplete", ('without the intermediate "Test Intermediate R11"',)),
        ("untrusted.test", "tls-untrusted-root", ('leads to "Strange Root"',)),
        ("othername.test", "tls-name-mismatch", ("Expected othername.test", "covers mail.elsewhere.test only")),
        ("demands.test", "tls-client-certificate-demanded", ("demands a certificate from us",)),
        ("refusesours.test", "tls-our-certificate-refused", ("refuses our certificate", "does not know who issued it")),
        ("old.test", "tls-no-common-version", ("older than TLS 1.2",)),
        ("refusedtls.test", "starttls-refused", ("offers STARTTLS and then refuses it",)),
        ("login.test", "login-refused", ("refused the name or the password",)),
        ("nopassword.test", "login-impossible", ("cannot be read from",)),
    ],
)
def test_tls_and_logins(lab: World, domain: str, cause: str, parts: tuple[str, ...]) -> None:
    about = f"x@{domain}" if "login" in domain or "password" in domain else domain
    verdict = lab.verdict(about, cause, transcripts=True)
    for part in parts:
        assert part in verdict.why
    assert verdict.state == "STUCK"
    assert "bridgehead.toml:" in verdict.owner_detail or verdict.owner != "you"
    assert verdict.transcripts


def test_nothing_that_is_kept_holds_a_secret(lab: World) -> None:
    """Neither the password nor its base64 is in any answer or in the recorder's file."""
    lab.verdict("x@login.test", "login-refused")
    lines = [line for one in lab.why("x@login.test", transcripts=True).verdicts[0].transcripts for line in one.lines]
    assert any(line.startswith("> AUTH ") for line in lines)
    assert not any("wrong-canary" in line or "d3JvbmctY2FuYXJ5" in line for line in lines)
    assert lab.server is not None
    lab.server.stop()
    (kept,) = (lab.server.data / "logs").rglob("flights.msgpack")
    assert b"canary" not in kept.read_bytes()
    assert b"d3Jvbmct" not in kept.read_bytes()
    (lab.folder / "gone").write_text("right\n")
    lab.server.start()
    verdict = lab.verdict("expired.test", "tls-certificate-expired")
    assert verdict.sessions_seen > 1, "what the process before knew is forgotten"
