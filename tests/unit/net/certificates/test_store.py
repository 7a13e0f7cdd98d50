# SPDX-License-Identifier: MIT
"""Which certificate is shown, seen by a client after a real handshake in memory."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from bridgehead.net.certificates.pairs import (
    CertificateError,
    CertificatePair,
    ContextOptions,
    ensure_self_signed,
    read_summary,
)
from bridgehead.net.certificates.store import CertificateStore, ServerTls
from bridgehead.net.tls import certificate_names
from bridgehead.routing.settings import TlsVersion
from support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def pair(one: Pair) -> CertificatePair:
    return CertificatePair(one.certificate, one.key)


def client_context(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.root))
    context.check_hostname = False
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection that lives in memory, after an octet each way so that tickets have come."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(down, up, server_hostname=name, session=session)
    server_end = server.wrap_bio(up, down, server_side=True)
    waiting = [client_end, server_end]
    for _ in range(20):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            break
    assert not waiting
    server_end.write(b"x")
    client_end.read(1)
    client_end.write(b"y")
    server_end.read(1)
    return client_end, server_end


def shown(store: CertificateStore, tls: ServerTls, authority: Authority, name: str | None = None) -> str:
    """The first name of the certificate that a client gets."""
    client, _ = handshake(store.context_for(tls), client_context(authority), name)
    return certificate_names(client)[0]


def make_store(tmp_path: Path, default: Pair, *pairs: Pair) -> tuple[CertificateStore, list[str]]:
    alarms: list[str] = []
    return CertificateStore(tmp_path, pair(default), alarms.append, [pair(one) for one in pairs]), alarms


def test_the_certificate_follows_the_connectors_name_and_the_name_that_is_asked_for(
    tmp_path: Path, authority: Authority
) -> None:
    store, _ = make_store(
        tmp_path,
        authority.issue("server.test"),
        authority.issue("mail.contoso.test"),
        authority.issue("*.fabrikam.test"),
    )
    mail = ServerTls(owner="In", fqdn="mail.contoso.test")
    assert shown(store, mail, authority) == "mail.contoso.test"
    assert shown(store, mail, authority, "mx.fabrikam.test") == "*.fabrikam.test"
    assert shown(store, mail, authority, "unknown.test") == "mail.contoso.test"
    assert shown(store, ServerTls(owner="In", fqdn="other.test"), authority) == "server.test"


def test_a_pinned_certificate_is_shown_whatever_is_asked_for(tmp_path: Path, authority: Authority) -> None:
    store, _ = make_store(
        tmp_path, authority.issue("server.test"), authority.issue("a.test"), authority.issue("b.test")
    )
    pinned = ServerTls(owner="In", pin="a.test", fqdn="b.test")
    assert shown(store, pinned, authority, "b.test") == "a.test"


def test_a_pin_by_name_survives_a_renewal_by_another_issuer(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path / "other", "Other Root")
    old, new = authority.issue("mail.test", days=1), other.issue("mail.test", days=90)
    store, _ = make_store(tmp_path, authority.issue("server.test"), old, new)
    assert store.choose(ServerTls(owner="In", pin="mail.test")) == pair(new)


def test_exchanges_form_of_a_pin_names_the_successor_that_it_no_longer_fits(
    tmp_path: Path, authority: Authority
) -> None:
    store, _ = make_store(tmp_path, authority.issue("server.test"), authority.issue("mail.test"))
    fits = ServerTls(owner="In", pin="<I>CN=Test Root<S>CN=mail.test")
    assert shown(store, fits, authority) == "mail.test"
    with pytest.raises(CertificateError, match="its successor is issued by CN=Test Root"):
        store.choose(ServerTls(owner="In", pin="<I>CN=R3<S>CN=mail.test"))


def test_an_expired_certificate_gives_way_to_one_in_force(tmp_path: Path, authority: Authority) -> None:
    good = authority.issue("mail.test", days=1)
    good = Pair(good.certificate.rename(tmp_path / "good.pem"), good.key.rename(tmp_path / "good.key"))
    store, _ = make_store(
        tmp_path, authority.issue("s.test"), authority.issue("mail.test", days=-1, since_days=9), good
    )
    assert store.choose(ServerTls(owner="In", fqdn="mail.test")) == pair(good)


def test_an_issued_certificate_is_preferred_to_the_self_signed_one_that_lasts_longer(
    tmp_path: Path, authority: Authority
) -> None:
    issued = authority.issue("mx.test")
    store = CertificateStore(tmp_path, ensure_self_signed(tmp_path, "mx.test"), print, [pair(issued)])
    assert store.choose(ServerTls(owner="In", fqdn="mx.test")) == pair(issued)


def test_a_session_taken_up_again_never_crosses_connectors(tmp_path: Path, authority: Authority) -> None:
    """Tickets of one connector are worth nothing at another, with the same certificate and the same settings."""
    store, _ = make_store(tmp_path, authority.issue("server.test"))
    first, second = (store.context_for(ServerTls(owner=name)) for name in ("Internet", "Partners"))
    client = client_context(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    session = handshake(first, client, "server.test")[0].session
    assert handshake(first, client, "server.test", session)[0].session_reused
    assert not handshake(second, client, "server.test", session)[0].session_reused


def test_old_versions_are_spoken_where_they_are_allowed_and_nowhere_else(tmp_path: Path, authority: Authority) -> None:
    store, _ = make_store(tmp_path, authority.issue("server.test"))
    device = client_context(authority)
    device.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        device.minimum_version = device.maximum_version = ssl.TLSVersion.TLSv1
    old = ServerTls(owner="Devices", options=ContextOptions(minimum_version=TlsVersion.TLS_1_0))
    assert handshake(store.context_for(old), device)[0].version() == "TLSv1"
    with pytest.raises(ssl.SSLError):
        handshake(store.context_for(ServerTls(owner="Internet")), device)


def test_a_clients_certificate_gives_its_names_and_a_strangers_ends_the_handshake(
    tmp_path: Path, authority: Authority
) -> None:
    partner = authority.issue("woodgrove.test")
    stranger = Authority(tmp_path / "stranger").issue("woodgrove.test")
    store, _ = make_store(tmp_path, authority.issue("server.test"))
    tls = ServerTls(owner="In", options=ContextOptions(ask_client=True, ca_file=str(authority.root)))
    _, server_end = handshake(store.context_for(tls), client_context(authority, partner))
    assert certificate_names(server_end) == ("woodgrove.test",)
    _, server_end = handshake(store.context_for(tls), client_context(authority))
    assert certificate_names(server_end) == ()
    with pytest.raises(ssl.SSLError):
        handshake(store.context_for(tls), client_context(authority, stranger))


def revoke(authority: Authority, one: Pair, file: Path) -> None:
    now = datetime.now(UTC)
    serial = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(hours=1)).build()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority._name)
        .last_update(now - timedelta(hours=1))
        .next_update(now + timedelta(days=1))
        .add_revoked_certificate(revoked)
    )
    file.write_bytes(builder.sign(authority._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def test_a_revoked_client_certificate_ends_the_handshake(tmp_path: Path, authority: Authority) -> None:
    partner, revoked = authority.issue("woodgrove.test"), authority.issue("lost.test")
    crl = tmp_path / "crl.pem"
    revoke(authority, revoked, crl)
    store, _ = make_store(tmp_path, authority.issue("server.test"))
    options = ContextOptions(ask_client=True, ca_file=str(authority.root), crl_file=str(crl))
    tls = ServerTls(owner="In", options=options)
    _, server_end = handshake(store.context_for(tls), client_context(authority, partner))
    assert certificate_names(server_end) == ("woodgrove.test",)
    with pytest.raises(ssl.SSLError):
        handshake(store.context_for(tls), client_context(authority, revoked))


def test_a_renewed_file_is_shown_after_a_look_and_a_broken_one_leaves_the_old(
    tmp_path: Path, authority: Authority
) -> None:
    mail = authority.issue("mail.test")
    store, alarms = make_store(tmp_path, authority.issue("server.test"), mail)
    tls = ServerTls(owner="In", fqdn="mail.test")
    client, _ = handshake(store.context_for(tls), client_context(authority))
    before = client.getpeercert(True)
    mail.certificate.write_bytes(b"half a file")
    assert store.refresh() == []
    assert len(alarms) == 1
    assert handshake(store.context_for(tls), client_context(authority))[0].getpeercert(True) == before
    authority.issue("mail.test", days=30)
    assert store.refresh() == [mail.certificate]
    assert handshake(store.context_for(tls), client_context(authority))[0].getpeercert(True) != before


def test_what_a_certificate_says_of_itself(authority: Authority) -> None:
    summary = read_summary(authority.issue("mail.test", "*.mail.test").certificate)
    assert summary.names == ("mail.test", "*.mail.test")
    assert (summary.subject, summary.issuer, summary.chain_length) == ("CN=mail.test", "CN=Test Root", 1)
    assert not summary.self_signed
