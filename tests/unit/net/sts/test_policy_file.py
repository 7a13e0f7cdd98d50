# SPDX-License-Identifier: MIT
"""What is kept of recipient domains over a restart, and what a damaged file does."""

import pytest

from bridgehead.delivery.smtp_send import tls_memory
from bridgehead.delivery.smtp_send.tls_memory import TlsMemory
from bridgehead.mail.limits import DOWNGRADE_ALARMS
from bridgehead.net.sts.policy_file import PolicyFile
from bridgehead.routing.domain_tls import TlsLevel
from support.policy_world import Alarms


class Kept:
    """A file and what it said."""

    def __init__(self, path):
        self.faults = []
        self.file = PolicyFile(path, self.faults.append)


async def test_what_was_put_is_there_after_a_restart_and_what_was_forgotten_is_not(tmp_path):
    one = Kept(tmp_path / "p.db")
    one.file.put("kind", "a", b"1")
    one.file.put("kind", "b", b"2")
    one.file.put("other", "a", b"3")
    await one.file.close()
    again = Kept(tmp_path / "p.db")
    assert again.file.load("kind") == {"a": b"1", "b": b"2"}
    again.file.put("kind", "a", None)
    await again.file.close()
    assert Kept(tmp_path / "p.db").file.load("kind") == {"b": b"2"}


async def test_a_damaged_file_is_told_set_aside_and_begun_anew(tmp_path):
    path = tmp_path / "p.db"
    path.write_bytes(b"no database at all " * 200)
    one = Kept(path)
    assert one.file.load("kind") == {}
    assert not one.file.is_whole
    assert "cannot be read" in one.faults[0]
    assert (tmp_path / "p.db.damaged").exists()
    one.file.put("kind", "a", b"1")
    await one.file.close()
    again = Kept(path)
    assert again.file.load("kind") == {"a": b"1"}
    assert again.file.is_whole


@pytest.fixture
def memory(tmp_path):
    made = TlsMemory(PolicyFile(tmp_path / "p.db", lambda _: None), Alarms(), lambda: 0.0)
    yield made
    if made._file._timer is not None:
        made._file._timer.cancel()


async def test_a_host_that_is_known_is_compared_with_itself(memory):
    memory.opened("contoso.test", "mx1.contoso.test", TlsLevel.POLICY, alarm=True)
    assert memory.judge("contoso.test", "mx2.contoso.test", TlsLevel.NONE)
    assert memory.judge("contoso.test", "mx1.contoso.test", TlsLevel.ENCRYPTED)
    assert not memory.judge("fabrikam.test", "mx1.contoso.test", TlsLevel.NONE)
    memory.forget("contoso.test")
    memory.opened("contoso.test", "mx2.contoso.test", TlsLevel.NONE, alarm=True)
    memory.opened("contoso.test", "mx1.contoso.test", TlsLevel.POLICY, alarm=True)
    assert not memory.judge("contoso.test", "mx2.contoso.test", TlsLevel.NONE)
    assert memory.judge("contoso.test", "mx3.contoso.test", TlsLevel.VERIFIED)


async def test_domains_and_alarms_are_bounded(memory, monkeypatch):
    monkeypatch.setattr(tls_memory, "POLICY_DOMAINS", 200)
    for number in range(300):
        memory.opened(f"d{number}.test", "mx.test", TlsLevel.ENCRYPTED, alarm=True)
    assert len(memory._seen) == 200
    for number in range(100, 300):
        memory.opened(f"d{number}.test", "mx.test", TlsLevel.NONE, alarm=True)
    assert len(memory._alarms.raised) == DOWNGRADE_ALARMS


async def test_a_domain_with_very_many_hosts_is_bounded(memory):
    for number in range(100):
        memory.opened("contoso.test", f"mx{number}.test", TlsLevel.ENCRYPTED, alarm=True)
    assert len(memory.seen("contoso.test").hosts) == 20
