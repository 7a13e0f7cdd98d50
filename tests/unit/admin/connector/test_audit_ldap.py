# SPDX-License-Identifier: MIT
"""What the audit says of logins from an LDAP directory."""

from typing import Any

import pytest

from bridgehead.admin.connector.audit_ldap import ldap_exposures
from bridgehead.admin.probe.steps import Verdict
from bridgehead.receive.logons.ldap.settings import LdapSettings

GROUP = {"required_group": "cn=mail,dc=contoso,dc=com"}


def exposures(**settings: Any) -> dict[str, Verdict]:
    return {one.name: one.verdict for one in ldap_exposures(LdapSettings(**settings))}


def test_no_directory_exposes_nothing() -> None:
    assert exposures() == {}
    assert exposures(start_tls=False, check_server_name=False) == {}


@pytest.mark.parametrize("server", ["ldaps://dc1", "ldap://127.0.0.1", "ldap://[::1]", "ldap://localhost"])
def test_what_nobody_can_read_is_well(server: str) -> None:
    assert exposures(servers=[server], start_tls=False, **GROUP) == {}


def test_what_is_open_is_named() -> None:
    assert exposures(servers=["ldap://dc1", "ldaps://dc2"], start_tls=False, allow_clear_text=True, **GROUP) == {
        "ldap-in-clear": Verdict.FAILURE
    }
    assert exposures(servers=["ldap://dc1"], check_server_name=False, **GROUP) == {
        "ldap-name-unchecked": Verdict.WARNING
    }
    assert exposures(servers=["ldaps://dc1"]) == {"ldap-everybody": Verdict.WARNING}
    assert exposures(servers=["ldaps://dc1"], user_filter="(memberOf=cn=mail)") == {}
