# SPDX-License-Identifier: MIT
"""The reasons for which the categorizer refuses a recipient, in Exchange's words (RFC 3463 for the codes)."""

from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus


def _failed(status: str, text: str) -> DeliveryStatus:
    return DeliveryStatus(action=Action.FAILED, status=status, diagnostic=f"550 {status} {text}")


def by_standing_rule(reason: str) -> DeliveryStatus:
    """An administrator's standing rule fails the message; the words are those of a removal by hand."""
    return _failed("5.7.1", f"QUEUE.Admin; message removed by the administrator: {reason}".removesuffix(": "))


RECIPIENT_NOT_FOUND: Final = _failed(
    "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"
)
INVALID_ADDRESS: Final = _failed("5.1.3", "RESOLVER.ADR.InvalidInSmtp; the address names no recipient")
TOO_MANY_RECIPIENTS: Final = _failed("5.5.3", "RESOLVER.ADR.RecipLimit; too many recipients")
GROUP_TOO_LARGE: Final = _failed("5.5.3", "RESOLVER.GRP.RecipLimit; the group has too many recipients")
GROUP_TOO_DEEP: Final = _failed("5.4.6", "RESOLVER.GRP.Depth; groups are nested too deeply")
FORWARDING_LOOP: Final = _failed("5.4.6", "RESOLVER.FWD.Loop; there is a forwarding loop configured in the directory")
FORWARDING_TOO_LONG: Final = _failed("5.4.6", "RESOLVER.FWD.Length; forwarded too many times in the directory")
TOO_LARGE_FOR_RECIPIENT: Final = _failed("5.2.3", "RESOLVER.RST.RecipSizeLimit; message too large for this recipient")
TOO_LARGE_TO_SEND: Final = _failed("5.2.3", "RESOLVER.RST.SendSizeLimit.Org; message too large for this organization")
TOO_LARGE_TO_RECEIVE: Final = _failed(
    "5.2.3", "RESOLVER.RST.RecvSizeLimit.Org; message too large for this organization"
)
TOO_LARGE_FOR_ROUTE: Final = _failed("5.3.4", "ROUTING.SizeLimit; message size exceeds fixed maximum size for route")
TLS_NOT_ASSURED: Final = _failed("5.7.30", "REQUIRETLS needed; a gateway that is no SMTP server cannot promise it")
AUTHENTICATION_REQUIRED: Final = _failed("5.7.1", "RESOLVER.RST.AuthRequired; authentication required")
NOT_AUTHORIZED: Final = _failed("5.7.1", "RESOLVER.RST.NotAuthorized; not authorized")
EXPIRED: Final = _failed("5.4.7", "QUEUE.Expired; message expired")
DELAYED: Final = DeliveryStatus(action=Action.DELAYED, status="4.4.7", diagnostic="400 4.4.7 Message delayed")
EXPANDED: Final = DeliveryStatus(
    action=Action.EXPANDED, status="2.1.5", diagnostic="250 2.1.5 the group was expanded to its members"
)
