# SPDX-License-Identifier: MIT
"""Settings of logins that an LDAP directory knows."""

import ipaddress
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bridgehead.mail.units import Duration

_PORTS: Final = {"ldap": 389, "ldaps": 636}


class LdapMode(StrEnum):
    """How a password is found right. LOOKUP: an account of ours looks for the login, then the password is tried by a
    bind as what was found. BIND: the name itself tells whom to bind as."""

    LOOKUP = "Lookup"
    BIND = "Bind"


class LdapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logins from LDAP or Active Directory, for names that the users file does not hold; PLAIN and LOGIN only.

    Attributes:
        servers: "ldaps://dc1.contoso.com", "ldap://dc2.contoso.com:3268", the first that works is asked; empty: none.
        start_tls: servers at ldap:// are talked to after StartTLS only.
        allow_clear_text: passwords may travel in clear to servers that are not this machine.
        ca_file: PEM; whom their certificates must lead to; empty: the system's trust anchors.
        check_server_name: their certificates must be for the names in `servers`.
        mode: Lookup or Bind.
        bind_template: of mode Bind: "uid={name},ou=people,dc=contoso,dc=com", or "{name}@contoso.com" with Active
            Directory.
        lookup_name, lookup_password: the account of mode Lookup; the password by reference ("file:", "env:",
            "credential:").
        search_base: where logins are looked for: "ou=people,dc=contoso,dc=com".
        login_attributes: what a client may give as its name; the first is what the login is called here.
        user_filter: what else must hold: "(objectClass=person)"; empty: nothing.
        required_group: distinguished name of a group that must list the login itself as member; empty: none.
        address_attributes: the login's own addresses, with or without "smtp:" before them.
        connections: to one server at a time; more logons wait.
        timeout: for a whole logon at one server; then the next is asked.
        cache_time: how long a logon that succeeded is believed again without asking; 0: never.
    """

    servers: list[str] = []
    start_tls: bool = True
    allow_clear_text: bool = False
    ca_file: str = ""
    check_server_name: bool = True
    mode: LdapMode = LdapMode.LOOKUP
    bind_template: str = ""
    lookup_name: str = ""
    lookup_password: str = ""
    search_base: str = ""
    login_attributes: list[str] = msgspec.field(default_factory=lambda: ["uid", "mail"])
    user_filter: str = "(objectClass=person)"
    required_group: str = ""
    address_attributes: list[str] = msgspec.field(default_factory=lambda: ["mail", "proxyAddresses"])
    connections: int = 4
    timeout: Duration = Duration(seconds=5)
    cache_time: Duration = Duration(0)


class ServerAddress(msgspec.Struct, frozen=True):
    """One of `servers`, taken apart."""

    url: str
    host: str
    port: int
    implicit_tls: bool


def server_address(url: str) -> ServerAddress:
    """Take "ldaps://dc1.contoso.com:636" apart. Raises ValueError."""
    fault = ValueError(f'"{url}" is no LDAP server such as "ldaps://dc1.contoso.com"')
    parts = urlsplit(url)
    try:
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise fault from None
    if parts.scheme not in _PORTS or not host or port == 0 or parts.path not in ("", "/"):
        raise fault
    if parts.query or parts.fragment or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        raise fault
    if (":" in host or host.replace(".", "").isdigit()) and _address(host) is None:
        raise fault
    return ServerAddress(url, host, port or _PORTS[parts.scheme], parts.scheme == "ldaps")


def goes_in_clear(server: ServerAddress, settings: LdapSettings) -> bool:
    """Whether passwords travel to a server for others to read: without TLS, and not within this machine."""
    if server.implicit_tls or settings.start_tls or server.host == "localhost":
        return False
    address = _address(server.host)
    return address is None or not address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is named by, if it is."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
