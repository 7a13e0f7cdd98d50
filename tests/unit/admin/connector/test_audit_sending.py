# SPDX-License-Identifier: MIT
"""What the audit says of send connectors."""

from typing import Any

import pytest

from bridgehead.admin.connector.audit_sending import sending_exposures
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism, TlsAuthLevel, TlsVersion

LOGIN = {
    "smart_host_auth_mechanism": SmartHostAuthMechanism.BASIC_AUTH, "authentication_username": "relay",
    "smart_hosts": ["relay.example"], "require_tls": True,
}  # fmt: skip
UNCHECKED = {**LOGIN, "tls_auth_level": TlsAuthLevel.ENCRYPTION_ONLY}
CHAIN = {**LOGIN, "tls_auth_level": TlsAuthLevel.CERTIFICATE_VALIDATION}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        (LOGIN, []),
        ({**LOGIN, "smart_host_auth_mechanism": SmartHostAuthMechanism.OAUTH}, []),
        ({**UNCHECKED, "smart_host_auth_mechanism": SmartHostAuthMechanism.CLIENT_CERTIFICATE}, []),
        (UNCHECKED, ["credentials-to-anybody"]),
        ({**UNCHECKED, "enabled": False}, []),
        (CHAIN, ["credentials-to-any-name"]),
        ({**CHAIN, "tls_ca_file": "relay.pem"}, []),
        ({"tls_minimum_version": TlsVersion.TLS_1_0}, ["old-tls"]),
    ],
)
def test_exposures(settings: dict[str, Any], names: list[str]) -> None:
    found = list(sending_exposures([SendConnector(name="Out", address_spaces=["*"], **settings)]))
    assert [one.name for one in found] == names
    for one in found:
        assert one.setting.startswith("tls_")
        assert one.remedy
        assert one.connector == "send connector Out"
