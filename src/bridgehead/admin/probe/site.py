# SPDX-License-Identifier: MIT
"""What tests know of the server they run for: its configuration, names and clocks.

Made by the running server, or by a command where none runs: the tests are the same.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bridgehead.admin.connector.connectors import Connectors
from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.probe.settings import ConnectorTestSettings
from bridgehead.delivery.smtp_send.log_on import TokenSource
from bridgehead.delivery.smtp_send.security import client_pair
from bridgehead.directory.lookup import Directory
from bridgehead.directory.user_record import User
from bridgehead.mail.address import NULL, Mailbox, domain_key
from bridgehead.net.certificates.folder import CertificateFolder
from bridgehead.net.certificates.pairs import CertificatePair, self_signed_pair
from bridgehead.net.certificates.settings import Certificate, TlsSettings
from bridgehead.net.certificates.store import CertificateStore
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import system_servers
from bridgehead.net.ip_range import parse_binding
from bridgehead.net.own_connections import OwnConnections
from bridgehead.receive.connectors.served import server_tls
from bridgehead.receive.logons.ldap.settings import LdapSettings
from bridgehead.receive.settings import Device, ReceiveConnector, SenderException
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, MailboxStore, SendConnector

Connector = TypeVar("Connector", SendConnector, ReceiveConnector)

_LOOPBACK = "127.0.0.1"
"""Whom c-ares asks where the machine names nobody."""
BY_SERVER = "the server"
BY_COMMAND = "this command"


class ServerPart(Protocol):
    """The [server] table, as far as tests read it."""

    @property
    def dns_servers(self) -> Sequence[str]: ...
    @property
    def tls_certificate_file(self) -> str: ...
    @property
    def tls_key_file(self) -> str: ...


class SiteConfiguration(Connectors, Protocol):
    """A configuration, as far as tests read it."""

    @property
    def server(self) -> ServerPart: ...
    @property
    def connector_tests(self) -> ConnectorTestSettings: ...
    @property
    def certificates(self) -> Sequence[Certificate]: ...
    @property
    def tls(self) -> TlsSettings: ...
    @property
    def sender_exceptions(self) -> Sequence[SenderException]: ...
    @property
    def ldap_logins(self) -> LdapSettings: ...
    @property
    def mailbox_store(self) -> MailboxStore: ...


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration with all that a test needs.

    Attributes:
        dns_servers: of the server; empty: the system's.
        fqdn: our name in EHLO.
        data_directory: everything relative lies within.
        server_pair: of connectors without their own.
        directory: recipients; None where it cannot be opened.
        random: gives floats from 0 up to 1.
        seconds: for a connection, a reply, an answer of a DNS server (5 at most).
        by: `BY_SERVER` or `BY_COMMAND`.
        certificates: the pairs of [[certificates]], and those that the server keeps.
        secure_domains: TLSSendDomainSecureList, lower case.
        users: the logins of the user file, none where it cannot be read.
        ldap_logins: where further logins come from.
        tokens: for connectors that log on with access tokens.
        own_connections: where the server is told which connections are its own tests; unheard of by anybody else's.
    """

    accepted_domains: Sequence[AcceptedDomain]
    receive_connectors: Sequence[ReceiveConnector]
    send_connectors: Sequence[SendConnector]
    foreign_connectors: Sequence[ForeignConnector]
    mailbox_store: MailboxStore
    dns_servers: Sequence[str]
    fqdn: str
    data_directory: Path
    server_pair: CertificatePair
    directory: Directory | None
    clock: Clock
    random: Callable[[], float]
    seconds: float = 30.0
    by: str = BY_SERVER
    certificates: Sequence[CertificatePair] = ()
    secure_domains: Collection[str] = ()
    devices: Sequence[Device] = ()
    sender_exceptions: Sequence[SenderException] = ()
    users: Sequence[User] = ()
    ldap_logins: LdapSettings = LdapSettings()
    tokens: TokenSource | None = None
    own_connections: OwnConnections = msgspec.field(default_factory=OwnConnections)

    @property
    def dns_seconds(self) -> float:
        return min(self.seconds, 5.0)

    @property
    def accepted(self) -> AcceptedDomains:
        return AcceptedDomains(self.accepted_domains)

    @property
    def postmaster(self) -> Mailbox:
        """Ours; the null reverse-path where no domain is ours."""
        domain = self.accepted.default_name
        return Mailbox("postmaster", domain) if domain else NULL

    @property
    def own_endpoints(self) -> frozenset[tuple[str, int]]:
        """(address, port) of every receive connector."""
        bindings = [parse_binding(text) for one in self.receive_connectors if one.enabled for text in one.bindings]
        return frozenset((str(binding.address), binding.port) for binding in bindings)

    def asked_servers(self, connector: SendConnector | None = None) -> list[str]:
        """The DNS servers that delivery asks for a connector."""
        own = connector.dns_servers if connector is not None else []
        return list(own or self.dns_servers or system_servers() or [_LOOPBACK])

    def send_connector(self, name: str) -> SendConnector:
        """By name. Raises AdminFault."""
        return _named(name, self.send_connectors, "send connector")

    def certificate_file(self, connector: ReceiveConnector) -> Path:
        """The PEM file whose certificate a receive connector shows. Raises CertificateError."""
        return self._certificate_store.choose(server_tls(connector, connector.fqdn or self.fqdn)).certificate

    def client_pair(self, connector: SendConnector) -> CertificatePair | None:
        """The certificate that a send connector shows. Raises CertificateError."""
        return client_pair(connector, self._certificate_store)

    @property
    def _certificate_store(self) -> CertificateStore:
        """Made anew each time: files may have changed."""
        return CertificateStore(self.data_directory, self.server_pair, lambda _: None, self.certificates)

    def receive_connector(self, name: str) -> ReceiveConnector:
        """By name. Raises AdminFault."""
        return _named(name, self.receive_connectors, "receive connector")


