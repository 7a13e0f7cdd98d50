# SPDX-License-Identifier: MIT
"""What TLS is demanded, and which certificate names satisfy it."""

import pytest

from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism, TlsAuthLevel
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse, name_matches, tls_policy


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, TlsPolicy(TlsUse.OPPORTUNISTIC)),
        ({"ignore_starttls": True}, TlsPolicy(TlsUse.NEVER)),
        ({"require_tls": True}, TlsPolicy(TlsUse.REQUIRED)),
        ({"tls_auth_level": TlsAuthLevel.ENCRYPTION_ONLY}, TlsPolicy(TlsUse.REQUIRED)),
        (
            {"tls_auth_level": TlsAuthLevel.CERTIFICATE_VALIDATION, "tls_ca_file": "ca.pem"},
            TlsPolicy(TlsUse.REQUIRED, True, "", "ca.pem"),
        ),
        ({"tls_auth_level": TlsAuthLevel.DOMAIN_VALIDATION}, TlsPolicy(TlsUse.REQUIRED, True, "contoso.com")),
        (
            {"tls_auth_level": TlsAuthLevel.DOMAIN_VALIDATION, "tls_domain": "*.Fabrikam.com"},
            TlsPolicy(TlsUse.REQUIRED, True, "*.fabrikam.com"),
        ),
        (
            {"smart_host_auth_mechanism": SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS},
            TlsPolicy(TlsUse.REQUIRED, True, "contoso.com"),
        ),
        (
            {"smart_host_auth_mechanism": SmartHostAuthMechanism.OAUTH},
            TlsPolicy(TlsUse.REQUIRED, True, "contoso.com"),
        ),
        (
            {"smart_host_auth_mechanism": SmartHostAuthMechanism.CLIENT_CERTIFICATE},
            TlsPolicy(TlsUse.REQUIRED),
        ),
        (
            {"smart_host_auth_mechanism": SmartHostAuthMechanism.BASIC_AUTH, "ignore_starttls": True},
            TlsPolicy(TlsUse.REQUIRED, True, "contoso.com"),
        ),
        (
            {
                "smart_host_auth_mechanism": SmartHostAuthMechanism.BASIC_AUTH,
                "tls_auth_level": TlsAuthLevel.ENCRYPTION_ONLY,
            },
            TlsPolicy(TlsUse.REQUIRED),
        ),
    ],
)
def test_policy(settings, wanted):
    assert tls_policy(SendConnector(name="x", address_spaces=["*"], **settings), "contoso.com") == wanted


@pytest.mark.parametrize(
    ("names", "wanted", "matches"),
    [
        (["mx.contoso.com"], "mx.contoso.com", True),
        (["MX.Contoso.COM"], "mx.contoso.com.", True),
        (["a.test", "mx.contoso.com"], "mx.contoso.com", True),
        (["*.contoso.com"], "mx.contoso.com", True),
        (["*.contoso.com"], "a.mx.contoso.com", False),
        (["*.contoso.com"], "contoso.com", False),
        (["*.com"], "contoso.com", False),
        (["*"], "contoso.com", False),
        (["contoso.com"], "mx.contoso.com", False),
        (["*.contoso.com"], "*.contoso.com", True),
        (["mx.contoso.com"], "*.contoso.com", True),
        (["contoso.com"], "*.contoso.com", False),
        (["evilcontoso.com"], "*.contoso.com", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["*.0.2.1"], "192.0.2.1", False),
        ([], "contoso.com", False),
    ],
)
def test_names(names, wanted, matches):
    assert name_matches(names, wanted) is matches
