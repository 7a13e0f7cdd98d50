# SPDX-License-Identifier: MIT
"""Settings of tests that the server runs by itself."""

import msgspec

from bridgehead.mail.units import Duration


class ConnectorTestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expectations of connectors, and the open-relay self-test.

    Attributes:
        interval: between two runs of all expectations; they also run at the start and after each reload.
        step_timeout: for a connection or a reply in a test.
        results_kept: results that `bridgehead test results` shows.
        relay_self_test_enabled: try at the start and after each reload whether a receive connector relays for anybody.
    """

    interval: Duration = Duration(hours=1)
    step_timeout: Duration = Duration(seconds=30)
    results_kept: int = 100
    relay_self_test_enabled: bool = True
