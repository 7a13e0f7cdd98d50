# SPDX-License-Identifier: MIT
"""What TLS a connector demands of a remote server, and whether a certificate's names satisfy it (RFC 3207, RFC 9525).

Pure: the handshake is in `net`, the use in `delivery/smtp_send/security.py`.
"""

from collections.abc import Collection, Iterable
from enum import IntEnum

import msgspec

from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism, TlsAuthLevel


class TlsUse(IntEnum):
    """Whether TLS is started."""

    NEVER = 0
    OPPORTUNISTIC = 1
    """Where offered and working; else the message goes in clear."""
    REQUIRED = 2


class TlsPolicy(msgspec.Struct, frozen=True):
    """What is demanded.

    Attributes:
        use: whether.
        verify_chain: the certificate must lead to a trust anchor.
        match_name: the name that the certificate must carry; "*.contoso.com" for any in it; "" for none.
        ca_file: trust anchors, "" for the system's.
        mutual: we must show a certificate as well (Domain Security).
    """

    use: TlsUse
    verify_chain: bool = False
    match_name: str = ""
    ca_file: str = ""
    mutual: bool = False


def tls_policy(
    connector: SendConnector, wanted_name: str, secure_domains: Collection[str] = (), recipient_domain: str = ""
) -> TlsPolicy:
    """The policy for one host.

    Args:
        secure_domains: TLSSendDomainSecureList, lower case.
        recipient_domain: of the mail, under DNS routing.
        wanted_name: name to match where TlsDomain is blank: the recipient domain (DNS routing), or the smart host as
            configured.
    """
    if connector.domain_secure_enabled and recipient_domain in secure_domains:
        return TlsPolicy(TlsUse.REQUIRED, True, recipient_domain, connector.tls_ca_file, mutual=True)
    level = connector.tls_auth_level
    if level is TlsAuthLevel.NONE and gives_secrets(connector):
        level = TlsAuthLevel.DOMAIN_VALIDATION  # the smart host's certificate must carry its configured name
    shows = connector.smart_host_auth_mechanism is SmartHostAuthMechanism.CLIENT_CERTIFICATE
    if connector.require_tls or connector.implicit_tls or level is not TlsAuthLevel.NONE or shows:
        verify = level in (TlsAuthLevel.CERTIFICATE_VALIDATION, TlsAuthLevel.DOMAIN_VALIDATION)
        name = (connector.tls_domain or wanted_name) if level is TlsAuthLevel.DOMAIN_VALIDATION else ""
        return TlsPolicy(TlsUse.REQUIRED, verify, name.rstrip(".").lower(), connector.tls_ca_file)
    return TlsPolicy(TlsUse.NEVER if connector.ignore_starttls else TlsUse.OPPORTUNISTIC)


def gives_secrets(connector: SendConnector) -> bool:
    """Whether smart hosts are given a password or token, so that whoever takes their place has it."""
    return connector.smart_host_auth_mechanism in (
        SmartHostAuthMechanism.BASIC_AUTH,
        SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS,
        SmartHostAuthMechanism.OAUTH,
    )


def name_matches(certificate_names: Iterable[str], wanted: str) -> bool:
    """Whether one of a certificate's DNS names (or IP addresses) satisfies the wanted name.

    A wildcard in the certificate stands for exactly one left-most label. A wanted "*.contoso.com" (TlsDomain) is
    satisfied by that very wildcard and by any name below contoso.com.
    """
    wanted = wanted.rstrip(".").lower()
    parent = wanted.partition(".")[2]
    for given in certificate_names:
        name = given.rstrip(".").lower()
        if name == wanted:
            return True
        if wanted.startswith("*."):
            if name.endswith(wanted[1:]) and len(name) > len(wanted) - 1:
                return True
        elif name.startswith("*.") and name[2:] == parent and "." in parent and not _is_numeric(wanted):
            return True
    return False


def _is_numeric(name: str) -> bool:
    return name.replace(".", "").isdigit() or ":" in name
