# SPDX-License-Identifier: MIT
"""Whether a name and a password are somebody's in an LDAP directory, and what that login may send as (RFC 4513).

A name that is nobody's costs the same questions, one bind included. An empty password never reaches a server: it would
be an unauthenticated bind, which succeeds (RFC 4513 §5.1.2).
"""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bridgehead.directory.user_record import User, canonical_name
from bridgehead.ldap import filters, names
from bridgehead.ldap.messages import Code, Entry, Result, Scope, Search
from bridgehead.mail.address import AddressError, parse_mailbox
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LDAP_ADDRESSES, LDAP_LOGINS_KEPT, LOGIN_NAME_CHARACTERS
from bridgehead.mail.secret import Secret
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.ldap_connection import LdapConnection, LdapFault, Tell, words
from bridgehead.receive.logons.ldap.own_logon import OwnLogon
from bridgehead.receive.logons.ldap.servers import LdapServers, LoginsUnavailable, servers_of
from bridgehead.receive.logons.ldap.settings import LdapMode, LdapSettings

_NOBODY: Final = "cn=nobody-of-this-name"
_REFUSED: Final = {
    Code.CONSTRAINT_VIOLATION, Code.NO_SUCH_OBJECT, Code.INVALID_DN_SYNTAX, Code.INAPPROPRIATE_AUTHENTICATION,
    Code.INVALID_CREDENTIALS, Code.INSUFFICIENT_ACCESS_RIGHTS, Code.UNWILLING_TO_PERFORM,
}  # fmt: skip
"""A bind as somebody that ends so is refused for who he is; anything else is a fault of the server."""
_ACTIVE_DIRECTORY: Final = {
    "525": "no such account", "52e": "wrong password", "530": "not at this hour", "531": "not from this computer",
    "532": "the password has expired", "533": "the account is disabled", "701": "the account has expired",
    "773": "the password must be changed", "775": "the account is locked",
}  # fmt: skip
"""What Active Directory says after "data" when it refuses a bind."""
_MEMBERS: Final = ("member", "uniqueMember")
_FOUND_MOST: Final = 2
_REASON_CHARACTERS: Final = 400


class Verdict(msgspec.Struct, frozen=True):
    """What the directory says about a logon.

    Attributes:
        user: the login, None where it may not come in.
        name: what it is called, as far as that is known: other names of the same login lead to the same.
        reason: why not, for the log.
        asked: False where nobody was asked, as no login can be called so.
    """

    user: User | None
    name: str
    reason: str = ""
    asked: bool = True


def _nobody(step: str, came: str) -> None:
    """Steps are of interest to a test only."""


