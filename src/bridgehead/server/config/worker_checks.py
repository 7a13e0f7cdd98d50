# SPDX-License-Identifier: MIT
"""Checks of what several workers cannot do together yet: refused, rather than done by halves."""

from bridgehead.routing.oauth_settings import KEEPS_REFRESH_TOKEN
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_workers(configuration: Configuration, findings: Findings) -> None:
    """With more than one worker: refresh tokens, and devices whose silence is timed."""
    if configuration.server.workers == 1:
        return
    for index, connector in enumerate(configuration.send_connectors):
        if connector.oauth.grant in KEEPS_REFRESH_TOKEN:
            findings.error(
                ("send_connectors", index, "oauth", "grant"),
                "a refresh token cannot be shared by several workers yet",
                'grant = "ClientCredentials", or [server] workers = 1',
            )
    for index, device in enumerate(configuration.devices):
        if device.silence_after:
            findings.error(
                ("devices", index, "silence_after"),
                "each of several workers sees a part of a device's mail and cannot tell when it is silent yet",
                "leave it out, or [server] workers = 1",
            )
