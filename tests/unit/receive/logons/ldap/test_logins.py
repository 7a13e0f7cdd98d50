# SPDX-License-Identifier: MIT
"""Logins from a real OpenLDAP: good and bad passwords, injection, groups, TLS, servers that are dead or silent."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridgehead.ldap import ber
from bridgehead.mail.secret import Secret
from bridgehead.mail.units import Duration
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.net.ldap_connection import LdapFault
from bridgehead.receive.logons.ldap.logins import LdapLogins
from bridgehead.receive.logons.ldap.servers import LoginsUnavailable
from bridgehead.receive.logons.ldap.settings import LdapMode, LdapSettings
from support.certificates import Authority
from support.openldap import BASE, GROUP, LOOKUP, PASSWORD, OpenLdap
from support.ports import free_port

PEOPLE = {
    "ann": ("pencil", ["mail: ann@contoso.test", "mail: anna@contoso.test"]),
    "bob": ("crayon", ["mail: bob@contoso.test", "mail: no address at all"]),
    "eve": ("eraser", [
        "mail: eve@contoso.test", "proxyAddresses: smtp:info@contoso.test", "proxyAddresses: SMTP:Eve.Main@contoso.test",
        "proxyAddresses: X500:/o=Contoso/cn=eve", "proxyAddresses: sip:eve@contoso.test",
    ]),
    "twin1": ("same", ["mail: twin@contoso.test"]),
    "twin2": ("same", ["mail: twin@contoso.test"]),
}  # fmt: skip
BIND: dict[str, Any] = {"mode": LdapMode.BIND, "bind_template": f"uid={{name}},{BASE}"}
MODES = pytest.mark.parametrize("more", [{}, BIND], ids=["lookup", "bind"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ldap(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[OpenLdap]:
    server = OpenLdap(tmp_path_factory.mktemp("ldap"), authority, PEOPLE, members=("ann", "eve"))
    yield server
    server.stop()


Maker = Callable[..., LdapLogins]


def _silence(url: str, fault: str) -> None:
    """Nobody listens."""


@pytest.fixture
async def make(ldap: OpenLdap) -> AsyncIterator[Maker]:
    made: list[LdapLogins] = []
    resolver = Resolver(clock=SystemClock(), hosts={"dc1.contoso.test": ("127.0.0.1",)})

    def logins(
        *servers: str, told: Callable[[str, str], None] = _silence, passwords: Sequence[str] = (PASSWORD,), **more: Any
    ) -> LdapLogins:
        ca_file = more.pop("ca", ldap.ca_file)
        settings = LdapSettings(
            **{
                "servers": list(servers or [ldap.plain]), "lookup_name": LOOKUP, "search_base": BASE,
                "timeout": Duration(seconds=3), **more,
            }
        )  # fmt: skip
        made.append(LdapLogins(settings, ca_file, lambda: resolver, lambda: Secret(passwords[-1]), told))
        return made[-1]

    yield logins
    for one in made:
        one.servers.close()
    await resolver.close()


async def verify(logins: LdapLogins, name: str, password: str) -> str | None:
    verdict = await logins.verify(name, Secret(password))
    assert (verdict.user is None) == bool(verdict.reason)
    return verdict.user.name if verdict.user is not None else None


async def until(logins: LdapLogins, name: str, password: str, seconds: float = 15.0) -> str | None:
    """Log in as soon as the directory can be asked."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await verify(logins, name, password)
        except LoginsUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


@MODES
async def test_a_login_by_its_password_over_tls(make: Maker, ldap: OpenLdap, more: dict[str, Any]) -> None:
    for server in (ldap.plain, ldap.secure):
        logins = make(server, **more)
        user = (await logins.verify("ANN", Secret("pencil"))).user
        assert user is not None
        assert (user.name, user.addresses) == ("ann", ("ann@contoso.test", "anna@contoso.test"))
        assert await verify(logins, "ann", "wrong") is None
        assert await verify(logins, "nobody", "pencil") is None
        bob = (await logins.verify("bob", Secret("crayon"))).user
        assert bob is not None
        assert bob.addresses == ("bob@contoso.test",)


