# SPDX-License-Identifier: MIT
"""What routing decides on: accepted domains and connectors.

The same objects are read by delivery, which opens the connections.
"""

from enum import StrEnum

import msgspec

from bridgehead.mail.units import UNLIMITED, ByteSize, Count, Duration
from bridgehead.routing.oauth_settings import ConnectorOAuth


class DomainType(StrEnum):
    AUTHORITATIVE = "Authoritative"
    INTERNAL_RELAY = "InternalRelay"
    EXTERNAL_RELAY = "ExternalRelay"


class AcceptedDomain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A domain we accept mail for (Set-AcceptedDomain).

    Attributes:
        domain_name: "contoso.com", or "*.contoso.com" for its sub-domains only.
        domain_type: Authoritative: we know every recipient; the relay types pass unknown ones on.
        match_sub_domains: sub-domains are accepted as well.
        make_default: supplies postmaster and the domain of bare addresses; the first domain where none says so.
        name: defaults to `domain_name`.
    """

    domain_name: str
    domain_type: DomainType = DomainType.AUTHORITATIVE
    match_sub_domains: bool = False
    make_default: bool = False
    name: str = ""


class SmartHostAuthMechanism(StrEnum):
    NONE = "None"
    BASIC_AUTH = "BasicAuth"
    BASIC_AUTH_REQUIRE_TLS = "BasicAuthRequireTLS"
    EXTERNAL_AUTHORITATIVE = "ExternalAuthoritative"
    OAUTH = "OAuth"
    """XOAUTH2 or OAUTHBEARER with an access token; not Exchange's."""
    CLIENT_CERTIFICATE = "ClientCertificate"
    """SASL EXTERNAL with the certificate that we show; not Exchange's."""


class TlsAuthLevel(StrEnum):
    """How far the remote server's certificate is checked once TLS is required."""

    NONE = ""
    ENCRYPTION_ONLY = "EncryptionOnly"
    CERTIFICATE_VALIDATION = "CertificateValidation"
    DOMAIN_VALIDATION = "DomainValidation"


class TlsVersion(StrEnum):
    """Protocol versions as settings name them."""

    TLS_1_0 = "1.0"
    TLS_1_1 = "1.1"
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class SmtpDaneMode(StrEnum):
    """Whether TLSA records are looked for, and what follows where there are none."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"
    MANDATORY = "Mandatory"


class MtaStsMode(StrEnum):
    """Whether MTA-STS policies are looked for."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"


class OcspMode(StrEnum):
    """Whether a stapled OCSP response is asked for where certificates are checked."""

    NONE = "None"
    CHECK = "Check"
    """One that comes counts; one must come where the certificate says so."""
    REQUIRE = "Require"


class TlsDowngradeMode(StrEnum):
    """What happens where a domain shows worse TLS than it did."""

    NONE = "None"
    ALARM = "Alarm"
    REFUSE = "Refuse"


class ErrorPolicy(StrEnum):
    DEFAULT = "Default"
    DOWNGRADE_DNS_FAILURES = "DowngradeDnsFailures"
    DOWNGRADE_CUSTOM_FAILURES = "DowngradeCustomFailures"
    UPGRADE_CUSTOM_FAILURES = "UpgradeCustomFailures"
    DOWNGRADE_AUTH_FAILURES = "DowngradeAuthFailures"


class ProtocolLoggingLevel(StrEnum):
    NONE = "None"
    VERBOSE = "Verbose"


