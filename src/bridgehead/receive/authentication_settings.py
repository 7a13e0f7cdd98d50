# SPDX-License-Identifier: MIT
"""Settings of logins: lock-out (Active Directory's password policy has the words), and issuers of tokens
(New-AuthServer)."""

import msgspec

from bridgehead.mail.units import Duration


class LockoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lock-out of accounts and sources after failed logons.

    Attributes:
        account_lockout_threshold: failed logons of one account until it is locked, from everywhere but where it logged
            in lately; 0: never.
        source_lockout_threshold: failed logons from one address (IPv6: one network of 64 bits); 0: never.
        lockout_observation_window: over which failures are forgotten.
        lockout_duration: of the first lock; each further one lasts twice as long.
        max_lockout_duration: the longest.
        exempt_ip_ranges: sources that are never locked, as many people share them: a gateway's address.
        alarm_accounts: accounts that fail from one source before an alarm says so; 0: none.
    """

    account_lockout_threshold: int = 10
    source_lockout_threshold: int = 30
    lockout_observation_window: Duration = Duration(minutes=15)
    lockout_duration: Duration = Duration(minutes=1)
    max_lockout_duration: Duration = Duration(hours=1)
    exempt_ip_ranges: list[str] = []
    alarm_accounts: int = 10
