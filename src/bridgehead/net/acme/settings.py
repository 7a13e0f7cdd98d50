# SPDX-License-Identifier: MIT
"""Settings of ACME (RFC 8555): which certificates an authority issues to us by itself, and how we prove our names."""

from enum import StrEnum

import msgspec

from bridgehead.mail.units import Duration


class AcmeChallenge(StrEnum):
    """How a name is proved: a file over HTTP, a certificate over TLS (RFC 8737), a TXT record by dynamic update."""

    HTTP_01 = "http-01"
    TLS_ALPN_01 = "tls-alpn-01"
    DNS_01 = "dns-01"


class AcmeKeyType(StrEnum):
    """Keys of certificates: P-256, or RSA of 2048 bits for clients of another age."""

    ECDSA = "ECDSA"
    RSA = "RSA"


class AcmeCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One certificate that is fetched and renewed.

    Attributes:
        name: under which it is kept; one of its names by default.
        names: DNS names; "*.contoso.com" takes dns-01. Empty: `name` alone.
        challenge: how they are proved; empty: as `[acme]` says.
    """

    name: str
    names: list[str] = []
    challenge: AcmeChallenge | None = None

    @property
    def all_names(self) -> list[str]:
        """Lower case, in order."""
        return list(dict.fromkeys(name.rstrip(".").lower() for name in self.names or [self.name]))


class AcmeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The authority, our account there, and what answers its challenges.

    Attributes:
        directory_url: of the authority.
        terms_of_service_agreed: you have read its terms and accept them; nothing is asked of it before.
        contact: mail addresses that it may write to.
        ca_file: PEM of trust anchors for the authority's own HTTPS; empty: the system's.
        external_account_key_id, external_account_secret: of an account that you have there already (RFC 8555 §7.3.4);
            the secret as "file:PATH", "env:NAME" or "credential:NAME".
        challenge: how names are proved; each certificate may have its own.
        key_type: of certificates.
        renew_before: so long before its end a certificate is renewed; at most a third of its life.
        timeout: for one certificate, from the order to the last octet.
        http_binding: http-01: where the authority's requests for port 80 arrive; open only while a name is proved.
        tls_alpn_binding: tls-alpn-01: where those for port 443 arrive; open only while a name is proved.
        dns_server: dns-01: the primary that takes dynamic updates (RFC 2136), "192.0.2.53" or "192.0.2.53:5353".
        dns_zone: the zone to update; empty: asked of `dns_server`.
        dns_key_name, dns_key_algorithm, dns_key_secret: the TSIG key (RFC 8945); the secret, in base64, by reference.
        dns_secondaries: servers that must show the record as well before the authority is told to look.
        dns_propagation_timeout: how long that may take.
    """

    directory_url: str = "https://acme-v02.api.letsencrypt.org/directory"
    terms_of_service_agreed: bool = False
    contact: list[str] = []
    ca_file: str = ""
    external_account_key_id: str = ""
    external_account_secret: str = ""
    challenge: AcmeChallenge = AcmeChallenge.HTTP_01
    key_type: AcmeKeyType = AcmeKeyType.ECDSA
    renew_before: Duration = Duration(days=30)
    timeout: Duration = Duration(minutes=5)
    http_binding: str = "0.0.0.0:80"
    tls_alpn_binding: str = "0.0.0.0:443"
    dns_server: str = ""
    dns_zone: str = ""
    dns_key_name: str = ""
    dns_key_algorithm: str = "hmac-sha256"
    dns_key_secret: str = ""
    dns_secondaries: list[str] = []
    dns_propagation_timeout: Duration = Duration(minutes=2)
    certificates: list[AcmeCertificate] = []
