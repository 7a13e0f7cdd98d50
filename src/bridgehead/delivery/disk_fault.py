# SPDX-License-Identifier: MIT
"""What a fault of the file system means for recipients of mailboxes and drop directories."""

import errno
from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def delayed_by(error: OSError, what: str) -> DeliveryStatus:
    """What a fault of the file system means for a recipient: later. Paths stay out of what senders may read."""
    status = "4.3.1" if error.errno in NO_SPACE else "4.3.0"
    reason = clean_text(error.strerror or type(error).__name__)
    return DeliveryStatus(action=Action.DELAYED, status=status, diagnostic=f"{what}: {reason}")
