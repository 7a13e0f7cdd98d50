# SPDX-License-Identifier: MIT
"""The ways out for alarms that a configuration asks for."""

from collections.abc import Callable
from functools import partial

from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.mail.secret import Secret
from bridgehead.monitoring.channels import Channel, LogChannel
from bridgehead.monitoring.command_channel import CommandChannel
from bridgehead.monitoring.mail_channel import MailChannel
from bridgehead.monitoring.webhook import WebhookChannel
from bridgehead.net.secrets import read_secret
from bridgehead.server.config.load import Loaded

_SMTP_PORT = 25


def alarm_channels(
    loaded: Loaded, fqdn: str, now: Callable[[], float], random_bytes: Callable[[int], bytes]
) -> list[Channel]:
    """The log, and what `[alarms]` sets up."""
    settings = loaded.configuration.alarms
    timeout = settings.channel_timeout.total_seconds()
    channels: list[Channel] = [LogChannel()]
    if settings.mail_to:
        host, port = split_smart_host(settings.mail_server, _SMTP_PORT)
        channels.append(
            MailChannel(
                server=fqdn, host=host, port=port, tls=settings.mail_tls, ca_file=_file(loaded, settings.mail_ca_file),
                sender=settings.mail_from or f"postmaster@{fqdn}", recipients=settings.mail_to,
                username=settings.mail_username, read_password=partial(_secret, loaded, settings.mail_password),
                timeout=timeout, now=now, unique=lambda: random_bytes(16).hex(),
            )
        )  # fmt: skip
    if settings.webhook_url:
        read = partial(_secret, loaded, settings.webhook_secret) if settings.webhook_secret else None
        channels.append(
            WebhookChannel(
                settings.webhook_url, server=fqdn, read_secret=read, ca_file=_file(loaded, settings.webhook_ca_file),
                timeout=timeout, now=now,
            )
        )  # fmt: skip
    if settings.command:
        channels.append(CommandChannel(settings.command, server=fqdn, timeout=timeout, now=now))
    return channels


def _file(loaded: Loaded, name: str) -> str:
    return str(loaded.within(name)) if name else ""


def _secret(loaded: Loaded, reference: str) -> Secret:
    """The secret behind a reference; files lie within the data directory. Raises ValueError."""
    return read_secret(reference, loaded.data_directory)
