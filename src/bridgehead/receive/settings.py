# SPDX-License-Identifier: MIT
"""Settings of receive connectors and of the pickup and replay directories (Exchange's names in snake case)."""

from datetime import date
from enum import StrEnum

import msgspec

from bridgehead.mail.units import UNLIMITED, ByteSize, Count, Duration
from bridgehead.routing.settings import ProtocolLoggingLevel, TlsVersion


class AuthMechanism(StrEnum):
    """AuthMechanism of Set-ReceiveConnector, as far as a stand-alone transport has use for it."""

    NONE = "None"
    TLS = "Tls"
    BASIC_AUTH = "BasicAuth"
    BASIC_AUTH_REQUIRE_TLS = "BasicAuthRequireTLS"
    SCRAM_SHA_256 = "ScramSha256"
    OAUTH = "OAuth"
    EXTERNAL = "External"
    INTEGRATED = "Integrated"
    EXTERNAL_AUTHORITATIVE = "ExternalAuthoritative"


class PermissionGroup(StrEnum):
    NONE = "None"
    ANONYMOUS_USERS = "AnonymousUsers"
    EXCHANGE_USERS = "ExchangeUsers"
    EXCHANGE_SERVERS = "ExchangeServers"
    EXCHANGE_LEGACY_SERVERS = "ExchangeLegacyServers"
    PARTNERS = "Partners"
    CUSTOM = "Custom"


class Right(StrEnum):
    """Extended rights that a session may have on a receive connector, by Exchange's names."""

    SUBMIT = "ms-Exch-SMTP-Submit"
    ACCEPT_ANY_RECIPIENT = "ms-Exch-SMTP-Accept-Any-Recipient"
    ACCEPT_ANY_SENDER = "ms-Exch-SMTP-Accept-Any-Sender"
    ACCEPT_AUTHORITATIVE_DOMAIN_SENDER = "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"
    ACCEPT_AUTHENTICATION_FLAG = "ms-Exch-SMTP-Accept-Authentication-Flag"
    ACCEPT_HEADERS_ROUTING = "ms-Exch-Accept-Headers-Routing"
    ACCEPT_HEADERS_ORGANIZATION = "ms-Exch-Accept-Headers-Organization"
    ACCEPT_HEADERS_FOREST = "ms-Exch-Accept-Headers-Forest"
    BYPASS_ANTI_SPAM = "ms-Exch-Bypass-Anti-Spam"
    BYPASS_MESSAGE_SIZE_LIMIT = "ms-Exch-Bypass-Message-Size-Limit"


class Grantee(StrEnum):
    """Whom a single right is granted to or denied, beyond the permission groups."""

    ANONYMOUS = "Anonymous"
    AUTHENTICATED_USERS = "AuthenticatedUsers"
    EXTERNALLY_SECURED = "ExternallySecured"
    PARTNERS = "Partners"


