# SPDX-License-Identifier: MIT
"""Checks of logins from an LDAP directory."""

from bridgehead.ldap import filters, names
from bridgehead.receive.logons.ldap.settings import LdapMode, LdapSettings, ServerAddress, goes_in_clear, server_address
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_PATH: KeyPath = ("ldap_logins",)
_BASIC = {AuthMechanism.BASIC_AUTH, AuthMechanism.BASIC_AUTH_REQUIRE_TLS}


def check_ldap(configuration: Configuration, findings: Findings) -> None:
    """Everything about them; nothing where there are none."""
    settings = configuration.ldap_logins
    if settings == LdapSettings():
        return
    if not settings.servers:
        findings.error((*_PATH, "servers"), "there is no server to ask", '"ldaps://dc1.contoso.com" for example')
    for position, url in enumerate(settings.servers):
        try:
            _check_server(server_address(url), settings, (*_PATH, "servers", position), findings)
        except ValueError as error:
            findings.error((*_PATH, "servers", position), str(error))
    if not settings.check_server_name and not settings.ca_file:
        findings.error(
            (*_PATH, "check_server_name"), "anybody with a certificate of any authority could be the directory",
            "set ca_file to the authority of your directory",
        )  # fmt: skip
    _check_mode(settings, findings)
    _check_attributes(settings, findings)
    _check_connectors(configuration.receive_connectors, findings)


def _check_server(server: ServerAddress, settings: LdapSettings, path: KeyPath, findings: Findings) -> None:
    """In clear only to this machine, or by somebody's word."""
    if not goes_in_clear(server, settings):
        return
    if settings.allow_clear_text:
        findings.warning(
            path, f"passwords travel to {server.host} in clear, for everybody on the way to read",
            "set start_tls to true, or name the server as ldaps://",
        )  # fmt: skip
    else:
        findings.error(
            path, f"passwords would travel to {server.host} in clear",
            "set start_tls to true, or name the server as ldaps://; allow_clear_text takes the risk",
        )  # fmt: skip


def _check_mode(settings: LdapSettings, findings: Findings) -> None:
    if settings.mode is LdapMode.BIND:
        if settings.bind_template.count(names.PLACE) != 1 or settings.bind_template == names.PLACE:
            findings.error(
                (*_PATH, "bind_template"), f'mode Bind needs a template with "{names.PLACE}" once',
                '"uid={name},ou=people,dc=contoso,dc=com" or "{name}@contoso.com" for example',
            )  # fmt: skip
            return
    else:
        if not settings.lookup_name:
            findings.error((*_PATH, "lookup_name"), "mode Lookup needs an account that may search", "name it")
        if not settings.lookup_password:
            findings.error(
                (*_PATH, "lookup_password"), "mode Lookup needs the password of its account",
                '"file:ldap-password" for example',
            )  # fmt: skip
    if not settings.search_base and not (settings.mode is LdapMode.BIND and names.is_dn(settings.bind_template)):
        findings.error((*_PATH, "search_base"), "logins are looked for nowhere", '"dc=contoso,dc=com" for example')


def _check_attributes(settings: LdapSettings, findings: Findings) -> None:
    for field in ("login_attributes", "address_attributes"):
        values = getattr(settings, field)
        if not values:
            findings.error((*_PATH, field), "it is empty", "remove it to have the default")
        for position, attribute in enumerate(values):
            if not filters.is_attribute(attribute):
                findings.error((*_PATH, field, position), f'"{attribute}" is no name of an attribute', '"mail"')
    if settings.user_filter:
        try:
            filters.parse(settings.user_filter)
        except ValueError as error:
            findings.error((*_PATH, "user_filter"), f"it is no filter: {error}", '"(objectClass=person)" for example')
    if settings.required_group and not names.is_dn(settings.required_group):
        findings.error(
            (*_PATH, "required_group"), f'"{settings.required_group}" is no distinguished name',
            '"cn=mail,ou=groups,dc=contoso,dc=com" for example',
        )  # fmt: skip


def _check_connectors(connectors: list[ReceiveConnector], findings: Findings) -> None:
    """Where logins of the directory can log in at all."""
    if connectors and not any(_BASIC & set(one.auth_mechanism) for one in connectors):
        findings.warning(
            (*_PATH, "servers"), "no receive connector takes passwords: nobody of the directory can log in",
            'add "BasicAuth" to auth_mechanism of one',
        )  # fmt: skip
    for index, connector in enumerate(connectors):
        offered = set(connector.auth_mechanism)
        if offered & _BASIC and AuthMechanism.SCRAM_SHA_256 in offered:
            findings.warning(
                ("receive_connectors", index, "auth_mechanism"),
                "clients that choose ScramSha256 cannot log in by the LDAP directory, which needs the password",
                'remove "ScramSha256" here, or give logins of the directory a connector without it',
            )  # fmt: skip
