# SPDX-License-Identifier: MIT
"""Logins from an LDAP directory in the running server: made when it starts and when settings change, and its alarms."""

from collections.abc import Callable
from typing import Final

from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.secrets import read_secret
from bridgehead.receive.logons.ldap.logins import LdapLogins
from bridgehead.server.config.load import Loaded
from bridgehead.tracking.alarms import Alarms, Severity

_ALARM: Final = "ldap_logins"


class LdapDesk:
    """The directory that is asked, if any.

    Args:
        dns: how to find addresses of servers.

    Attributes:
        logins: what `Authenticator.directory` is to be.
    """

    def __init__(self, dns: Callable[[], DnsLookup], alarms: Alarms) -> None:
        self._dns, self._alarms = dns, alarms
        self.logins: LdapLogins | None = None

    def configure(self, loaded: Loaded) -> None:
        """Ask these servers from now on; logons under way end as they began."""
        settings = loaded.configuration.ldap_logins
        self.close()
        if settings.servers:
            self.logins = LdapLogins(
                settings, str(loaded.within(settings.ca_file)) if settings.ca_file else "", self._dns,
                lambda: read_secret(settings.lookup_password, loaded.data_directory), self._tell,
            )  # fmt: skip

    def start(self) -> None:
        """Look at the servers now."""
        if self.logins is not None:
            self.logins.servers.start()

    def close(self) -> None:
        """End what is kept, and what was said about it."""
        logins, self.logins = self.logins, None
        self._alarms.clear(_ALARM)
        if logins is None:
            return
        logins.servers.close()
        for link in logins.servers.links:
            self._alarms.clear(f"{_ALARM}/{link.server.url}")

    def _tell(self, url: str, fault: str) -> None:
        alarm = f"{_ALARM}/{url}" if url else _ALARM
        if not fault:
            self._alarms.clear(alarm)
            self._alarms.clear(_ALARM)
        elif url:
            self._alarms.raise_(
                alarm, Severity.WARNING, f"{url}: {fault}", "it is left out until it works; see bridgehead test ldap"
            )
        else:
            self._alarms.raise_(
                alarm, Severity.CRITICAL, fault,
                "logons get 454 meanwhile, those of the users file work; see bridgehead test ldap",
            )  # fmt: skip
