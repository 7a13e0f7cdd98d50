# SPDX-License-Identifier: MIT
"""What the audit says of logins from an LDAP directory. Each sentence names its setting."""

from collections.abc import Iterator
from typing import Final

from bridgehead.admin.connector.audit_report import Exposure
from bridgehead.admin.probe.steps import Verdict
from bridgehead.receive.logons.ldap.settings import LdapSettings, goes_in_clear, server_address

_WHO: Final = "logins of LDAP"
_ANYBODY: Final = LdapSettings().user_filter


def ldap_exposures(settings: LdapSettings) -> Iterator[Exposure]:
    """What they expose; nothing where there are none."""
    for url in settings.servers:
        server = server_address(url)
        if goes_in_clear(server, settings):
            yield Exposure(
                connector=_WHO, name="ldap-in-clear", verdict=Verdict.FAILURE,
                sentence=f"passwords travel to {server.host} in clear, for everybody on the way to read",
                setting="allow_clear_text", remedy="set start_tls to true, or name the server as ldaps://",
            )  # fmt: skip
    if settings.servers and not settings.check_server_name:
        yield Exposure(
            connector=_WHO, name="ldap-name-unchecked", verdict=Verdict.WARNING,
            sentence="whoever has any certificate of the authority in ca_file can be the directory, and read passwords",
            setting="check_server_name", remedy="set it to true, and name servers as their certificates do",
        )  # fmt: skip
    if settings.servers and not settings.required_group and settings.user_filter in ("", _ANYBODY):
        yield Exposure(
            connector=_WHO, name="ldap-everybody", verdict=Verdict.WARNING,
            sentence=f"every account below {settings.search_base or settings.bind_template} may log in and send, "
            "forgotten ones with easy passwords too",
            setting="required_group", remedy="set it to a group of those who need it, or make user_filter narrower",
        )  # fmt: skip
