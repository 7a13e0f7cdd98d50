# SPDX-License-Identifier: MIT
"""Every method by name."""

from typing import Final

from bridgehead.admin.method import Method
from bridgehead.admin.methods import (
    actions,
    alarms,
    audit,
    certificates,
    devices,
    dns,
    lockouts,
    messages,
    metrics,
    oauth,
    pressure,
    queues,
    safety_net,
    server,
    standing_rules,
    tests,
    tls_policy,
    tls_reports,
    trace,
    why,
)

METHODS: Final[dict[str, Method]] = {
    **server.METHODS,
    **pressure.METHODS,
    **alarms.METHODS,
    **metrics.METHODS,
    **queues.METHODS,
    **messages.METHODS,
    **actions.METHODS,
    **standing_rules.METHODS,
    **safety_net.METHODS,
    **trace.METHODS,
    **why.METHODS,
    **tests.METHODS,
    **tls_policy.METHODS,
    **tls_reports.METHODS,
    **audit.METHODS,
    **certificates.METHODS,
    **dns.METHODS,
    **devices.METHODS,
    **oauth.METHODS,
    **lockouts.METHODS,
}
