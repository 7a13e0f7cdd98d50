# SPDX-License-Identifier: MIT
"""Alarms by mail, straight to a server of the administrator's choice, past our own queues and our own SMTP client.

The standard library's client speaks, in a thread, so that alarm mail does not share a fault with the mail it is about.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from bridgehead.mail.secret import Secret
from bridgehead.monitoring.book import Notice, Occasion
from bridgehead.monitoring.channels import ChannelFault, client_context, heading
from bridgehead.monitoring.settings import MailTls
from bridgehead.tracking.alarms import Severity


class MailChannel:
    """Mail to `recipients` by `host`.

    Args:
        server: our name.
        read_password: the secret of `username`; asked for at each mail, so that a new one is used at once. Raises
            ValueError.
        timeout: seconds for each step of the conversation.
        now: Unix time.
        unique: 16 hexadecimal digits or more that nobody else uses.
    """

    name = "mail"

    def __init__(
        self, *, server: str, host: str, port: int, tls: MailTls, ca_file: str, sender: str, recipients: Sequence[str],
        username: str, read_password: Callable[[], Secret], timeout: float, now: Callable[[], float],
        unique: Callable[[], str],
    ) -> None:  # fmt: skip
        self._server, self._host, self._port, self._tls, self._ca_file = server, host, port, tls, ca_file
        self._sender, self._recipients = sender, list(recipients)
        self._username, self._read_password = username, read_password
        self._timeout, self._now, self._unique = timeout, now, unique

    async def send(self, notices: Sequence[Notice]) -> None:
        """See `Channel`."""
        try:
            async with asyncio.timeout(4 * self._timeout):
                await asyncio.to_thread(self._converse, self._message(notices))
        except TimeoutError:
            raise ChannelFault(f"{self._host}:{self._port} took too long") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise ChannelFault(f"{self._host}:{self._port}: {_words(error)}") from None

    def _converse(self, message: EmailMessage) -> None:
        with smtplib.SMTP(self._host, self._port, local_hostname=self._server, timeout=self._timeout) as client:
            client.ehlo()
            offered = client.has_extn("starttls")
            if self._tls is MailTls.REQUIRED and not offered:
                raise ValueError("TLS is required and STARTTLS is not offered")
            if self._tls is not MailTls.NONE and offered:
                client.starttls(context=self._context())
                client.ehlo()
            if self._username:
                if client.sock is None or not isinstance(client.sock, ssl.SSLSocket):
                    raise ValueError("the login is sent over TLS only, and there is none")
                client.login(self._username, self._read_password().reveal())
            refused = client.send_message(message, self._sender, self._recipients)
            if refused:
                raise ValueError(f"refused for {', '.join(refused)}")

    def _context(self) -> ssl.SSLContext:
        return client_context(verify=self._tls is MailTls.REQUIRED, ca_file=self._ca_file)

    def _message(self, notices: Sequence[Notice]) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = f"Bridgehead on {self._server} <{self._sender}>"
        message["To"] = ", ".join(self._recipients)
        message["Subject"] = self._subject(notices)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._now(), UTC))
        message["Message-ID"] = f"<{self._unique()}@{self._server.strip('[]')}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(
            "\n".join(map(_paragraph, sorted(notices, key=_gravity))) + f"\n-- \nBridgehead on {self._server}\n"
        )
        return message

    def _subject(self, notices: Sequence[Notice]) -> str:
        """The worst first."""
        worst = min(notices, key=_gravity)
        more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
        return f"[{self._server}] {heading(worst)}: {worst.alarm.text[:120]}{more}"


def _gravity(notice: Notice) -> tuple[bool, bool]:
    """Sorts the worst to the front."""
    return notice.occasion is Occasion.CLEARED, notice.alarm.severity is not Severity.CRITICAL


def _paragraph(notice: Notice) -> str:
    alarm = notice.alarm
    since = datetime.fromtimestamp(alarm.since, UTC)
    lines = [f"{heading(notice)}: {alarm.text}.", f"  since:      {since:%Y-%m-%d %H:%M:%S} UTC"]
    if notice.occasion is Occasion.CLEARED:
        over = datetime.fromtimestamp(alarm.cleared_at, UTC)
        lines.append(f"  over since: {over:%Y-%m-%d %H:%M:%S} UTC")
    elif alarm.remedy:
        lines.append(f"  what to do: {alarm.remedy}")
    lines.append(f"  alarm:      {alarm.id}")
    return "\n".join(lines) + "\n"


def _words(error: Exception) -> str:
    """Why it failed; replies of a server are bytes of its own choosing and are shown as text."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, reply = next(iter(error.recipients.values()))
        return f"every recipient was refused: {code} {_shown(reply)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_shown(error.smtp_error)}"
    return str(error) or type(error).__name__


def _shown(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
