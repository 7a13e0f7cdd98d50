# SPDX-License-Identifier: MIT
"""Server certificates over real handshakes: self-signed at first start, reloaded on change, old TLS refused."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from bridgehead.net.certificates.pairs import CertificateError, CertificatePair, ensure_self_signed
from bridgehead.net.certificates.store import CertificateStore, ServerTls


def handshake(server: ssl.SSLContext, client: ssl.SSLContext | None = None) -> tuple[str, x509.Certificate]:
    """TLS version and the certificate a client sees, over memory."""
    if client is None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(6):
        for end in (ours, theirs):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    assert done == {ours, theirs}
    seen = ours.getpeercert(binary_form=True)
    assert seen is not None
    return str(ours.version()), x509.load_der_x509_certificate(seen)


ANY = ServerTls(owner="Default")
OWN = ServerTls(owner="Default", certificate_file="own/self-signed.crt", key_file="own/self-signed.key")
NONE = ServerTls(owner="Default", certificate_file="none.crt", key_file="own/self-signed.key")


def store(directory: Path, pair: CertificatePair) -> tuple[CertificateStore, list[str]]:
    alarms: list[str] = []
    return CertificateStore(directory, pair, alarms.append), alarms


def test_the_self_signed_pair_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "mail.contoso.test")
    assert pair.key.stat().st_mode & 0o777 == 0o600
    first = pair.certificate.read_bytes()
    assert ensure_self_signed(tmp_path, "other.test") == pair
    assert pair.certificate.read_bytes() == first
    certificate = x509.load_pem_x509_certificate(first)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.contoso.test", "localhost"]


@pytest.mark.parametrize("fqdn", ["", "localhost", "[127.0.0.1]", "[IPv6:::1]", "a" * 60 + ".contoso.test"])
def test_any_server_name_gives_a_usable_pair(tmp_path: Path, fqdn: str) -> None:
    held, _ = store(tmp_path, ensure_self_signed(tmp_path, fqdn))
    assert handshake(held.context_for(ANY))[0] == "TLSv1.3"


def test_a_client_that_trusts_the_certificate_finds_the_name(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "localhost")
    held, _ = store(tmp_path, pair)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(pair.certificate)
    client.check_hostname = False
    assert handshake(held.context_for(ANY), client)[0] == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_before_1_2_is_refused(tmp_path: Path) -> None:
    held, _ = store(tmp_path, ensure_self_signed(tmp_path, ""))
    assert held.context_for(ANY).minimum_version is ssl.TLSVersion.TLSv1_2
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(held.context_for(ANY), client)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(held.context_for(ANY), client)[0] == "TLSv1.2"


def test_a_changed_file_is_served_after_refresh(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "old.test")
    held, alarms = store(tmp_path, pair)
    _, before = handshake(held.context_for(ANY))
    assert held.refresh() == []
    (tmp_path / "new").mkdir()
    new = ensure_self_signed(tmp_path / "new", "new.test")
    os.replace(new.certificate, pair.certificate)
    os.replace(new.key, pair.key)
    assert handshake(held.context_for(ANY))[1] == before
    assert held.refresh() == [pair.certificate]
    assert "new.test" in handshake(held.context_for(ANY))[1].subject.rfc4514_string()
    assert alarms == []


def test_a_bad_new_pair_keeps_the_old_and_alarms_once(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "old.test")
    held, alarms = store(tmp_path, pair)
    _, before = handshake(held.context_for(ANY))
    (tmp_path / "new").mkdir()
    new = ensure_self_signed(tmp_path / "new", "new.test")
    os.replace(new.certificate, pair.certificate)  # the key is still the old one
    assert held.refresh() == []
    assert held.refresh() == []
    assert handshake(held.context_for(ANY))[1] == before
    assert len(alarms) == 1
    assert "key values mismatch" in alarms[0]
    os.replace(new.key, pair.key)
    assert held.refresh() == [pair.certificate]
    assert len(alarms) == 1


def test_a_vanished_file_keeps_the_old(tmp_path: Path) -> None:
    pair = ensure_self_signed(tmp_path, "old.test")
    held, alarms = store(tmp_path, pair)
    context = held.context_for(ANY)
    pair.key.unlink()
    assert held.refresh() == []
    assert held.context_for(ANY) is context
    assert alarms == [f"{pair.key} cannot be read: No such file or directory; the certificate read before stays in use"]


def test_connectors_with_their_own_pair_get_their_own_context(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    ensure_self_signed(tmp_path / "own", "own.test")
    held, _ = store(tmp_path, ensure_self_signed(tmp_path, "server.test"))
    own = held.context_for(OWN)
    assert "own.test" in handshake(own)[1].subject.rfc4514_string()
    assert held.context_for(OWN) is own
    assert "server.test" in handshake(held.context_for(ANY))[1].subject.rfc4514_string()
    with pytest.raises(CertificateError, match=r"none\.crt cannot be read"):
        held.context_for(NONE)