class LdapLogins:
    """Logins of one LDAP directory.

    Args:
        settings: checked.
        ca_file: `settings.ca_file`, absolute.
        dns: how to find addresses of servers.
        read_password: the lookup account's, read anew each time. Raises ValueError.
        told: is told ("", fault) of what concerns no single server, (url, fault) of a server that fails; and with "" as
            fault that it is over.

    Attributes:
        servers: where to ask.
    """

    def __init__(
        self, settings: LdapSettings, ca_file: str, dns: Callable[[], DnsLookup],
        read_password: Callable[[], Secret], told: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._settings, self._read_password, self._told = settings, read_password, told
        self.servers = LdapServers(
            servers_of(settings, ca_file), dns, seconds=settings.timeout.total_seconds(),
            connections=settings.connections, check=self.check, told=told,
        )  # fmt: skip
        self._user_filter = filters.parse(settings.user_filter) if settings.user_filter else None
        self._seconds = max(1, round(settings.timeout.total_seconds()))
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        self._own_logon = OwnLogon()

    async def verify(self, name: str, password: Secret) -> Verdict:
        """Whose name and password these are. Raises LoginsUnavailable."""
        if not password.reveal() or not _is_name(name):
            return msgspec.structs.replace(
                _refused(name, "no login can be called so, or have no password"), asked=False
            )
        key = hmac.digest(self._key, f"{name}\0{password.reveal()}".encode(), "sha256")
        until, kept = self._kept.get(key, (0.0, None))
        if kept is not None and time.monotonic() < until:
            return msgspec.structs.replace(kept, asked=False)
        verdict = await self._ask(lambda connection: self.judge(connection, name, password))
        self._keep(key, verdict)
        return verdict

    async def look_up(self, name: str) -> Verdict:
        """The login that is called so here, whose holder something else than a password has proved. Raises
        LoginsUnavailable."""
        if self._settings.mode is LdapMode.BIND:
            return _refused(name, 'without a password the directory answers with ldap_logins.mode = "Lookup" only')
        if not _is_name(name):
            return _refused(name, "no login can be called so")
        return await self._ask(lambda connection: self._look_up(connection, name))

    async def ask_for_nobody(self) -> None:
        """Ask what a wrong password is asked, about nobody. Raises LoginsUnavailable."""
        name, password = secrets.token_hex(8), Secret(secrets.token_hex(8))
        await self._ask(lambda connection: self.judge(connection, name, password))

    async def _ask(self, question: Callable[[LdapConnection], Awaitable[Verdict]]) -> Verdict:
        try:
            verdict = await self.servers.ask(question)
        except LoginsUnavailable as fault:
            self._told("", str(fault))
            raise
        self._told("", "")
        return verdict

    def _keep(self, key: bytes, verdict: Verdict) -> None:
        seconds = self._settings.cache_time.total_seconds()
        self._kept.pop(key, None)
        if seconds and verdict.user is not None:
            self._kept[key] = (time.monotonic() + seconds, verdict)
            if len(self._kept) > LDAP_LOGINS_KEPT:
                self._kept.popitem(last=False)

    # --- on a connection --------------------------------------------------------------------------------------------

    async def check(self, connection: LdapConnection, tell: Tell = _nobody) -> None:
        """Whether a server can be asked at all. Raises LdapFault. `tell`: as for `judge`."""
        if self._settings.mode is LdapMode.LOOKUP:
            await self._bind_as_us(connection, tell)

    async def judge(
        self, connection: LdapConnection, name: str, password: Secret, tell: Tell = _nobody
    ) -> Verdict:  # fmt: skip
        """Whose name and password these are, at one server. Raises LdapFault, LoginsUnavailable.

        Args:
            tell: is told of each step as it ends: its name, what came of it.
        """
        if self._settings.mode is LdapMode.BIND:
            return await self._bind_and_read(connection, name, password, tell)
        return await self._look_up_and_bind(connection, name, password, tell)

    async def _look_up_and_bind(
        self, connection: LdapConnection, name: str, password: Secret, tell: Tell
    ) -> Verdict:  # fmt: skip
        await self._bind_as_us(connection, tell)
        entry, why = await self._find(connection, name)
        tell("search", entry.dn if entry is not None else why)
        # Who does not exist is asked about like everybody else: it takes as long.
        dn = entry.dn if entry is not None else f"{_NOBODY},{self._settings.search_base}"
        member = await self._is_member(connection, dn, tell)
        result = await connection.bind(dn, password)
        refusal = _refusal(result)
        tell("bind", refusal or f"bound as {dn}")
        if entry is None:
            return _refused(name, why)
        user = _user(name, entry, self._settings)
        if refusal or not member:
            return _refused(user.name, refusal or f"{dn} is no member of {self._settings.required_group}")
        return Verdict(user, user.name)

    async def _look_up(self, connection: LdapConnection, name: str) -> Verdict:
        """By the first of `login_attributes` alone, which is what a login is called: no bind shows that it is this."""
        await self._bind_as_us(connection, _nobody)
        entry, why = await self._search(connection, filters.equals(self._settings.login_attributes[0], name))
        return await self._admitted(connection, name, entry, why, _nobody)

    async def _bind_and_read(
        self, connection: LdapConnection, name: str, password: Secret, tell: Tell
    ) -> Verdict:  # fmt: skip
        who = names.bind_name(self._settings.bind_template, name)
        # Who cannot exist is asked about like everybody else.
        refusal = _refusal(await connection.bind(who or f"{_NOBODY},{self._settings.search_base}", password))
        tell("bind", refusal or f"bound as {who}")
        if refusal or not who:
            return _refused(name, refusal or "no login can be called so")
        if names.is_dn(self._settings.bind_template):
            entry, why = await self._read(connection, who)
        else:
            entry, why = await self._find_account(connection, name, who, password)
        tell("entry", entry.dn if entry is not None else why)
        return await self._admitted(connection, name, entry, why, tell)

    async def _admitted(
        self, connection: LdapConnection, name: str, entry: Entry | None, why: str, tell: Tell
    ) -> Verdict:  # fmt: skip
        """Who was found by the name, and is a member; `why` nobody was."""
        if entry is None:
            return _refused(name, why)
        if not await self._is_member(connection, entry.dn, tell):
            return _refused(name, f"{entry.dn} is no member of {self._settings.required_group}")
        user = _user(name, entry, self._settings)
        return Verdict(user, user.name)

    async def _bind_as_us(self, connection: LdapConnection, tell: Tell) -> None:
        try:
            password = self._read_password()
        except ValueError as error:
            raise LdapFault(str(error)) from None
        self._own_logon.may(password)
        result = await connection.bind(self._settings.lookup_name, password)
        if result.code != Code.SUCCESS:
            fault = f"it refuses lookup_name with lookup_password: {_refusal_words(result)}"
            if result.code == Code.INVALID_CREDENTIALS:
                fault = self._own_logon.refused(password, fault)
            raise LdapFault(fault)
        self._own_logon.worked()
        tell("lookup account", f"bound as {self._settings.lookup_name}")

    async def _find(self, connection: LdapConnection, name: str) -> tuple[Entry | None, str]:
        """The entry of a name; None, and why, where there is none or more than one."""
        wanted = (filters.equals(one, name) for one in self._settings.login_attributes)
        return await self._search(connection, filters.any_of(*wanted))

    async def _find_account(
        self, connection: LdapConnection, name: str, who: str, password: Secret
    ) -> tuple[Entry | None, str]:  # fmt: skip
        """The entry of an account that has just bound as `who`; None, and why, where it cannot be told.

        What Active Directory takes for one's name may be what somebody else is called: the entry must let itself be
        bound as with the same password.
        """
        names_of_it = {who, names.account_name(self._settings.bind_template, name)}
        wanted = [filters.equals(one, text) for one in self._settings.login_attributes for text in sorted(names_of_it)]
        entry, why = await self._search(connection, filters.any_of(*wanted))
        if entry is not None and _refusal(await connection.bind(entry.dn, password)):
            return None, f"{who} is not {entry.dn}, which has this name too"
        return entry, why

    async def _read(self, connection: LdapConnection, dn: str) -> tuple[Entry | None, str]:
        wanted = self._user_filter or filters.present("objectClass")
        return await self._ask_for(connection, dn, Scope.BASE, wanted)

    async def _search(self, connection: LdapConnection, wanted: filters.Filter) -> tuple[Entry | None, str]:
        if self._user_filter is not None:
            wanted = filters.all_of(self._user_filter, wanted)
        return await self._ask_for(connection, self._settings.search_base, Scope.SUBTREE, wanted)

    async def _ask_for(
        self, connection: LdapConnection, base: str, scope: Scope, wanted: filters.Filter
    ) -> tuple[Entry | None, str]:  # fmt: skip
        result, entries = await connection.search(
            Search(
                base=base, scope=scope, filter=wanted, most=_FOUND_MOST, seconds=self._seconds,
                attributes=[self._settings.login_attributes[0], *self._settings.address_attributes],
            )
        )  # fmt: skip
        if len(entries) > 1 or result.code == Code.SIZE_LIMIT_EXCEEDED:
            return None, "more than one entry has this name"
        if result.code == Code.NO_SUCH_OBJECT and scope is Scope.SUBTREE:
            raise LoginsUnavailable(f"search_base {base} is not there, or the lookup account may not see it")
        if result.code == Code.REFERRAL:
            raise LoginsUnavailable(f"the LDAP server refers to another for {base}; referrals are not followed")
        if result.code not in (Code.SUCCESS, Code.NO_SUCH_OBJECT):
            raise LdapFault(f"the search failed: {words(result)}")
        if not entries or not entries[0].dn:
            return None, "no entry has this name" if scope is Scope.SUBTREE else "user_filter does not fit the entry"
        return entries[0], ""

    async def _is_member(self, connection: LdapConnection, dn: str, tell: Tell) -> bool:
        group = self._settings.required_group
        if not group:
            return True
        result, entries = await connection.search(
            Search(
                base=group, scope=Scope.BASE, filter=filters.any_of(*(filters.equals(one, dn) for one in _MEMBERS)),
                most=1, seconds=self._seconds, attributes=["1.1"],
            )
        )  # fmt: skip
        if result.code != Code.SUCCESS:
            raise LoginsUnavailable(f"required_group {group} cannot be read: {words(result)}")
        tell("group", f"{dn} is {'a' if entries else 'no'} member of {group}")
        return bool(entries)


def _refused(name: str, reason: str) -> Verdict:
    return Verdict(None, name, clean_text(reason, _REASON_CHARACTERS))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LOGIN_NAME_CHARACTERS and name.isprintable() and " " not in name


def _refusal(result: Result) -> str:
    """Why a bind as somebody was refused, "" where it was not. Raises LdapFault where it is not his fault."""
    if result.code == Code.SUCCESS:
        return ""
    if result.code not in _REFUSED:
        raise LdapFault(f"it does not let anybody bind: {words(result)}")
    return f"the directory refuses the bind: {_refusal_words(result)}"


def _refusal_words(result: Result) -> str:
    data = result.diagnostic.partition(" data ")[2].partition(",")[0].strip()
    return _ACTIVE_DIRECTORY.get(data.lower()) or words(result)


def _user(name: str, entry: Entry, settings: LdapSettings) -> User:
    """An entry as a login. What is no address is left out; the primary one ("SMTP:") comes first."""
    primary: list[str] = []
    further: list[str] = []
    for attribute in settings.address_attributes:
        for text in entry.texts(attribute):
            address = text[5:] if text[:5].lower() == "smtp:" else text
            try:
                parse_mailbox(address)
            except AddressError:
                continue
            (primary if text.startswith("SMTP:") else further).append(address)
    called = entry.texts(settings.login_attributes[0])
    own = canonical_name(called[0]) if called and _is_name(called[0]) else canonical_name(name)
    return User(
        name=clean_text(own, LOGIN_NAME_CHARACTERS),
        addresses=tuple(dict.fromkeys([*primary, *further]))[:LDAP_ADDRESSES],
    )