class ExtendedRight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add-ADPermission for one class of principals: rights added, rights denied (denial wins)."""

    principal: Grantee
    grant: list[Right] = []
    deny: list[Right] = []


class MessageRateSource(StrEnum):
    NONE = "None"
    IP_ADDRESS = "IPAddress"
    USER = "User"
    ALL = "All"


class SizeMode(StrEnum):
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    ENABLED_WITHOUT_VALUE = "EnabledWithoutValue"


class ExtendedProtectionPolicy(StrEnum):
    """Whether a Kerberos logon must be bound to the TLS connection that it comes over (ExtendedProtectionPolicy)."""

    NONE = "None"
    ALLOW = "Allow"
    REQUIRE = "Require"


class NonCompliantSenderPolicy(StrEnum):
    """What becomes of a message whose From field could show different readers different authors."""

    REJECT = "Reject"
    TAG = "Tag"
    ACCEPT = "Accept"


class ReceiveConnector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accepts connections, chosen by binding and most specific remote range (Set-ReceiveConnector).

    Attributes beyond Exchange's, or narrower than there:
        bindings: "0.0.0.0:25", "[::]:25", "127.0.0.1:2525".
        remote_ip_ranges: "10.0.0.0/8", "10.2.0.1-10.2.0.99", "10.2.0.17", IPv6 alike.
        implicit_tls: TLS from the first byte (port 465, RFC 8314).
        bare_linefeed_repair: bare LF from this connector's devices becomes CR LF before anything else sees it; without
            it bare CR, bare LF and NUL are refused whatever `bare_linefeed_rejection_enabled` of Exchange would say.
        proxy_protocol_sources: only these may, and then must, send a PROXY protocol header (v1 or v2).
        reject_unknown_recipients: 550 5.1.1 at RCPT for recipients of authoritative domains that do not exist.
        anti_spoofing_enabled: a stranger's mail from an accepted domain is refused unless SPF or DKIM vouches for it
            (aligned) or a sender exception allows it; unset: where the connector is open to the Internet, that is,
            neither its bindings nor its remote ranges keep strangers away.
        non_compliant_sender_policy: several From fields or authors, group syntax, text after a semicolon, controls:
            Reject, Tag (X-MS-Exchange-P2FromRegexMatch) or Accept; what is merely malformed is tagged unless Accept.
        tls_certificate_file, tls_key_file: PEM; empty: the best of [[certificates]] for `fqdn`, else the server's own.
        tls_certificate_name: pins one of [[certificates]] by a name that it carries ("mail.contoso.com", so that a
            renewal changes nothing) or as Exchange does: "<I>issuer<S>subject".
        tls_minimum_version: "1.2" unless old devices need less, which every audit says.
        tls_ciphers: OpenSSL's list for TLS 1.2 and before; empty: forward secrecy and authenticated encryption only.
        tls_ca_file, tls_crl_file: PEM; whom client certificates must lead to (empty: the system's trust anchors), and
            which of them were revoked.
        domain_secure_enabled: clients are asked for a certificate; one that carries a domain of
            `tls_receive_domain_secure_list` makes the session that partner, and mail from such a domain needs it.
        tls_domain_capabilities: "mail.protection.outlook.com:AcceptCloudServicesMail": what a client may do that proves
            this name by its certificate.
        extended_protection_policy: of logons by Kerberos: a binding to another TLS connection is refused (Allow), so is
            a logon without one (Require), or neither is looked at (None, behind a proxy that ends TLS).
        ntlm_enabled: clients without a Kerberos ticket may log in by NTLM within SPNEGO, bound to the TLS connection.
            Off, as a password can be guessed from what was overheard.
        extended_rights: single rights beyond the permission groups.
        expect: what must hold of this connector, tested at each change and at intervals: "relay denied from 192.0.2.1".
    """

    name: str
    bindings: list[str]
    remote_ip_ranges: list[str] = msgspec.field(default_factory=lambda: ["0.0.0.0/0", "::/0"])
    enabled: bool = True
    comment: str = ""
    auth_mechanism: list[AuthMechanism] = msgspec.field(default_factory=lambda: [AuthMechanism.TLS])
    permission_groups: list[PermissionGroup] = msgspec.field(default_factory=lambda: [PermissionGroup.NONE])
    extended_rights: list[ExtendedRight] = []
    expect: list[str] = []
    fqdn: str = ""
    banner: str = ""
    default_domain: str = ""
    implicit_tls: bool = False
    require_tls: bool = False
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    tls_certificate_name: str = ""
    tls_minimum_version: TlsVersion = TlsVersion.TLS_1_2
    tls_ciphers: str = ""
    tls_ca_file: str = ""
    tls_crl_file: str = ""
    domain_secure_enabled: bool = False
    extended_protection_policy: ExtendedProtectionPolicy = ExtendedProtectionPolicy.ALLOW
    ntlm_enabled: bool = False
    tls_domain_capabilities: list[str] = []
    proxy_protocol_sources: list[str] = []
    pipelining_enabled: bool = True
    eight_bit_mime_enabled: bool = True
    binary_mime_enabled: bool = True
    chunking_enabled: bool = True
    smtp_utf8_enabled: bool = True
    delivery_status_notification_enabled: bool = True
    enhanced_status_codes_enabled: bool = True
    size_enabled: SizeMode = SizeMode.ENABLED
    bare_linefeed_repair: bool = False
    require_ehlo_domain: bool = False
    reject_unknown_recipients: bool = True
    anti_spoofing_enabled: bool | None = None
    non_compliant_sender_policy: NonCompliantSenderPolicy = NonCompliantSenderPolicy.REJECT
    reject_reserved_top_level_recipient_domains: bool = False
    reject_reserved_second_level_recipient_domains: bool = False
    reject_single_label_recipient_domains: bool = False
    max_inbound_connection: Count = Count(5000)
    max_inbound_connection_per_source: Count = Count(20)
    max_inbound_connection_percentage_per_source: int = 2
    message_rate_limit: Count = Count(UNLIMITED)
    message_rate_source: MessageRateSource = MessageRateSource.IP_ADDRESS
    max_protocol_errors: Count = Count(5)
    max_logon_failures: int = 3
    max_message_size: ByteSize = ByteSize(36 * 1024**2)
    max_header_size: ByteSize = ByteSize(256 * 1024)
    max_recipients_per_message: int = 200
    max_hop_count: int = 60
    max_local_hop_count: int = 8
    connection_timeout: Duration = Duration(minutes=10)
    connection_inactivity_timeout: Duration = Duration(minutes=5)
    tarpit_interval: Duration = Duration(seconds=5)
    auth_tarpit_interval: Duration = Duration(seconds=5)
    protocol_logging_level: ProtocolLoggingLevel = ProtocolLoggingLevel.NONE


