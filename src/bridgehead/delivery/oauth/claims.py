# SPDX-License-Identifier: MIT
"""What an access token of Microsoft's says that it may do, looked at only to explain a refusal.

Nothing is decided by it: the token is for the smart host to judge, and its form is nobody's promise.
"""

import base64
import binascii
from typing import Any, Final

import msgspec

from bridgehead.mail.secret import Secret
from bridgehead.routing.oauth_settings import ConnectorOAuth, OAuthGrant, OAuthProvider

_ROLE: Final = "SMTP.SendAsApp"


def missing_role(oauth: ConnectorOAuth, token: Secret) -> list[str]:
    """A sentence where an application's token lacks the permission to send, none where it has it or cannot be read."""
    if oauth.provider is not OAuthProvider.MICROSOFT or oauth.grant is not OAuthGrant.CLIENT_CREDENTIALS:
        return []
    claims = _claims(token)
    if claims is None or _ROLE in (claims.get("roles") or []):
        return []
    return [f"(the token lacks the role {_ROLE})"]


def _claims(token: Secret) -> dict[str, Any] | None:
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
