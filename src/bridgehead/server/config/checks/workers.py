# SPDX-License-Identifier: MIT
"""Checks of what several workers cannot do together yet: refused, rather than done by halves."""

from bridgehead.routing.oauth_settings import KEEPS_REFRESH_TOKEN
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_workers(configuration: Configuration, findings: Findings) -> None:
    """With more than one worker: refresh tokens."""
    if configuration.server.workers == 1:
        return
    for index, connector in enumerate(configuration.send_connectors):
        if connector.oauth.grant in KEEPS_REFRESH_TOKEN:
            findings.error(
                ("send_connectors", index, "oauth", "grant"),
                "a refresh token cannot be shared by several workers yet",
                'grant = "ClientCredentials", or [server] workers = 1',
            )
