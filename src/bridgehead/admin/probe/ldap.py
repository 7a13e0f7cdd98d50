# SPDX-License-Identifier: MIT
"""Tests the LDAP directory as a logon would ask it, at every server, step by step with times.

It runs within the command, so that a password goes from the keyboard to the directory and nowhere else.
"""

import asyncio
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bridgehead.admin.probe.site import BY_COMMAND
from bridgehead.admin.probe.steps import ProbeResult, StepBuilder, Verdict, result_of
from bridgehead.mail.secret import Secret
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.ldap_connection import LdapConnection, LdapFault, LdapServer, connect
from bridgehead.net.secrets import read_secret
from bridgehead.receive.logons.ldap.logins import LdapLogins
from bridgehead.receive.logons.ldap.servers import LoginsUnavailable
from bridgehead.receive.logons.ldap.settings import LdapSettings

_KIND: Final = "ldap"
_REMEDY: Final = "docs/howto/ldap.md tells what each fault means"


async def run_ldap_test(
    settings: LdapSettings, data_directory: Path, dns: DnsLookup, name: str, password: Secret | None
) -> ProbeResult:
    """Ask every server; about a login where a name is given.

    Args:
        data_directory: where relative paths of the settings lie.
        password: of the login; None where none is to be tried.
    """
    logins = LdapLogins(
        settings, str(data_directory / settings.ca_file) if settings.ca_file else "", lambda: dns,
        lambda: read_secret(settings.lookup_password, data_directory), lambda url, fault: None,
    )  # fmt: skip
    tree = StepBuilder(f"logons of {name or 'anybody'} by the LDAP directory", time.monotonic)
    for link in logins.servers.links:
        with tree.step(link.server.url) as step:
            await _test_server(logins, link.server, dns, settings.timeout.total_seconds(), name, password, step)
    if any(one is Verdict.PASS for one in tree.verdicts):
        tree.only_warn()
    return result_of(_KIND, name, tree, now=time.time(), by=BY_COMMAND, trigger="operator")


async def _test_server(
    logins: LdapLogins, server: LdapServer, dns: DnsLookup, seconds: float, name: str, password: Secret | None,
    step: StepBuilder,
) -> None:  # fmt: skip
    steps = _Steps(step)
    connection: LdapConnection | None = None
    try:
        async with asyncio.timeout(seconds):
            connection = await connect(server, dns, seconds, steps.ended)
            if password is None:
                await logins.check(connection, steps.ended)
                steps.now.noted("no login was tried: none was named")
            else:
                verdict = await logins.judge(connection, name, password, steps.ended)
                if verdict.user is None:
                    steps.now.failed(f"{verdict.name} may not log in: {verdict.reason}", _REMEDY)
                else:
                    addresses = ", ".join(verdict.user.addresses) or "nobody: no address attribute has an address"
                    steps.now.passed(f"{verdict.user.name} may log in and send as {addresses}")
    except (LdapFault, LoginsUnavailable) as fault:
        steps.now.failed(str(fault), _REMEDY)
    except TimeoutError:
        steps.now.failed(f"no answer within {seconds:g} s", "raise timeout, or look at the server and the way there")
    finally:
        steps.close()
        if connection is not None:
            connection.close()


class _Steps:
    """Steps that are known by their ends: `now` is the one under way."""

    def __init__(self, parent: StepBuilder) -> None:
        self._parent = parent
        self._open()

    def _open(self) -> None:
        self._manager: AbstractContextManager[StepBuilder] = self._parent.step("asking the directory")
        self.now = self._manager.__enter__()

    def ended(self, step: str, came: str) -> None:
        """The step under way ended well; the next begins."""
        self.now.passed(f"{step}: {came}")
        self.close()
        self._open()

    def close(self) -> None:
        """Nothing more comes."""
        self._manager.__exit__(None, None, None)
