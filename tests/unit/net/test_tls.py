# SPDX-License-Identifier: MIT
"""Client contexts: what they check, and that they are made once."""

import ssl

import pytest

from bridgehead.net.tls import ClientContexts, handshake_error
from support.certificates import Authority


def test_contexts_are_kept_by_what_they_check(tmp_path):
    contexts = ClientContexts()
    anchors = str(Authority(tmp_path).root)
    plain, checked = contexts.get(verify=False), contexts.get(verify=True, ca_file=anchors)
    assert plain is contexts.get(verify=False, ca_file=anchors), "without checking, anchors do not matter"
    assert checked is contexts.get(verify=True, ca_file=anchors)
    assert plain.verify_mode is ssl.CERT_NONE
    assert checked.verify_mode is ssl.CERT_REQUIRED
    assert plain.minimum_version is ssl.TLSVersion.TLSv1_2
    contexts.forget()
    assert checked is not contexts.get(verify=True, ca_file=anchors)


def test_anchors_that_cannot_be_read(tmp_path):
    contexts = ClientContexts()
    with pytest.raises(OSError):
        contexts.get(verify=True, ca_file=str(tmp_path / "missing.pem"))
    (tmp_path / "missing.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        contexts.get(verify=True, ca_file=str(tmp_path / "missing.pem"))
    contexts.get(verify=True, ca_file=str(Authority(tmp_path / "ca").root))


def test_errors_in_words():
    assert "took too long" in handshake_error(TimeoutError())
    assert "lost" in handshake_error(ConnectionResetError("reset"))
