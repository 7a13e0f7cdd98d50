# SPDX-License-Identifier: MIT
"""Error policies, case by case."""

import pytest

from bridgehead.delivery.smtp_send.error_policy import apply_policies, changes_nothing
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.routing.settings import ErrorPolicy

DOWN, UP, AUTH = (
    ErrorPolicy.DOWNGRADE_CUSTOM_FAILURES,
    ErrorPolicy.UPGRADE_CUSTOM_FAILURES,
    ErrorPolicy.DOWNGRADE_AUTH_FAILURES,
)


@pytest.mark.parametrize(
    ("action", "status", "diagnostic", "policy", "custom", "wanted"),
    [
        (Action.FAILED, "5.7.1", "550 5.7.1 x", DOWN, ["550"], "4.7.1"),
        (Action.FAILED, "5.7.1", "550 5.7.1 x", DOWN, ["5.7.1"], "4.7.1"),
        (Action.FAILED, "5.7.1", "550 5.7.1 x", DOWN, ["551"], "5.7.1"),
        (Action.FAILED, "5.7.1", "550 5.7.1 x", UP, ["550"], "5.7.1"),
        (Action.DELAYED, "4.2.2", "452 4.2.2 full", UP, ["4.2.2"], "5.2.2"),
        (Action.DELAYED, "4.2.2", "452 4.2.2 full", DOWN, ["4.2.2"], "4.2.2"),
        (Action.FAILED, "5.7.57", "530 5.7.57 not authenticated", AUTH, [], "4.7.57"),
        (Action.FAILED, "5.1.1", "550 5.1.1 unknown", AUTH, [], "5.1.1"),
        (Action.RELAYED, "2.0.0", "250 ok", UP, ["250"], "2.0.0"),
    ],
)
def test_policy(action, status, diagnostic, policy, custom, wanted):
    given = DeliveryStatus(action=action, status=status, diagnostic=diagnostic)
    assert apply_policies(given, [policy], custom).status == wanted


def test_a_message_in_doubt_is_not_upgraded_to_failure():
    given = DeliveryStatus(action=Action.DELAYED, status="4.4.2", in_doubt=True)
    assert apply_policies(given, [UP], ["4.4.2"]) is given


def test_what_changes_nothing():
    assert changes_nothing([ErrorPolicy.DEFAULT, ErrorPolicy.DOWNGRADE_DNS_FAILURES])
    assert not changes_nothing([DOWN])