def site_of(
    configuration: SiteConfiguration, data_directory: Path, *, fqdn: str, directory: Directory | None, clock: Clock,
    random: Callable[[], float], by: str, users: Sequence[User] = (), tokens: TokenSource | None = None,
    own_connections: OwnConnections | None = None,
) -> Site:  # fmt: skip
    """The site of a configuration."""
    return Site(
        accepted_domains=configuration.accepted_domains,
        receive_connectors=configuration.receive_connectors,
        send_connectors=configuration.send_connectors,
        foreign_connectors=configuration.foreign_connectors,
        mailbox_store=configuration.mailbox_store,
        dns_servers=configuration.server.dns_servers,
        fqdn=fqdn,
        data_directory=data_directory,
        server_pair=_server_pair(configuration.server, data_directory),
        directory=directory,
        clock=clock,
        random=random,
        seconds=configuration.connector_tests.step_timeout.total_seconds(),
        by=by,
        certificates=[
            CertificatePair(data_directory / one.certificate_file, data_directory / one.key_file)
            for one in configuration.certificates
        ]
        + CertificateFolder(data_directory).pairs(),
        secure_domains=[domain_key(domain) for domain in configuration.tls.tls_send_domain_secure_list],
        devices=configuration.devices,
        sender_exceptions=configuration.sender_exceptions,
        users=users,
        ldap_logins=configuration.ldap_logins,
        tokens=tokens,
        own_connections=OwnConnections() if own_connections is None else own_connections,
    )


def _server_pair(server: ServerPart, data_directory: Path) -> CertificatePair:
    """The server's own; where none is configured, the self-signed one of its first start."""
    if not server.tls_certificate_file:
        return self_signed_pair(data_directory)
    return CertificatePair(data_directory / server.tls_certificate_file, data_directory / server.tls_key_file)


def _named(name: str, connectors: Sequence[Connector], what: str) -> Connector:
    for connector in connectors:
        if connector.name.casefold() == name.casefold():
            return connector
    names = ", ".join(f'"{connector.name}"' for connector in connectors) or "none"
    raise AdminFault(NOT_FOUND, f'there is no {what} "{name}"', f"those there are: {names}")
