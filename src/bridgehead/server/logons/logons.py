# SPDX-License-Identifier: MIT
"""Who judges logons in the running server: the users file, LDAP, tokens and Kerberos behind one `Authenticator`.

How each of them judges is in `receive/logons`; their alarms are in `ldap`, `token_issuers` and `lockouts`.
"""

import os
from collections.abc import Callable
from pathlib import Path

from bridgehead.directory.users import UserFile
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.receive.logons.authentication import Authenticator
from bridgehead.server.config.load import Loaded
from bridgehead.server.logons.ldap import LdapDesk
from bridgehead.server.logons.lockouts import Lockouts
from bridgehead.server.logons.token_issuers import TokenIssuers
from bridgehead.tracking.alarms import Alarms


class Logons:
    """Every place where a login is known, as the configuration names them.

    Args:
        folder: where locks outlive a restart.
        dns: how to find addresses of directories and providers.
        told: logons of other workers; `keeps_locks`: of all of them, we write them down.
    """

    def __init__(
        self, loaded: Loaded, folder: Path, clock: Clock, alarms: Alarms, dns: Callable[[], DnsLookup],
        told: SharedJournal | None = None, keeps_locks: bool = True,
    ) -> None:  # fmt: skip
        self._loaded = loaded
        configuration = loaded.configuration
        self.users = UserFile(loaded.within(configuration.directory.users_file))
        self.lockouts = Lockouts(configuration.lockout, folder / "lockout.json", alarms, clock.now, told, keeps_locks)
        self.authenticator = Authenticator(self.users, os.urandom, self.lockouts.table, clock.now)
        self._tokens = TokenIssuers(self.users, clock, dns, lambda name: str(self._loaded.within(name)), alarms)
        self._tokens.configure(configuration.auth_servers)
        self._ldap = LdapDesk(dns, alarms)
        self._use_tokens_and_tickets()

    def start(self) -> None:
        """Look at the directory's servers from now on."""
        self._ldap.configure(self._loaded)
        self.authenticator.directory = self._ldap.logins
        self._ldap.start()

    async def reconfigure(self, loaded: Loaded) -> None:
        """Judge by another configuration; logons under way end as they began."""
        self._loaded = loaded
        self.lockouts.reconfigure(loaded.configuration.lockout)
        former = self._tokens.configure(loaded.configuration.auth_servers)
        self._use_tokens_and_tickets()
        if former is not None:
            await former.close()
        self.start()

    async def close(self) -> None:
        """End what is kept to directories and providers, and write the locks that hold."""
        await self._tokens.checker.close()
        self._ldap.close()
        self.authenticator.close()
        self.lockouts.save()

    def _use_tokens_and_tickets(self) -> None:
        self.authenticator.judge_token = self._tokens.checker.judge
        kerberos = self._loaded.configuration.kerberos
        passwords = self._loaded.within(kerberos.ntlm_password_file) if kerberos.ntlm_password_file else None
        self.authenticator.kerberos.use(kerberos, self._loaded.within(kerberos.keytab_file), passwords)
