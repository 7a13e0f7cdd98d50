# SPDX-License-Identifier: MIT
"""What the check says of logins: [lockout], [[auth_servers]], and what mechanisms need."""

from pathlib import Path

import pytest

from support.checked import found


def connector(*mechanisms: str, more: str = "") -> str:
    offered = ", ".join(f'"{one}"' for one in mechanisms)
    return (
        '[[receive_connectors]]\nname = "Client"\nbindings = ["0.0.0.0:587"]\npermission_groups = ["ExchangeUsers"]\n'
        f"auth_mechanism = [{offered}]\n{more}"
    )


ISSUER = '[[auth_servers]]\nname = "One"\nissuer_identifier = "https://login.contoso.test"\naudiences = ["api://x"]\n'
GOOD = connector("Tls", "OAuth", "ScramSha256") + ISSUER + "[lockout]\naccount_lockout_threshold = 5\n"


@pytest.mark.parametrize(
    ("text", "path", "message", "is_error"),
    [
        (connector("Tls", "External"), "receive_connectors[0].auth_mechanism", "every authority", False),
        (connector("External"), "receive_connectors[0].auth_mechanism", "needs TLS", True),
        (connector("Tls", "OAuth"), "receive_connectors[0].auth_mechanism", "tokens of nobody", True),
        (connector("OAuth") + ISSUER, "receive_connectors[0].auth_mechanism", "over TLS only", True),
        (ISSUER + ISSUER, "auth_servers[1].name", '"one" is taken', True),
        (ISSUER.replace("https:", "http:"), "auth_servers[0].issuer_identifier", "no https address", True),
        (
            ISSUER + 'auth_metadata_url = "ftp://x"\n',
            "auth_servers[0].auth_metadata_url",
            "no https address",
            True,
        ),
        (ISSUER.replace('"api://x"', ""), "auth_servers[0].audiences", "tokens for anything", True),
        (ISSUER + "user_claims = []\n", "auth_servers[0].user_claims", "is empty", True),
        (ISSUER + 'algorithms = ["none"]\n', "auth_servers[0].algorithms[0]", "none", True),
        (ISSUER + 'algorithms = ["HS256"]\n', "auth_servers[0].algorithms[0]", "HS256", True),
        (ISSUER + 'max_key_age = "00:10:00"\n', "auth_servers[0].max_key_age", "below key_refresh_interval", True),
        (ISSUER + 'clock_skew = "01:00:00"\n', "auth_servers[0].clock_skew", "out of range", True),
        ('[lockout]\nmax_lockout_duration = "00:00:10"\n', "lockout.max_lockout_duration", "below lockout", True),
        ('[lockout]\nexempt_ip_ranges = ["x"]\n', "lockout.exempt_ip_ranges[0]", "x", True),
        ('[lockout]\nexempt_ip_ranges = ["0.0.0.0/0"]\n', "lockout.exempt_ip_ranges[0]", "holds strangers", False),
        (
            "[lockout]\naccount_lockout_threshold = 0\nsource_lockout_threshold = 0\n",
            "lockout.account_lockout_threshold",
            "nobody is ever locked out",
            False,
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    text: str, path: str, message: str, is_error: bool, tmp_path: Path
) -> None:
    told = [one for one in found(tmp_path, text) if one[0] == path and message in one[1]]
    assert told, found(tmp_path, text)
    assert told[0][2] is is_error


def test_what_is_right_is_not_complained_of(tmp_path: Path) -> None:
    words = ("auth_servers", "lockout", "auth_mechanism")
    assert [one for one in found(tmp_path, GOOD) if any(word in one[0] for word in words)] == []