class SendConnector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sends to an address space (Set-SendConnector).

    Attributes:
        address_spaces: "SMTP:*;1", "contoso.com;5", "*.contoso.com", "*"; type defaults to SMTP, cost to 1.
        smart_hosts: names (MX or A), "[192.0.2.1]", "192.0.2.1", each with an optional ":port"; empty with DNS routing.
        authentication_username, authentication_password: for BasicAuth, the name for OAuth and ClientCertificate too;
            the password as "file:PATH", "env:NAME" or "credential:NAME" (systemd).
        oauth: where access tokens come from, for OAuth.
        custom_failures: reply codes or enhanced codes that the error policies up- or downgrade.
        source_ip_addresses: one for each address family; empty: the system chooses.
        dns_servers: "192.0.2.53" or "192.0.2.53:5353"; empty: the server's.
        tls_domain: name to match under DomainValidation; "" with DNS routing: the recipient domain.
        tls_ca_file, tls_crl_file: PEM files of trust anchors ("" for the system's), and of what they revoked.
        tls_ocsp_mode: where certificates are checked by trust anchors, ask for a stapled OCSP response: Check refuses
            what it speaks against, Require also a server that staples none. Needs the extra "ocsp".
        tls_certificate_file, tls_key_file, tls_certificate_name: the certificate that we show: a pair of its own, or
            one of [[certificates]] by a name that it carries or by "<I>issuer<S>subject"; none where all are empty.
        tls_minimum_version, tls_ciphers: the oldest version, and OpenSSL's list for TLS 1.2 and before.
        implicit_tls: TLS before the greeting, as on port 465 (RFC 8314); it is required then.
        domain_secure_enabled: domains of `tls_send_domain_secure_list` get their mail over mutual TLS only.
        smtp_dane_mode, mta_sts_mode: with DNS routing, heed TLSA records and MTA-STS policies of recipient domains;
            Mandatory: send only to hosts with usable TLSA records. DANE needs a resolver that is believed.
        tls_downgrade_mode: what happens where a domain shows worse TLS than it did: an alarm, a refusal as well, or
            nothing.
        preserve_routing_headers: the right ms-Exch-Send-Headers-Routing; without it Received fields are removed.
        expect: what must hold of this connector, tested at each change and at intervals: "starttls required".
        max_outbound_connections_per_domain: overrides the transport's own limit; 0 for that limit.
    """

    name: str
    address_spaces: list[str]
    enabled: bool = True
    comment: str = ""
    smart_hosts: list[str] = []
    dns_routing_enabled: bool | None = None
    port: int = 25
    fqdn: str = ""
    max_message_size: ByteSize = ByteSize(35 * 1024**2)
    smtp_max_messages_per_connection: int = 20
    connection_inactivity_timeout: Duration = Duration(minutes=10)
    force_helo: bool = False
    ignore_starttls: bool = False
    require_tls: bool = False
    tls_auth_level: TlsAuthLevel = TlsAuthLevel.NONE
    tls_domain: str = ""
    tls_ca_file: str = ""
    tls_crl_file: str = ""
    tls_ocsp_mode: OcspMode = OcspMode.NONE
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    tls_certificate_name: str = ""
    tls_minimum_version: TlsVersion = TlsVersion.TLS_1_2
    tls_ciphers: str = ""
    implicit_tls: bool = False
    domain_secure_enabled: bool = False
    smtp_dane_mode: SmtpDaneMode = SmtpDaneMode.OPPORTUNISTIC
    mta_sts_mode: MtaStsMode = MtaStsMode.OPPORTUNISTIC
    tls_downgrade_mode: TlsDowngradeMode = TlsDowngradeMode.ALARM
    smart_host_auth_mechanism: SmartHostAuthMechanism = SmartHostAuthMechanism.NONE
    authentication_username: str = ""
    authentication_password: str = ""
    oauth: ConnectorOAuth = ConnectorOAuth()
    error_policies: list[ErrorPolicy] = msgspec.field(default_factory=lambda: [ErrorPolicy.DEFAULT])
    custom_failures: list[str] = []
    source_ip_addresses: list[str] = []
    dns_servers: list[str] = []
    protocol_logging_level: ProtocolLoggingLevel = ProtocolLoggingLevel.NONE
    preserve_routing_headers: bool = True
    expect: list[str] = []
    max_outbound_connections_per_domain: int = 0

    @property
    def routes_by_dns(self) -> bool:
        """DNSRoutingEnabled, which follows from the absence of smart hosts unless it is set."""
        return not self.smart_hosts if self.dns_routing_enabled is None else self.dns_routing_enabled


class ForeignConnector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Writes messages to a drop directory for a gateway that is no SMTP server (Set-ForeignConnector)."""

    name: str
    address_spaces: list[str]
    drop_directory: str
    drop_directory_quota: ByteSize = ByteSize(UNLIMITED)
    enabled: bool = True
    comment: str = ""
    max_message_size: ByteSize = ByteSize(UNLIMITED)
    relay_dsn_required: bool = False


class StoreProtocol(StrEnum):
    MAILDIR = "Maildir"
    LMTP = "LMTP"


class MailboxStore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where local mailboxes are: Maildir folders of ours, or a real store behind LMTP (RFC 2033).

    Attributes:
        path: Maildir: folder that holds one Maildir for each mailbox.
        address: LMTP: "127.0.0.1:24" or "unix:/run/dovecot/lmtp".
        max_concurrent_mailbox_deliveries: Exchange's MaxConcurrentMailboxDeliveries.
        protocol_logging_level: write the LMTP conversations to the protocol log of sent mail.
    """

    name: str = "Mailboxes"
    protocol: StoreProtocol = StoreProtocol.MAILDIR
    path: str = "mailboxes"
    address: str = ""
    max_concurrent_mailbox_deliveries: Count = Count(20)
    protocol_logging_level: ProtocolLoggingLevel = ProtocolLoggingLevel.NONE