@MODES
async def test_proxy_addresses_of_active_directory(make: Maker, more: dict[str, Any]) -> None:
    """The primary one, "SMTP:", is first; what is no mail address is none."""
    user = (await make(**more).verify("eve", Secret("eraser"))).user
    assert user is not None
    assert user.addresses == ("Eve.Main@contoso.test", "eve@contoso.test", "info@contoso.test")


async def test_a_login_is_found_by_its_address_unless_several_have_it(make: Maker) -> None:
    logins = make()
    assert await verify(logins, "anna@contoso.test", "pencil") == "ann"
    assert await verify(logins, "twin@contoso.test", "same") is None
    assert await verify(logins, "twin1", "same") == "twin1"
    wrong = await logins.verify("anna@contoso.test", Secret("guess"))
    assert wrong.name == "ann", "guesses at each of its names count for one login"


@MODES
async def test_a_group_may_have_to_contain_the_login(make: Maker, more: dict[str, Any]) -> None:
    logins = make(required_group=GROUP, **more)
    assert await verify(logins, "ann", "pencil") == "ann"
    verdict = await logins.verify("bob", Secret("crayon"))
    assert verdict.user is None
    assert "is no member of" in verdict.reason
    with pytest.raises(LoginsUnavailable, match="required_group"):
        await verify(make(required_group="cn=nothing,dc=contoso,dc=test", **more), "ann", "pencil")


async def test_a_login_is_looked_up_by_what_it_is_called_and_by_no_other_name(make: Maker) -> None:
    """Who has shown a ticket shows no password: another name in an attribute must not make him somebody else."""
    logins = make()
    found = await logins.look_up("ANN")
    assert found.user is not None
    assert (found.user.name, found.user.addresses) == ("ann", ("ann@contoso.test", "anna@contoso.test"))
    for name in ("anna@contoso.test", "nobody", "*", "a*", "ann)(uid=*", "", "a b", "x" * 300):
        verdict = await logins.look_up(name)
        assert verdict.user is None, name
        assert verdict.reason
    assert (await make(required_group=GROUP).look_up("ann")).user is not None
    assert "is no member of" in (await make(required_group=GROUP).look_up("bob")).reason
    assert (await make(user_filter="(cn=bob)").look_up("ann")).user is None
    assert 'mode = "Lookup"' in (await make(**BIND).look_up("ann")).reason


@MODES
async def test_a_filter_of_the_administrators_must_fit(make: Maker, more: dict[str, Any]) -> None:
    logins = make(user_filter="(&(objectClass=person)(cn:caseIgnoreMatch:=Ann))", **more)
    assert await verify(logins, "ann", "pencil") == "ann"
    assert await verify(logins, "bob", "crayon") is None


@MODES
async def test_an_empty_password_never_reaches_the_server(make: Maker, ldap: OpenLdap, more: dict[str, Any]) -> None:
    """This server would let it in: RFC 4513 §5.1.2, an unauthenticated bind."""
    logins, before = make(**more), len(ldap.log)
    assert await verify(logins, "ann", "") is None
    assert len(ldap.log) == before


@MODES
@pytest.mark.parametrize(
    "name",
    ["*", "an*", "ann)(uid=*", "*)(uid=*))(|(uid=*", "ann,ou=people", "\\61nn", "ann\\2a", "uid=ann", "ann)", "(", "ä", "ann+cn=ann", "#61",
     " ann,", "ann ", " ann"],
)  # fmt: skip
async def test_no_name_is_anything_but_a_name(make: Maker, more: dict[str, Any], name: str) -> None:
    """D5: with the password of somebody whom the name would find if it were a filter or a path."""
    logins = make(**more)
    for password in ("pencil", "crayon"):
        assert await verify(logins, name, password) is None


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "a" * 257])
async def test_what_is_no_name_is_not_asked(make: Maker, ldap: OpenLdap, name: str) -> None:
    before = len(ldap.log)
    assert await verify(make(), name, "pencil") is None
    assert len(ldap.log) == before


