# SPDX-License-Identifier: MIT
"""The parts of one configuration that a reload replaces: directory, domains, connectors, couriers.

They are made as a whole before any is put into force, so that a configuration that cannot be made changes nothing.
"""

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.delivery.foreign import ForeignCourier
from bridgehead.delivery.lmtp import LmtpCourier
from bridgehead.delivery.mailbox import MaildirCourier
from bridgehead.delivery.ports import Courier, WorkSource
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.delivery.smtp_send.domain_policy import OutboundTls
from bridgehead.delivery.smtp_send.log_on import TokenSource
from bridgehead.delivery.smtp_send.security import client_tls
from bridgehead.directory.file import FileDirectory
from bridgehead.directory.lookup import Directory
from bridgehead.directory.sqlite import SqliteDirectory
from bridgehead.mail.address import domain_key
from bridgehead.net.certificates.clients import ClientCertificates
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import CertificateStore
from bridgehead.net.clock import Clock
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.net.ip_range import parse_binding
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector, StoreProtocol
from bridgehead.server.config.checks.files import certificate_pairs, server_pair
from bridgehead.server.config.load import Loaded
from bridgehead.tracking.ports import ConnectivityLog, Flights, ProtocolLog

log = logging.getLogger("bridgehead.server")


ReadReports = Callable[[WorkSource, str], WorkSource]
"""Reads, on its way to the mailboxes, the mail to an address."""


class OutboundLogs(Protocol):
    """Where couriers write their transcripts."""

    @property
    def smtp_send(self) -> ProtocolLog: ...

    @property
    def connectivity(self) -> ConnectivityLog: ...

    @property
    def flights(self) -> Flights: ...


class Rooms:
    """What one configuration is made into. Raises DirectoryUnavailable, OSError and what the parts raise."""

    def __init__(
        self, loaded: Loaded, fqdn: str, clock: Clock, logs: OutboundLogs, outbound_tls: OutboundTls | None = None,
        tokens: TokenSource | None = None, read_reports: ReadReports | None = None,
        client_certificates: ClientCertificates | None = None,
    ) -> None:  # fmt: skip
        self._client_certificates = client_certificates or ClientCertificates()
        configuration = loaded.configuration
        self.loaded = loaded
        self._read_reports = read_reports if configuration.tls_reports.report_address else None
        self._fqdn, self._clock, self._logs = fqdn, clock, logs
        self.accepted_domains = AcceptedDomains(configuration.accepted_domains)
        self.directory = open_directory(
            loaded.within(configuration.directory.recipients_file), configuration.categorizer.plus_addressing_enabled
        )
        self.connectors = ConnectorSelection(
            configuration.send_connectors, configuration.foreign_connectors, self.accepted_domains
        )
        self.mail_flow = MailFlow(
            directory=self.directory,
            accepted_domains=self.accepted_domains,
            connectors=self.connectors,
            mailbox_store=configuration.mailbox_store.name,
            settings=configuration.categorizer,
        )
        self.certificates = CertificateStore(
            loaded.data_directory, server_pair(loaded), log.error, certificate_pairs(loaded)
        )
        """What send connectors show."""
        self.resolver = SecureResolver(
            configuration.server.dns_servers, clock=clock, trusted=configuration.tls.dnssec_resolvers
        )
        self._foreign = {one.name: one for one in configuration.foreign_connectors}
        self._smtp = SmtpCourierFactory(
            connectors={one.name: one for one in configuration.send_connectors},
            settings=configuration.delivery,
            fqdn=fqdn,
            own_addresses=_own_addresses(configuration.receive_connectors),
            resolver=self.resolver,
            clock=clock,
            random=random.random,
            protocol_log=logs.smtp_send,
            connectivity_log=logs.connectivity,
            client_pair=self.client_pair,
            secure_domains=[domain_key(domain) for domain in configuration.tls.tls_send_domain_secure_list],
            flights=logs.flights,
            tokens=tokens,
            outbound_tls=outbound_tls,
        )

    def client_pair(self, connector: SendConnector) -> CertificatePair | None:
        """The certificate that a connector shows, as it was last found good. Raises CertificateError."""
        tls = client_tls(connector)
        return self._client_certificates.shown(tls, self.certificates.choose) if tls is not None else None

    def look_at_certificates(self) -> None:
        """Find out now, rather than at the next connection, whether certificates of send connectors changed."""
        self.certificates.look_again()
        for connector in self.loaded.configuration.send_connectors:
            if connector.enabled:
                with suppress(CertificateError):  # told where it is needed: at the connection
                    self.client_pair(connector)

    def courier_for(self, next_hop: NextHop, source: WorkSource) -> Courier:
        """The courier of a delivery queue. Raises KeyError where the connector is no longer configured."""
        store = self.loaded.configuration.mailbox_store
        if next_hop.delivery_type is DeliveryType.MAILBOX and self._read_reports is not None:
            source = self._read_reports(source, self.loaded.configuration.tls_reports.report_address)
        match next_hop.delivery_type:
            case DeliveryType.MAILBOX if store.protocol is StoreProtocol.LMTP:
                return LmtpCourier(
                    store, source, fqdn=self._fqdn, resolver=self.resolver, clock=self._clock, random=random.random,
                    protocol_log=self._logs.smtp_send, connectivity_log=self._logs.connectivity,
                )  # fmt: skip
            case DeliveryType.MAILBOX:
                return MaildirCourier(self.loaded.within(store.path), store, source, self._fqdn)
            case DeliveryType.NON_SMTP_GATEWAY:
                connector = self._foreign[next_hop.connector]
                return ForeignCourier(connector, source, self.loaded.within(connector.drop_directory))
            case _:
                return self._smtp.courier(next_hop, source)

    @property
    def open_connections(self) -> int:
        """Connections to next hops that are open now."""
        return self._smtp.limiter.used

    def flush_caches(self) -> None:
        """Forget what can be looked up again."""
        self.resolver.flush_cache()
        if isinstance(self.directory, SqliteDirectory):
            self.directory.flush_cache()

    async def close(self) -> None:
        """Release what is no longer in force."""
        await self.resolver.close()


def _own_addresses(connectors: Sequence[ReceiveConnector]) -> list[tuple[str, int]]:
    """(address, port) of every receive connector."""
    bindings = [parse_binding(text) for one in connectors if one.enabled for text in one.bindings]
    return [(str(binding.address), binding.port) for binding in bindings]


def open_directory(path: Path, plus_addressing: bool) -> Directory:
    """The recipients: a TOML file or an SQLite database, by the name's ending. Raises DirectoryUnavailable."""
    if path.suffix == ".toml":
        return FileDirectory(path, plus_addressing=plus_addressing)
    return SqliteDirectory(path, plus_addressing=plus_addressing)


def secure_domains(loaded: Loaded) -> list[str]:
    """TLSReceiveDomainSecureList, in the form used to compare."""
    return [domain_key(domain) for domain in loaded.configuration.tls.tls_receive_domain_secure_list]
