# SPDX-License-Identifier: MIT
"""What can go wrong in an SMTP conversation, and nothing else may escape the engines."""


class ProtocolError(Exception):
    """The conversation broke a rule of the protocol."""


class LocalProtocolError(ProtocolError):
    """We did: the caller used the engine against its tables. A bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer did; the message says what, in words fit for a log."""