@MODES
async def test_an_unknown_name_costs_the_same_questions(make: Maker, ldap: OpenLdap, more: dict[str, Any]) -> None:
    """So that no clock tells who exists."""
    logins = make(required_group=GROUP, **more)
    await verify(logins, "ann", "wrong")
    counts = []
    for name in ("ann", "nobody"):
        before = ldap.log
        assert await verify(logins, name, "wrong") is None
        after = ldap.log[len(before) :]
        counts.append((after.count("SRCH base"), after.count("BIND dn=")))
    assert counts[0] == counts[1]
    assert counts[0][1] >= 1


async def test_connections_are_kept(make: Maker, ldap: OpenLdap) -> None:
    logins, before = make(), ldap.log.count("ACCEPT from")
    for name, (password, _) in [*PEOPLE.items()] * 2:
        assert await verify(logins, name, password) == name
    assert ldap.log.count("ACCEPT from") == before + 1


async def test_many_at_once_share_the_connections(make: Maker, ldap: OpenLdap) -> None:
    logins, before = make(connections=3), ldap.log.count("ACCEPT from")
    wanted = ["ann", "bob", "eve"] * 10
    assert await asyncio.gather(*(verify(logins, name, PEOPLE[name][0]) for name in wanted)) == wanted
    assert before < ldap.log.count("ACCEPT from") <= before + 3


async def test_a_logon_is_believed_again_only_where_that_is_wanted(make: Maker, ldap: OpenLdap) -> None:
    for cache, asked in ((Duration(0), 2), (Duration(minutes=1), 1)):
        logins, before = make(cache_time=cache), ldap.log.count("SRCH base")
        for _ in range(2):
            assert await verify(logins, "ann", "pencil") == "ann"
        assert ldap.log.count("SRCH base") == before + asked
        before = ldap.log.count("SRCH base")
        assert [await verify(logins, "ann", "wrong") for _ in range(2)] == [None, None]
        assert ldap.log.count("SRCH base") == before + 2


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_server_with_another_certificate_is_not_talked_to(make: Maker, ldap: OpenLdap, tmp_path: Path) -> None:
    stranger, before = str(Authority(tmp_path).root), ldap.log.count("BIND")
    for server in (ldap.plain, ldap.secure):
        with pytest.raises(LoginsUnavailable, match="certificate"):
            await verify(make(server, ca=stranger), "ann", "pencil")
    assert ldap.log.count("BIND") == before


async def test_a_certificate_for_another_name_is_refused_unless_that_is_switched_off(
    make: Maker, ldap: OpenLdap
) -> None:  # fmt: skip
    for port, scheme in ((ldap.port, "ldap"), (ldap.tls_port, "ldaps")):
        server = f"{scheme}://dc1.contoso.test:{port}"
        with pytest.raises(LoginsUnavailable, match="certificate"):
            await verify(make(server), "ann", "pencil")
        assert await verify(make(server, check_server_name=False), "ann", "pencil") == "ann"


async def test_without_tls_this_server_takes_no_password(make: Maker, ldap: OpenLdap) -> None:
    with pytest.raises(LoginsUnavailable, match="confidentiality required"):
        await verify(make(ldap.plain, start_tls=False), "ann", "pencil")


# --- servers that are away ----------------------------------------------------------------------------------------------


async def test_a_dead_server_is_passed_over_and_all_dead_ones_are_told(make: Maker, ldap: OpenLdap) -> None:
    told: list[tuple[str, str]] = []
    dead = f"ldap://127.0.0.1:{free_port()}"
    assert await verify(make(dead, ldap.plain, told=lambda *what: told.append(what)), "ann", "pencil") == "ann"
    assert [url for url, _ in told] == [dead, ""]
    assert told[1] == ("", "")
    with pytest.raises(LoginsUnavailable, match=dead):
        await verify(make(dead, told=lambda *what: told.append(what)), "ann", "pencil")
    assert dead in dict(told)[""]


