# SPDX-License-Identifier: MIT
"""What speaks against a new certificate, and the store that keeps the old one; seen by clients in memory."""

import ssl
import time
from pathlib import Path

import pytest

from bridgehead.net.certificates.chain import check_key, read_chain, read_chain_file
from bridgehead.net.certificates.change import change_problems
from bridgehead.net.certificates.folder import CertificateFolder, folder_name
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import CertificateStore, ServerTls
from support.certificates import Authority, Pair, intermediate

NAME = "mx.test"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    root = Authority(tmp_path / "ca", days=400)
    monkeypatch.setenv("SSL_CERT_FILE", str(root.root))
    return root


def chained(below: Authority, *names: str) -> Pair:
    pair = below.issue(*names)
    with pair.certificate.open("ab") as file:
        file.write(below.root.read_bytes())
    return pair


def problems(old: bytes, new: bytes, **how: object) -> str:
    return "; ".join(change_problems(read_chain(old), read_chain(new), now=time.time(), **how))  # type: ignore[arg-type]


def test_a_chain_is_followed_to_an_anchor_or_to_what_is_missing(authority: Authority, tmp_path: Path) -> None:
    below = intermediate(authority)
    whole = read_chain_file(chained(below, NAME).certificate)
    assert (whole.leaf.chain_length, whole.complete, whole.trusted, whole.missing) == (2, True, True, "")
    leaf_only = read_chain_file(below.issue(NAME).certificate)
    assert (leaf_only.complete, leaf_only.missing) == (False, "CN=Test Intermediate")
    other = Authority(tmp_path / "other", "Other Root")
    private = other.issue(NAME)
    rooted = read_chain(private.certificate.read_bytes() + other.root.read_bytes())
    assert (rooted.complete, rooted.trusted) == (True, False)
    shuffled = read_chain(private.certificate.read_bytes() + authority.root.read_bytes())
    assert "did not issue it" in shuffled.broken
    assert not shuffled.complete


def test_keys_are_checked_without_being_shown(authority: Authority) -> None:
    one, other = authority.issue("a.test"), authority.issue("b.test")
    der = ssl.PEM_cert_to_DER_cert(one.certificate.read_text())
    assert check_key(one.key.read_bytes(), der) == ""
    assert "does not belong" in check_key(other.key.read_bytes(), der)
    assert "no private key" in check_key(b"rubbish", der)


def test_each_loss_is_named_and_what_was_lost_before_is_none(authority: Authority, tmp_path: Path) -> None:
    below = intermediate(authority)
    good = chained(below, NAME).certificate.read_bytes()
    leaf_only = below.issue(NAME).certificate.read_bytes()
    assert problems(good, chained(below, NAME, "more.test").certificate.read_bytes(), fqdn=NAME) == ""
    assert "does not carry mx.test" in problems(good, chained(below, "x.test").certificate.read_bytes(), fqdn=NAME)
    assert "CN=Test Intermediate is missing from the file" in problems(good, leaf_only)
    assert problems(leaf_only, leaf_only) == ""
    assert "expired on" in problems(good, authority.issue(NAME, days=-1, since_days=9).certificate.read_bytes())
    assert "valid only from" in problems(good, authority.issue(NAME, days=9, since_days=-1).certificate.read_bytes())
    stranger = Authority(tmp_path / "other", "Other Root")
    rooted = stranger.issue(NAME).certificate.read_bytes() + stranger.root.read_bytes()
    assert "leads to no trust anchor" in problems(good, rooted)
    assert "is issued by CN=Test Root; pin it by a name" in problems(
        good, authority.issue(NAME).certificate.read_bytes(), pin=f"<I>CN=Test Intermediate<S>CN={NAME}"
    )


# --- the store --------------------------------------------------------------------------------------------------------


def names_shown(context: ssl.SSLContext, asked: str | None = None) -> bytes:
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=asked)
    server = context.wrap_bio(up, down, server_side=True)
    for _ in range(6):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_a_refused_file_is_hidden_from_everybody_until_it_is_well_or_forced(
    authority: Authority, tmp_path: Path
) -> None:
    """Also from connectors that come later, and from those that ask by name."""
    served = authority.issue(NAME, days=9)
    default = authority.issue("default.test", days=9)
    pair = CertificatePair(served.certificate, served.key)
    told: list[str] = []
    store = CertificateStore(
        tmp_path, CertificatePair(default.certificate, default.key), lambda _: None, [pair],
        lambda _, reason: told.append(reason),
    )  # fmt: skip
    first = names_shown(store.context_for(ServerTls(owner="one", fqdn=NAME)))
    bad = authority.issue("elsewhere.test", days=9)
    served.key.write_bytes(bad.key.read_bytes())
    served.certificate.write_bytes(bad.certificate.read_bytes())
    assert store.refresh() == []
    assert "does not carry mx.test" in told[-1]
    assert store.refresh() == []
    assert len(told) == 1
    store.look_again()
    later = ServerTls(owner="later", fqdn=NAME)
    assert names_shown(store.context_for(later)) == first
    assert names_shown(store.context_for(ServerTls(owner="third", fqdn="default.test")), NAME) == first
    assert store.refresh({pair}) == [pair.certificate]
    assert told[-1] == ""
    assert names_shown(store.context_for(later)) != first


def test_a_key_that_is_still_to_come_keeps_the_old_pair(authority: Authority, tmp_path: Path) -> None:
    served = authority.issue(NAME, days=9)
    pair = CertificatePair(served.certificate, served.key)
    store = CertificateStore(tmp_path, pair, lambda _: None)
    tls = ServerTls(owner="one", fqdn=NAME)
    first = names_shown(store.context_for(tls))
    old_key = served.key.read_bytes()
    authority.issue(NAME, days=20)
    new_key = served.key.read_bytes()
    served.key.write_bytes(old_key)
    assert store.refresh() == []
    assert names_shown(store.context_for(tls)) == first
    served.key.write_bytes(new_key)
    assert store.refresh() == [served.certificate]
    assert names_shown(store.context_for(tls)) != first


# --- the folder -------------------------------------------------------------------------------------------------------


def test_versions_change_in_one_step_and_few_are_kept(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    for number in range(8):
        pair = folder.install(NAME, b"chain %d" % number, b"key %d" % number, 1_800_000_000.0)
        assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == (b"chain %d" % number, b"key %d" % number)
    home = tmp_path / "certificates" / NAME
    assert len([one for one in home.iterdir() if one.is_dir() and not one.is_symlink()]) == 5
    assert pair.key.stat().st_mode & 0o777 == 0o600
    previous = folder.previous(NAME)
    assert previous is not None
    assert previous.key.read_bytes() == b"key 6"
    assert folder.name_of(pair) == NAME
    assert folder.names() == [NAME]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "x" * 200, "a\nb", "current "])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(CertificateError):
        CertificateFolder(tmp_path).install(name, b"", b"", 0.0)
    assert folder_name("*.Contoso.test.") == "_wildcard.contoso.test"
