# SPDX-License-Identifier: MIT
"""Whether certificates that nobody demanded would have passed."""

import ssl
from pathlib import Path

import pytest

from bridgehead.mail.limits import JUDGED_CERTIFICATES
from bridgehead.net.certificates import server_trust
from bridgehead.net.certificates.server_trust import ServerTrust, would_pass
from support.certificates import Authority, Pair, intermediate


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())


def chain(pair: Pair, *above: Authority) -> tuple[bytes, ...]:
    return (der(pair.certificate), *(der(one.root) for one in above))


def test_what_would_pass(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = str(authority.root)
    below = intermediate(authority)
    good = chain(below.issue("mx.test"), below)
    assert would_pass(good, "mx.test", trusted)
    assert would_pass(good, "MX.test.", trusted)
    assert would_pass((good[0], good[1], good[1]), "mx.test", trusted)
    assert not would_pass(good, "other.test", trusted)
    assert not would_pass(good[:1], "mx.test", trusted), "an intermediate certificate is missing"
    assert not would_pass(good, "mx.test"), "the system knows nothing of this authority"
    assert not would_pass(good, "mx.test", str(tmp_path / "missing"))
    assert not would_pass((b"rubbish",), "mx.test", trusted)
    assert not would_pass(good, "no name", trusted)
    expired = chain(authority.issue("old.test", days=-1, since_days=9))
    assert not would_pass(expired, "old.test", trusted)
    assert would_pass(chain(authority.issue("192.0.2.1")), "[192.0.2.1]", trusted)
    monkeypatch.setenv("SSL_CERT_FILE", trusted)
    assert would_pass(good, "mx.test")


async def test_each_is_looked_at_once_a_day(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    now = [0.0]

    def counting(whole: tuple[bytes, ...], name: str, ca_file: str) -> bool:
        looked.append(name)
        return would_pass(whole, name, ca_file)

    monkeypatch.setattr(server_trust, "would_pass", counting)
    trust, trusted = ServerTrust(lambda: now[0]), str(authority.root)
    below = intermediate(authority)
    good = chain(below.issue("mx.test"), below)
    assert await trust.vouches(good[:1], "mx.test", ca_file=trusted, resumed=True) is None
    assert await trust.vouches((), "mx.test", ca_file=trusted) is None
    assert looked == []
    assert await trust.vouches(good, "mx.test", ca_file=trusted) is True
    assert await trust.vouches(good[:1], "mx.test", ca_file=trusted, resumed=True) is True
    assert looked == ["mx.test"]
    assert await trust.vouches(good, "b.test", ca_file=trusted) is False
    assert await trust.vouches(good, "mx.test") is False
    now[0] = 90_000.0
    assert await trust.vouches(good[:1], "mx.test", ca_file=trusted, resumed=True) is True
    assert looked == ["mx.test", "b.test", "mx.test", "mx.test"]


async def test_it_is_bounded(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_trust, "would_pass", lambda *_: True)
    trust = ServerTrust(lambda: 0.0)
    for number in range(JUDGED_CERTIFICATES + 5):
        await trust.vouches((b"%d" % number,), "mx.test")
    assert len(trust._judged) == JUDGED_CERTIFICATES