class Silent:
    """A server that accepts, and then says nothing, or the same without end."""

    def __init__(self, greeting: bytes = b"", endless: bytes = b"") -> None:
        self._greeting, self._endless = greeting, endless
        self.connections = 0

    async def __aenter__(self) -> "Silent":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self._greeting)
        try:
            while await reader.read(65536):
                while self._endless:
                    writer.write(self._endless)
                    await writer.drain()
        except OSError:
            pass
        writer.close()


@MODES
@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_server_that_never_answers_holds_one_logon_for_its_time_and_later_ones_not_at_all(
    make: Maker, more: dict[str, Any], scheme: str
) -> None:
    async with Silent() as silent:
        logins = make(f"{scheme}://127.0.0.1:{silent.port}", timeout=Duration(milliseconds=500), **more)
        attempt, longest, last = asyncio.ensure_future(verify(logins, "ann", "pencil")), 0.0, time.monotonic()
        began = last
        while not attempt.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert isinstance(attempt.exception(), LoginsUnavailable)
        assert 0.4 < time.monotonic() - began < 3
        assert longest < 0.3, "the loop that moves mail stood still"
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(LoginsUnavailable, match="no answer within"):
                await verify(logins, "ann", "pencil")
        assert time.monotonic() - began < 0.3


async def test_a_silent_server_is_passed_over_for_the_next(make: Maker, ldap: OpenLdap) -> None:
    async with Silent() as silent:
        logins = make(f"ldaps://127.0.0.1:{silent.port}", ldap.secure, timeout=Duration(milliseconds=1500))
        assert await verify(logins, "ann", "pencil") == "ann"
        began = time.monotonic()
        assert await verify(logins, "ann", "pencil") == "ann"
        assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        (Silent(endless=b"\x30\x84\x00\x00\x00\x05\x02\x01\x01\x61\x00" * 1000), "more than|no|cut off"),
        (Silent(endless=b"x" * 65536), "does not speak LDAP"),
        (Silent(endless=b"\x30\x84\x7f\xff\xff\xff" + b"\0" * 65536), "more than"),
        (Silent(endless=b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00" * 100), "mixed up"),
        (Silent(endless=b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00" * 100), "ends the connection"),
        (
            Silent(greeting=b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            "not asked for|cut off|TLS|no answer",
        ),
    ],
)
async def test_whatever_a_server_sends_is_a_fault_and_no_more(make: Maker, server: Silent, fault: str) -> None:
    async with server:
        logins = make(f"ldap://127.0.0.1:{server.port}", timeout=Duration(seconds=2))
        with pytest.raises(LoginsUnavailable, match=fault):
            await verify(logins, "ann", "pencil")


@pytest.mark.parametrize("tag", [0x64, 0x73], ids=["entries", "references"])
async def test_answers_without_end_end_the_connection(make: Maker, tag: int) -> None:
    content = ber.octets("dc=x") + ber.element(ber.SEQUENCE)
    async with Silent(endless=ber.element(ber.SEQUENCE, ber.integer(1), ber.element(tag, content)) * 1000) as server:
        logins = make(f"ldap://127.0.0.1:{server.port}", start_tls=False)
        with pytest.raises(LoginsUnavailable, match="it answers with more than"):
            await verify(logins, "ann", "pencil")


async def test_what_comes_in_clear_before_tls_is_no_answer(make: Maker) -> None:
    """StartTLS injection: the answer to StartTLS and one to the bind in one piece."""
    accepted = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
    bound = b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
    async with Silent(endless=accepted + bound) as server:
        with pytest.raises(LoginsUnavailable, match="in clear before TLS"):
            await verify(make(f"ldap://127.0.0.1:{server.port}"), "ann", "pencil")


async def test_more_logons_than_may_wait_are_told_so(make: Maker) -> None:
    async with Silent() as silent:
        logins = make(f"ldap://127.0.0.1:{silent.port}", connections=1, timeout=Duration(seconds=1))
        began = time.monotonic()
        came = await asyncio.gather(
            *(verify(logins, "ann", "pencil") for _ in range(300)), return_exceptions=True
        )  # fmt: skip
        assert {type(one) for one in came} == {LoginsUnavailable}
        assert "too many logons wait for the LDAP directory" in {str(one) for one in came}
        assert time.monotonic() - began < 5
        assert silent.connections <= 3


async def test_a_wrong_lookup_account_is_a_fault_of_ours_and_no_wrong_password(make: Maker) -> None:
    with pytest.raises(LoginsUnavailable, match="refuses lookup_name"):
        await verify(make(passwords=["wrong"]), "ann", "pencil")


async def test_a_lookup_password_that_was_refused_is_not_shown_again_and_another_one_is_at_once(
    make: Maker, ldap: OpenLdap
) -> None:
    """Directories lock accounts after some wrong passwords: asking must not lock ours."""
    passwords = ["wrong"]
    logins = make(passwords=passwords)
    before = ldap.log.count(f'BIND dn="{LOOKUP}" method')
    with pytest.raises(LoginsUnavailable, match=r"refuses lookup_name.* not tried again for 15 min"):
        await verify(logins, "ann", "pencil")
    for _ in range(5):  # as when the server is looked at
        with pytest.raises(LdapFault, match="not tried again for 15 min"):
            await logins.servers.links[0].ask(logins.check)
    assert ldap.log.count(f'BIND dn="{LOOKUP}" method') == before + 1
    passwords.append(PASSWORD)
    assert await until(logins, "ann", "pencil") == "ann"


async def test_a_search_base_that_is_not_there_is_a_fault_of_ours(make: Maker) -> None:
    with pytest.raises(LoginsUnavailable, match="search_base"):
        await verify(make(search_base="ou=gone,dc=contoso,dc=test"), "ann", "pencil")


@MODES
async def test_a_server_that_comes_back_is_asked_again(make: Maker, ldap: OpenLdap, more: dict[str, Any]) -> None:
    told: dict[str, str] = {}
    logins = make(told=told.__setitem__, **more)
    assert await verify(logins, "ann", "pencil") == "ann"
    ldap.stop()
    with pytest.raises(LoginsUnavailable):
        await verify(logins, "ann", "pencil")
    assert told[ldap.plain]
    assert told[""]
    ldap.start()
    assert await until(logins, "ann", "pencil") == "ann"
    assert told == {ldap.plain: "", "": ""}


async def test_a_restart_of_the_server_between_two_logons_is_not_noticed(make: Maker, ldap: OpenLdap) -> None:
    told: list[tuple[str, str]] = []
    logins = make(told=lambda *what: told.append(what))
    assert await verify(logins, "ann", "pencil") == "ann"
    ldap.stop()
    ldap.start()
    assert await verify(logins, "ann", "pencil") == "ann"
    assert set(told) == {("", "")}


async def test_servers_are_looked_at_before_anybody_logs_on(make: Maker, ldap: OpenLdap) -> None:
    told: dict[str, str] = {}
    dead = f"ldap://127.0.0.1:{free_port()}"
    logins = make(dead, ldap.plain, told=told.__setitem__)
    logins.servers.start()
    end = time.monotonic() + 10
    while set(told) != {dead, ldap.plain}:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    assert told[dead]
    assert not told[ldap.plain]


async def test_a_logon_that_is_given_up_leaves_nothing_behind(make: Maker, ldap: OpenLdap) -> None:
    """A client that goes away while its password is tried."""
    logins = make(connections=1)
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016):
        attempt = asyncio.ensure_future(verify(logins, "bob", "wrong"))
        await asyncio.sleep(delay)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        assert await verify(logins, "ann", "pencil") == "ann"


def test_free_port_is_refused() -> None:
    """What the tests above take for a dead server is one."""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", free_port()), 1)
