# SPDX-License-Identifier: MIT
"""What `check` finds in a configuration of a few lines."""

from pathlib import Path

from bridgehead.server.config.check import check
from bridgehead.server.config.load import read
from bridgehead.server.config.problem import Severity

Found = list[tuple[str, str, bool]]

CONNECTOR = (
    '[[accepted_domains]]\ndomain_name = "contoso.test"\n'
    '[[receive_connectors]]\nname = "Default"\nbindings = ["0.0.0.0:25"]\npermission_groups = ["ExchangeServers"]\n'
    'auth_mechanism = ["Tls", "ExternalAuthoritative"]\nremote_ip_ranges = ["127.0.0.0/8"]\n'
)
"""What a configuration needs that is about something else."""


def found(folder: Path, text: str) -> Found:
    """Path, message and whether it is an error, of each finding in `folder`/bridgehead.toml with this text."""
    path = folder / "bridgehead.toml"
    path.write_text(text)
    return [(one.path, one.message, one.severity is Severity.ERROR) for one in check(read(path))]
