# SPDX-License-Identifier: MIT
"""What differs in sessions of devices: MAIL may be rewritten, RCPT knows the device's list. The rest is `steps`."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.mail.reply import Reply
from bridgehead.receive import agent_log, steps
from bridgehead.receive.devices.policy import DeviceCheck, decide_path
from bridgehead.receive.permissions.addresses import with_domain
from bridgehead.smtp import replies
from bridgehead.smtp.events import Mail, Rcpt

if TYPE_CHECKING:
    from bridgehead.receive.session import Session


def mail(session: "Session", event: Mail) -> None:
    """MAIL: as the device's own sender, or as the one that takes its place."""
    device = session.connector.device
    assert device is not None
    settings = session.connector.settings
    device.use.spoke(session.helo, session.tls_info, str(event.reverse_path))
    completed = with_domain(event.reverse_path, settings.default_domain)
    decision = decide_path(device, completed)
    if decision.refusal is not None:
        _refuse(session, event.reverse_path, decision.refusal)
        return
    steps.mail(session, msgspec.structs.replace(event, reverse_path=decision.path))
    if session.transaction is not None:
        session.transaction.sender_check = DeviceCheck(
            device, completed, decision.path, settings.default_domain, settings.non_compliant_sender_policy
        )


def _refuse(session: "Session", reverse_path: object, refusal: Reply) -> None:
    agent_log.sender_refused(session, reverse_path, refusal)
    session.answer(refusal)


def rcpt(session: "Session", event: Rcpt) -> None:
    """RCPT: to whom its settings let it send; what holds for everybody comes after."""
    device, transaction = session.connector.device, session.transaction
    assert device is not None
    forward_path = with_domain(event.forward_path, session.connector.settings.default_domain)
    if transaction is not None and forward_path.domain and not device.may_send_to(forward_path):
        agent_log.recipient_refused(session, transaction, forward_path, replies.DEVICE_RECIPIENT_DENIED)
        session.answer(replies.DEVICE_RECIPIENT_DENIED)
        return
    steps.rcpt(session, event)


DEVICE_STEPS: Final[dict[type, Any]] = {**steps.STEPS, Mail: mail, Rcpt: rcpt}
