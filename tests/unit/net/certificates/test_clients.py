# SPDX-License-Identifier: MIT
"""What send connectors show when certificate files change for the better and for the worse."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridgehead.net.certificates.clients import ClientCertificates
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import CertificateStore, ServerTls
from support.certificates import Authority, Pair

PIN = ServerTls(owner="Out", pin="relay.test")
SERVER_ONLY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


class Site:
    """A store with one pair, and what a send connector shows."""

    def __init__(self, tmp_path: Path) -> None:
        self.authority = Authority(tmp_path / "ca")
        self.pair = self.authority.issue("relay.test", days=30)
        self.on_disk = CertificatePair(self.pair.certificate, self.pair.key)
        self.told: list[str] = []
        self.certificates = ClientCertificates(lambda _, reason: self.told.append(reason))
        self.store = CertificateStore(tmp_path, self.on_disk, lambda _: None, [self.on_disk])

    def replace(self, new: Pair, *, key: bool = True) -> bytes:
        """New files in place of the old; the certificate."""
        data = new.certificate.read_bytes()
        if key:
            self.pair.key.write_bytes(new.key.read_bytes())
        self.pair.certificate.write_bytes(data)
        self.store.look_again()
        return data

    def shown(self, tls: ServerTls = PIN) -> bytes:
        pair = self.certificates.shown(tls, self.store.choose)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(pair.certificate, pair.key)
        return pair.certificate.read_bytes()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def other(site: Site, name: str = "relay.test", **more: object) -> Pair:
    """Another certificate of the same authority, in files of its own."""
    folder = site.authority.directory
    elsewhere = Authority(folder / f"elsewhere-{len(list(folder.iterdir()))}")
    elsewhere._key, elsewhere._name = site.authority._key, site.authority._name
    return elsewhere.issue(name, **more)  # type: ignore[arg-type]


def test_a_renewed_one_is_shown_and_a_worse_one_is_not(site: Site) -> None:
    first = site.shown()
    renewed = site.replace(other(site, days=60))
    assert site.shown() == renewed != first
    assert site.told == []
    for worse, why in (
        (other(site, days=-1, since_days=9), "expired on"),
        (other(site, more=[SERVER_ONLY]), "no Client Authentication usage"),
        (other(site, "somebody.test"), "no certificate fits"),
    ):
        site.replace(worse)
        assert site.shown() == renewed
        assert site.shown() == renewed
        assert len(site.told) == 1
        assert why in site.told.pop()
        assert site.shown() == renewed
    good = site.replace(other(site, days=90))
    assert site.shown() == good
    assert site.told == [""]


def test_a_key_that_is_still_to_come(site: Site) -> None:
    first = site.shown()
    renewed = other(site, days=60)
    site.replace(renewed, key=False)
    assert site.shown() == first
    assert "the key does not belong to the certificate" in site.told[0]
    site.pair.key.write_bytes(renewed.key.read_bytes())
    assert site.shown() == renewed.certificate.read_bytes()
    assert site.told[1:] == [""]


def test_files_that_are_gone_or_back(site: Site) -> None:
    first = site.shown()
    own = ServerTls(owner="Own", certificate_file=str(site.pair.certificate), key_file=str(site.pair.key))
    assert site.shown(own) == first
    site.pair.key.unlink()
    assert site.shown(own) == first
    assert "cannot be read" in site.told[0]
    with pytest.raises(CertificateError):
        site.shown(ServerTls(owner="New", certificate_file=str(site.pair.certificate), key_file=str(site.pair.key)))


def test_an_administrator_may_want_the_worse_one(site: Site) -> None:
    site.shown()
    worse = site.replace(other(site, more=[SERVER_ONLY]))
    assert site.shown() != worse
    site.certificates.take([site.on_disk])
    assert site.told[-1] == ""
    assert site.shown() == worse