class SenderException(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody outside who may send in our name (New-TenantAllowBlockListSpoofItems, with an owner and an end).

    Attributes:
        name: what logs call it.
        owner: who answers for it, for the people who read the configuration.
        expires: last day, UTC, on which it is good: 2027-03-31.
        senders: "scanner@contoso.com", or "*@news.contoso.com" for a whole domain.
        remote_ip_ranges: clients it is good for.
        comment: for people.
    """

    name: str
    owner: str
    expires: date
    senders: list[str]
    remote_ip_ranges: list[str]
    comment: str = ""


class SignedContent(StrEnum):
    """What becomes of a device's message with a DKIM signature whose author would have to be rewritten."""

    REJECT = "Reject"
    REMOVE_SIGNATURES = "RemoveSignatures"


class DeviceTls(StrEnum):
    """Whether a device is offered TLS by STARTTLS."""

    CONNECTOR = "Connector"
    OFF = "Off"
    OFFERED = "Offered"
    REQUIRED = "Required"


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A printer, scanner or program that is known by its address alone, and may do what stands here and no more.

    Sessions from its addresses run as "device:NAME" whatever the connector grants to others; no login is offered.

    Attributes:
        name: what logs and commands call it: "printer-3".
        remote_ip_ranges: its addresses, as those of receive connectors. Of two devices the narrower range wins.
        owner: who answers for it.
        receive_connectors: names of the connectors where it is known; empty: all that take its address.
        allowed_senders: as whom it may send, in MAIL and in From: "scanner@contoso.com", "*@devices.contoso.com", "*".
        rewrite_sender: in place of any other sender it gets this one; who stood in From before goes to Reply-To unless
            there is one. Empty: other senders are refused.
        signed_content: Reject or RemoveSignatures, where rewriting would break a DKIM signature.
        allowed_recipients: to whom it may send, and to nobody else: addresses, "*@fabrikam.com", "*" for anybody;
            empty: to recipients in accepted domains.
        default_domain: completes senders and recipients without a domain; empty: the connector's.
        counts_as_inside: its mail counts as sent by an authenticated sender (ms-Exch-SMTP-Accept-Authentication-Flag).
        message_rate_limit: messages in a minute, from all of its addresses together.
        tls: Connector (as the connector has it), Off, Offered, Required.
        tls_minimum_version, tls_ciphers: for this device alone; not given: the connector's.
        bare_linefeed_repair: bare LF becomes CR LF, also where the connector does not do so.
        silence_after: alarm when nothing came for so long; 0: as its habit is (alarms.source_silence_*).
    """

    name: str
    remote_ip_ranges: list[str]
    enabled: bool = True
    owner: str = ""
    comment: str = ""
    receive_connectors: list[str] = []
    allowed_senders: list[str] = []
    rewrite_sender: str = ""
    signed_content: SignedContent = SignedContent.REJECT
    allowed_recipients: list[str] = []
    default_domain: str = ""
    counts_as_inside: bool = False
    message_rate_limit: Count = Count(UNLIMITED)
    max_message_size: ByteSize = ByteSize(36 * 1024**2)
    max_recipients_per_message: int = 200
    tls: DeviceTls = DeviceTls.CONNECTOR
    tls_minimum_version: TlsVersion | None = None
    tls_ciphers: str = ""
    bare_linefeed_repair: bool = False
    silence_after: Duration = Duration(0)


class PickupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pickup and replay directories (Set-TransportService PickupDirectory*, ReplayDirectoryPath); "" disables one."""

    pickup_directory_path: str = "pickup"
    replay_directory_path: str = "replay"
    pickup_directory_max_messages_per_minute: int = 100
    pickup_directory_max_header_size: ByteSize = ByteSize(64 * 1024)
    pickup_directory_max_recipients_per_message: int = 100
    poll_interval: Duration = Duration(seconds=5)
