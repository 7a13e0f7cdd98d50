# SPDX-License-Identifier: MIT
"""What a send connector's access tokens need: each mistake is named, sound settings pass."""

from pathlib import Path

import pytest

from bridgehead.server.config.check import check
from bridgehead.server.config.load import read
from bridgehead.server.config.problem import Severity

CONNECTOR = {
    "name": '"Cloud"', "address_spaces": '["*"]', "smart_hosts": '["smtp.office365.com:587"]',
    "smart_host_auth_mechanism": '"OAuth"', "authentication_username": '"scanner@contoso.com"',
}  # fmt: skip
OAUTH = {"tenant": '"contoso.com"', "client_id": '"c"', "client_secret": '"env:HOME"'}


def findings(folder: Path, connector: dict[str, str], oauth: dict[str, str]) -> list[tuple[str, str, Severity]]:
    """(path below the connector, message, severity) of every problem."""
    lines = ["[[accepted_domains]]", 'domain_name = "contoso.test"', "[[send_connectors]]"]
    lines += [f"{name} = {value}" for name, value in {**CONNECTOR, **connector}.items() if value]
    lines += ["[send_connectors.oauth]", *(f"{name} = {value}" for name, value in {**OAUTH, **oauth}.items() if value)]
    file = folder / "bridgehead.toml"
    file.write_text("\n".join(lines) + "\n")
    return [
        (problem.path.partition("].")[2], problem.message, problem.severity)
        for problem in check(read(file))
        if problem.path.startswith("send_connectors")
    ]


@pytest.mark.parametrize(
    "oauth",
    [
        {},
        {"grant": '"DeviceCode"', "client_secret": "", "tenant": '"common"'},
        {"provider": '"Other"', "token_url": '"https://login.test/t"', "scopes": '["smtp"]', "tenant": ""},
        {"http_proxy": '"http://proxy.contoso.com:3128"'},
    ],
)
def test_sound_settings(tmp_path: Path, oauth: dict[str, str]) -> None:
    assert findings(tmp_path, {}, oauth) == []


@pytest.mark.parametrize(
    ("connector", "oauth", "path", "message"),
    [
        ({"authentication_username": ""}, {}, "smart_host_auth_mechanism", "needs the mailbox"),
        ({"authentication_username": '"a b"'}, {}, "authentication_username", "no mailbox"),
        ({"smart_hosts": ""}, {}, "smart_host_auth_mechanism", "is for smart hosts"),
        ({"ignore_starttls": "true"}, {}, "smart_host_auth_mechanism", "over TLS only"),
        ({"require_tls": "true", "tls_auth_level": '"EncryptionOnly"'}, {}, "tls_auth_level", "whoever answers"),
        ({"require_tls": "true", "tls_auth_level": '"CertificateValidation"'}, {}, "tls_auth_level", "host's name"),
        ({}, {"tenant": ""}, "oauth.provider", "needs the tenant"),
        ({}, {"tenant": '"common"'}, "oauth.tenant", "one tenant"),
        ({}, {"tenant": '"a/b"'}, "oauth.tenant", "no tenant"),
        ({}, {"client_id": ""}, "oauth.grant", "needs client_id"),
        ({}, {"client_secret": ""}, "oauth.grant", "prove itself"),
        ({}, {"client_secret": '"in-clear"'}, "oauth.client_secret", "does not stand in the configuration"),
        ({}, {"certificate_file": '"app.pem"'}, "oauth.certificate_file", "belong together"),
        ({}, {"certificate_file": '"a.pem"', "key_file": '"a.key"'}, "oauth.client_secret", "a certificate as well"),
        ({}, {"grant": '"ServiceAccount"'}, "oauth.grant", "needs service_account"),
        ({}, {"provider": '"Google"'}, "oauth.grant", "takes no client credentials"),
        ({}, {"provider": '"Other"', "scopes": '["x"]'}, "oauth.provider", "no preset for token_url"),
        ({}, {"provider": '"Other"', "token_url": '"https://x.test"'}, "oauth.scopes", "no scope"),
        ({}, {"token_url": '"http://x.test/"'}, "oauth.token_url", "no https address"),
        ({}, {"token_url": '"https://a:b@x.test/"'}, "oauth.token_url", "no https address"),
        ({}, {"http_proxy": '"https://x.test/"'}, "oauth.http_proxy", "no http address"),
        ({}, {"client_secret_expires": "2020-01-01"}, "oauth.client_secret_expires", "expired on 2020-01-01"),
        ({"smart_host_auth_mechanism": '"None"'}, {}, "oauth", "never asked for"),
        ({"smart_host_auth_mechanism": '"ClientCertificate"'}, {}, "smart_host_auth_mechanism", "a certificate to show"),
    ],
)  # fmt: skip
def test_mistakes(
    tmp_path: Path, connector: dict[str, str], oauth: dict[str, str], path: str, message: str
) -> None:  # fmt: skip
    found = findings(tmp_path, connector, oauth)
    assert any(where == path and message in text for where, text, _ in found), found
    assert not any("in-clear" in text for _, text, _ in found)
