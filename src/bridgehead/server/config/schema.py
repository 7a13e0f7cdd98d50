# SPDX-License-Identifier: MIT
"""The configuration as a whole: which rooms' settings stand under which table of `bridgehead.toml`."""

import msgspec

from bridgehead.admin.probe.settings import ConnectorTestSettings
from bridgehead.admin.settings import ApiSettings
from bridgehead.categorizer.settings import CategorizerSettings
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.directory.settings import DirectorySettings
from bridgehead.monitoring.settings import AlarmSettings, MonitoringSettings
from bridgehead.net.acme.settings import AcmeSettings
from bridgehead.net.certificates.settings import Certificate, TlsSettings
from bridgehead.net.sts.settings import MtaStsSettings
from bridgehead.queues.settings import BackPressureSettings, QueueSettings
from bridgehead.receive.logons.ldap.settings import LdapSettings
from bridgehead.receive.logons.settings import AuthServer, KerberosSettings, LockoutSettings
from bridgehead.receive.settings import Device, PickupSettings, ReceiveConnector, SenderException
from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, MailboxStore, SendConnector
from bridgehead.tracking.settings import LogSettings
from bridgehead.tracking.tls_reports.settings import TlsReportSettings


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server as a whole.

    Attributes:
        fqdn: our name in banners, EHLO, Received and reports; "" asks the system.
        data_directory: everything relative lies within; created with mode 0700.
        dns_servers: "192.0.2.53" or "192.0.2.53:5353"; empty: /etc/resolv.conf.
        tls_certificate_file, tls_key_file: PEM pair of connectors without their own; a self-signed pair is made at
            first start where these are empty.
        control_socket: Unix socket of the management interface, within the data directory.
        workers: processes that move mail, each with a queue of its own; more than one use as many processors.
        user, group: unprivileged account taken after binding, when started as root; "" keeps.
    """

    fqdn: str = ""
    data_directory: str = "/var/lib/bridgehead"
    dns_servers: list[str] = []
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    control_socket: str = "control.sock"
    workers: int = 1
    user: str = ""
    group: str = ""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in `bridgehead.toml` and `conf.d/*.toml`."""

    server: ServerSettings = ServerSettings()
    queues: QueueSettings = QueueSettings()
    back_pressure: BackPressureSettings = BackPressureSettings()
    categorizer: CategorizerSettings = CategorizerSettings()
    delivery: DeliverySettings = DeliverySettings()
    directory: DirectorySettings = DirectorySettings()
    logs: LogSettings = LogSettings()
    api: ApiSettings = ApiSettings()
    alarms: AlarmSettings = AlarmSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    connector_tests: ConnectorTestSettings = ConnectorTestSettings()
    pickup: PickupSettings = PickupSettings()
    lockout: LockoutSettings = LockoutSettings()
    auth_servers: list[AuthServer] = []
    ldap_logins: LdapSettings = LdapSettings()
    kerberos: KerberosSettings = KerberosSettings()
    tls: TlsSettings = TlsSettings()
    tls_reports: TlsReportSettings = TlsReportSettings()
    certificates: list[Certificate] = []
    acme: AcmeSettings = AcmeSettings()
    mta_sts: MtaStsSettings = MtaStsSettings()
    accepted_domains: list[AcceptedDomain] = []
    receive_connectors: list[ReceiveConnector] = []
    sender_exceptions: list[SenderException] = []
    devices: list[Device] = []
    send_connectors: list[SendConnector] = []
    foreign_connectors: list[ForeignConnector] = []
    mailbox_store: MailboxStore = MailboxStore()
