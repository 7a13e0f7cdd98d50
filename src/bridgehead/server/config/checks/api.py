# SPDX-License-Identifier: MIT
"""Checks of the [api] table."""

import grp
import pwd
from collections.abc import Callable

from bridgehead.net.ip_range import RangeError, parse_binding
from bridgehead.server.config.checks.server import check_pair
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_GROUP = "group:"


def check_api(configuration: Configuration, findings: Findings) -> None:
    """Binding, certificate pair, accounts and groups of this machine."""
    api = configuration.api
    check_pair(api.tls_certificate_file, api.tls_key_file, ("api",), findings)
    if api.binding:
        try:
            parse_binding(api.binding)
        except RangeError as error:
            findings.error(("api", "binding"), str(error), 'write "192.0.2.10:8443"')
    for name in ("local_administrators", "local_operators", "local_viewers", "local_help_desk"):
        for index, listed in enumerate(getattr(api, name)):
            problem = _unknown(listed)
            if problem:
                findings.error(("api", name, index), problem, f'write "name" of an account or "{_GROUP}name"')


def _unknown(listed: str) -> str:
    if listed.startswith(_GROUP):
        group = listed.removeprefix(_GROUP)
        return "" if _exists(grp.getgrnam, group) else f'there is no group "{group}" here'
    return "" if _exists(pwd.getpwnam, listed) else f'there is no account "{listed}" here'


def _exists(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except (KeyError, ValueError):
        return False
    return True
