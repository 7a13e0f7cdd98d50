# SPDX-License-Identifier: MIT
"""All meanings of refusals in the order in which they are compared: the most particular first, the first that fits
counts. Enhanced codes that everybody uses differently stand behind the words that tell them apart.
"""

from typing import Final

from bridgehead.diagnosis.replies_exchange import EXCHANGE
from bridgehead.diagnosis.replies_identity import IDENTITY, OAUTH_LOG_ON
from bridgehead.diagnosis.replies_microsoft import MICROSOFT
from bridgehead.diagnosis.replies_policy import POLICY
from bridgehead.diagnosis.replies_transport import TRANSPORT
from bridgehead.diagnosis.reply_rule import ReplyRule

REPLY_RULES: Final[list[ReplyRule]] = [*IDENTITY, *MICROSOFT, *EXCHANGE, *POLICY, *TRANSPORT]

__all__ = ["EXCHANGE", "IDENTITY", "MICROSOFT", "OAUTH_LOG_ON", "POLICY", "REPLY_RULES", "TRANSPORT", "ReplyRule"]
