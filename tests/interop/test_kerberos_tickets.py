# SPDX-License-Identifier: MIT
"""Tickets of a real KDC at the acceptor itself: times, damage, and that the event loop goes on meanwhile."""

import asyncio
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.receive.logons.kerberos import KerberosAcceptor
from bridgehead.receive.logons.settings import KerberosSettings
from bridgehead.receive.settings import ExtendedProtectionPolicy
from bridgehead.smtp.sasl_gssapi import GssAnswer, GssFault
from support.kdc import REALM, Kdc
from support.kerberos_client import SERVICE, Client
from support.ports import wait_until


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc(tmp_path_factory.mktemp("kerberos") / "kdc") as made:
        made.add(f"ann@{REALM}")
        made.service(SERVICE)
        yield made


@pytest.fixture
def acceptor(kdc: Kdc) -> Iterator[KerberosAcceptor]:
    made = KerberosAcceptor()
    made.use(KerberosSettings(service_principals=[SERVICE], realms=[REALM]), kdc.keytab)
    yield made
    made.close()


async def accepted(acceptor: KerberosAcceptor, token: bytes) -> GssAnswer:
    return await acceptor.context({}, ExtendedProtectionPolicy.ALLOW).accept(token)


async def test_an_expired_ticket_is_told(kdc: Kdc, acceptor: KerberosAcceptor, monkeypatch: pytest.MonkeyPatch) -> None:
    token = Client(kdc.log_in("ann", lifetime="1s")).first()
    monkeypatch.setenv("KRB5_CONFIG", str(kdc.write_config("strict.conf", clock_skew=1)))
    expired = time.time() + 3
    wait_until(lambda: time.time() > expired, 10, "the ticket expires, and the second that clocks may differ is over")
    with pytest.raises(GssFault, match=re.escape("Ticket expired: let the client renew its ticket (kinit)")):
        await accepted(acceptor, token)


@pytest.mark.parametrize("spnego", [False, True])
async def test_a_damaged_token_is_refused_without_another_exception(
    kdc: Kdc, acceptor: KerberosAcceptor, spnego: bool
) -> None:
    good = Client(kdc.log_in("ann"), spnego=spnego).first()
    chance = random.Random(4752)
    for _ in range(1500):
        token = bytearray(good)
        for _ in range(chance.choice((1, 1, 1, 3, 20))):
            kind, at = chance.randrange(4), chance.randrange(len(token))
            if kind == 0:
                token[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                token[at] = chance.choice((0, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del token[at : at + chance.randrange(1, 9)]
            else:
                token[at:at] = chance.randbytes(chance.randrange(1, 9))
        try:
            answer = await accepted(acceptor, bytes(token))
        except GssFault:
            continue
        # What is not part of the proof may differ: options, or the list of mechanisms around it.
        assert answer.principal in ("", f"ann@{REALM}")


async def test_a_keytab_that_hangs_does_not_hold_up_the_event_loop(kdc: Kdc, tmp_path: Path) -> None:
    acceptor, pipe = KerberosAcceptor(), tmp_path / "keytab"
    os.mkfifo(pipe, 0o600)
    acceptor.use(KerberosSettings(service_principals=[SERVICE]), pipe)
    token, others = Client(kdc.log_in("ann")).first(), set(threading.enumerate())
    waiting = [asyncio.ensure_future(accepted(acceptor, token)) for _ in range(5)]
    while (writer := opened(pipe)) is None:  # until the library reads
        await asyncio.sleep(0.001)
    assert not any(one.done() for one in waiting)
    assert len(set(threading.enumerate()) - others) == 2
    os.close(writer)
    while not all(one.done() for one in waiting):
        if (writer := opened(pipe)) is not None:
            os.close(writer)
        await asyncio.sleep(0.001)
    assert {type(one.exception()) for one in waiting} == {GssFault}
    acceptor.close()


def opened(pipe: Path) -> int | None:
    """The pipe opened for writing, None while nobody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
