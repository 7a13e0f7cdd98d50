# SPDX-License-Identifier: MIT
"""Settings of what connectors share: certificates, and partners who are known by theirs."""

import msgspec


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate that connectors may show: chosen by name, or pinned (Import-ExchangeCertificate).

    Attributes:
        certificate_file: PEM, its own certificate first, then the intermediate ones: the chain is sent as it stands.
        key_file: PEM, without a passphrase.
    """

    certificate_file: str
    key_file: str


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Domain Security (Set-TransportConfig), and whose word counts on recipient domains' TLS policies.

    Attributes:
        tls_receive_domain_secure_list: partners' domains: mail from them needs a certificate that carries the domain,
            on connectors with `domain_secure_enabled`.
        tls_send_domain_secure_list: partners' domains: mail to them goes over mutual TLS only, by connectors with
            `domain_secure_enabled`.
        dnssec_resolvers: addresses of DNS servers elsewhere whose DNSSEC validation is believed (the AD bit), which
            needs a way there that nobody can tamper with; servers on this machine always are.
        mta_sts_ca_file: trust anchors of MTA-STS policy hosts, PEM; "" for the system's.
        mta_sts_port: of MTA-STS policy hosts; other than 443 in test beds only.
    """

    tls_receive_domain_secure_list: list[str] = []
    tls_send_domain_secure_list: list[str] = []
    dnssec_resolvers: list[str] = []
    mta_sts_ca_file: str = ""
    mta_sts_port: int = 443
