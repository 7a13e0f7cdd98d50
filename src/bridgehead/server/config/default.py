# SPDX-License-Identifier: MIT
"""The configuration of a server that was given none: loopback only, unprivileged ports, relays for nobody."""

import os
import tomllib
from pathlib import Path
from typing import Final

from bridgehead.server.config.load import Loaded, assemble

DEFAULT_CONFIGURATION: Final = """\
# What Bridgehead runs with when it finds no configuration file.

# A reserved name (RFC 6761 §6.2): nothing here can be mistaken for a real domain.
[[accepted_domains]]
domain_name = "bridgehead.test"
make_default = true

# Port 25 of a real server: anybody may connect, only recipients of our own domains are taken.
[[receive_connectors]]
name = "Default"
bindings = ["127.0.0.1:2525"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_per_source = "unlimited"
max_inbound_connection_percentage_per_source = 100

# Port 587 of a real server: people and programs with a login, which `bridgehead user add` makes.
[[receive_connectors]]
name = "Client"
bindings = ["127.0.0.1:2587"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls", "BasicAuth", "BasicAuthRequireTLS", "ScramSha256"]
permission_groups = ["ExchangeUsers"]
message_rate_source = "User"
max_inbound_connection_per_source = "unlimited"
max_inbound_connection_percentage_per_source = 100
"""


def state_directory() -> Path:
    """Where a server without configuration keeps its data: below `$XDG_STATE_HOME`, else `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "bridgehead"


def default() -> Loaded:
    """The embedded configuration, as `load` would give it."""
    table = tomllib.loads(DEFAULT_CONFIGURATION)
    table["server"] = {"data_directory": str(state_directory())}
    return assemble([(Path("(embedded default)"), DEFAULT_CONFIGURATION, table)], files=[])
