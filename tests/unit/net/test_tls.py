# SPDX-License-Identifier: MIT
"""Client contexts: what they check, and that they are made once."""

import ssl

import pytest

from bridgehead.net.tls import ClientContexts, ClientTls, handshake_error
from support.certificates import Authority


def test_contexts_are_kept_by_what_they_check_and_for_whom(tmp_path):
    contexts = ClientContexts()
    anchors = str(Authority(tmp_path).root)
    plain, checked = contexts.get(ClientTls()), contexts.get(ClientTls(verify=True, ca_file=anchors))
    assert checked is contexts.get(ClientTls(verify=True, ca_file=anchors))
    assert plain.verify_mode is ssl.CERT_NONE
    assert checked.verify_mode is ssl.CERT_REQUIRED
    assert plain.minimum_version is ssl.TLSVersion.TLSv1_2
    assert plain is not contexts.get(ClientTls(owner="Partners"))


def test_a_changed_file_counts_from_the_next_connection_on(tmp_path):
    contexts = ClientContexts()
    authority = Authority(tmp_path)
    before = contexts.get(ClientTls(verify=True, ca_file=str(authority.root)))
    Authority(tmp_path, "A newer root")
    assert contexts.get(ClientTls(verify=True, ca_file=str(authority.root))) is not before


def test_a_pair_of_which_one_file_is_still_to_come_stays_in_use(tmp_path):
    contexts = ClientContexts()
    authority = Authority(tmp_path)
    pair = authority.issue("mx.test")
    tls = ClientTls(certificate=str(pair.certificate), key=str(pair.key))
    before = contexts.get(tls)
    old_key = pair.key.read_bytes()
    authority.issue("mx.test", days=9)
    new_key = pair.key.read_bytes()
    pair.key.write_bytes(old_key)
    assert contexts.get(tls) is before
    with pytest.raises(ssl.SSLError):
        ClientContexts().get(tls)  # nobody else has one to show
    pair.key.write_bytes(new_key)
    assert contexts.get(tls) is not before


def test_anchors_that_cannot_be_read(tmp_path):
    contexts = ClientContexts()
    missing = ClientTls(verify=True, ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(OSError):
        contexts.get(missing)
    (tmp_path / "missing.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        contexts.get(missing)
    contexts.get(ClientTls(verify=True, ca_file=str(Authority(tmp_path / "ca").root)))


def test_errors_in_words():
    assert "took too long" in handshake_error(TimeoutError())
    assert "lost" in handshake_error(ConnectionResetError("reset"))
