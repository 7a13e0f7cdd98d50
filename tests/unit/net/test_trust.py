# SPDX-License-Identifier: MIT
"""Whom the contexts for HTTPS and alarms believe."""

import ssl
from pathlib import Path

import pytest

from bridgehead.net.trust import verifying_context
from support.certificates import Authority, Pair


def handshake(pair: Pair, context: ssl.SSLContext, name: str) -> None:
    """All of a handshake in memory. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = pair.server_context().wrap_bio(up, down, server_side=True)
    client = context.wrap_bio(down, up, server_hostname=name)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_certificate_without_key_identifiers_is_believed_with_every_python(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    handshake(authority.issue("hook.test", bare=True), verifying_context(str(authority.root)), "hook.test")


def test_a_server_s_own_certificate_can_be_the_trust_anchor(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("hook.test")
    handshake(pair, verifying_context(str(pair.certificate)), "hook.test")


def test_another_name_another_authority_and_an_old_certificate_are_not_believed(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    for pair, name in (
        (authority.issue("hook.test"), "other.test"),
        (other.issue("hook.test"), "hook.test"),
        (authority.issue("hook.test", days=-0.01), "hook.test"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(pair, verifying_context(str(authority.root)), name)
