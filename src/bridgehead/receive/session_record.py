# SPDX-License-Identifier: MIT
"""What is written of a session: its lines in the SMTP receive protocol log, and what tracking says of each message.

Content and secrets are never among it. How a command is shown is the business of `command_record.py`.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bridgehead.receive import command_record
from bridgehead.smtp.events import Auth, AuthResponse, Event

if TYPE_CHECKING:
    from bridgehead.receive.session import Session
    from bridgehead.receive.session_opening import SessionOpening

_NO_SEPARATORS: Final = str.maketrans(',;"', "   ")
"""Values of custom-data hold nothing that parts them, and nothing that a CSV cell would have to be quoted for."""


def line(session: "SessionOpening", event: str, data: str, context: str) -> None:
    """One line, where the connector's ProtocolLoggingLevel is Verbose; `event` is one of + - < > *."""
    if not session.connector.verbose:
        return
    session.services.protocol_log.record(
        connector_id=session.connector.connector_id,
        session_id=session.session_id,
        sequence=session.lines_logged,
        local=f"{session.local_ip}:{session.listener.port}",
        remote=f"{session.client_ip}:{session.client_port}",
        event=event,
        data=data,
        context=context,
    )
    session.lines_logged += 1


def heard(session: "Session", event: Event) -> None:
    """What the client said."""
    if isinstance(event, Auth):
        line(session, "<", f"AUTH {command_record.mechanism(event.mechanism)}", "")
    elif isinstance(event, AuthResponse):
        line(session, "<", "<authentication data>", "")
    elif session.engine.line:
        line(session, "<", command_record.shown(session.engine.line), "")


def said(session: "SessionOpening", out: bytes) -> None:
    """What the client was told."""
    for text in out.decode("utf-8", "replace").splitlines():
        line(session, ">", "334 <authentication data>" if text.startswith("334") else text, "")


@lru_cache(maxsize=4096)
def tracked(port: int, tls_info: str, principal: str, revision: str) -> str:
    """What the custom-data of RECEIVE says of a session. Many sessions say the same."""
    return ";".join(
        f"S:{name}={value.translate(_NO_SEPARATORS)}"
        for name, value in (
            ("Port", str(port)),
            ("TlsVersion", tls_info.partition(", ")[0].removeprefix("version=")),
            ("TlsCipher", tls_info.partition("cipher=")[2]),
            ("Principal", principal),
            ("Config", revision),
        )
        if value
    )
