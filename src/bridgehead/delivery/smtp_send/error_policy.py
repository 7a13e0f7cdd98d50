# SPDX-License-Identifier: MIT
"""Error policies of a Send connector: replies that count as less or more than they say (ErrorPolicies). Pure."""

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.routing.settings import ErrorPolicy

_AUTH_CODES: Final = frozenset({"530", "534", "535", "538"})
_AUTH_STATUSES: Final = frozenset({"5.7.0", "5.7.8", "5.7.9", "5.7.11", "5.7.57"})


def changes_nothing(policies: Collection[ErrorPolicy]) -> bool:
    """True where no status can be changed, so that the hot path need not look."""
    return all(policy in (ErrorPolicy.DEFAULT, ErrorPolicy.DOWNGRADE_DNS_FAILURES) for policy in policies)


def apply_policies(
    status: DeliveryStatus, policies: Collection[ErrorPolicy], custom_failures: Collection[str]
) -> DeliveryStatus:  # fmt: skip
    """The status after the connector's policies.

    Args:
        custom_failures: reply codes ("550") and enhanced statuses ("5.7.1") that the Custom policies are about.
    """
    code = status.diagnostic[:3]
    chosen = code in custom_failures or status.status in custom_failures
    if status.action is Action.FAILED:
        by_auth = code in _AUTH_CODES or status.status in _AUTH_STATUSES
        if (chosen and ErrorPolicy.DOWNGRADE_CUSTOM_FAILURES in policies) or (
            by_auth and ErrorPolicy.DOWNGRADE_AUTH_FAILURES in policies
        ):
            return replace(status, action=Action.DELAYED, status="4" + status.status[1:])
        return status
    upgradable = status.action is Action.DELAYED and not status.in_doubt
    if upgradable and chosen and ErrorPolicy.UPGRADE_CUSTOM_FAILURES in policies:
        return replace(status, action=Action.FAILED, status="5" + status.status[1:])
    return status
