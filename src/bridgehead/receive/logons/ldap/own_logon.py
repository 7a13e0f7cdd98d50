# SPDX-License-Identifier: MIT
"""Whether the lookup account's password may be shown to a directory: one that was refused is not, for a growing while,
so that asking does not lock the account. Another password is at once."""

import time

from bridgehead.mail.limits import LDAP_REFUSED_SECONDS_MAX, LDAP_REFUSED_SECONDS_MIN
from bridgehead.mail.secret import Secret
from bridgehead.net.ldap_connection import LdapFault


class OwnLogon:
    """What became of the lookup account's last logons, at all servers of a directory together."""

    def __init__(self) -> None:
        self._password: Secret | None = None
        self._fault = ""
        self._until, self._wait = 0.0, 0.0

    def may(self, password: Secret) -> None:
        """Raises LdapFault where this password was refused lately."""
        if self._password is None or time.monotonic() >= self._until:
            return
        if password.reveal() == self._password.reveal():
            raise LdapFault(self._fault)

    def refused(self, password: Secret, fault: str) -> str:
        """This password was refused. Returns the fault with what follows from it."""
        if self._password is None or self._password.reveal() != password.reveal():
            self._wait = 0.0
        elif time.monotonic() < self._until:
            return self._fault  # several logons were under way
        self._wait = min(max(2 * self._wait, LDAP_REFUSED_SECONDS_MIN), LDAP_REFUSED_SECONDS_MAX)
        self._password, self._until = password, time.monotonic() + self._wait
        self._fault = (
            f"{fault}; not tried again for {self._wait / 60:g} min unless it changes, lest the account be locked"
        )
        return self._fault

    def worked(self) -> None:
        """The password is right."""
        self._password, self._wait = None, 0.0
