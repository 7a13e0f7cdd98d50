# SPDX-License-Identifier: MIT
"""Checks of the [alarms] and [monitoring] tables."""

import os
import shutil
from importlib.util import find_spec
from urllib.parse import urlsplit

from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.mail.address import AddressError, parse_mailbox
from bridgehead.monitoring.settings import AlarmSettings, MailTls, MonitoringSettings
from bridgehead.net.ip_range import RangeError, parse_binding
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_alarms(configuration: Configuration, findings: Findings) -> None:
    """Each way out, and thresholds that go together."""
    alarms = configuration.alarms
    _check_mail(configuration, findings)
    _check_webhook(alarms, findings)
    _check_command(alarms, findings)
    if alarms.aggregate_delivery_queue_length_critical < alarms.aggregate_delivery_queue_length_warning:
        findings.error(
            ("alarms", "aggregate_delivery_queue_length_critical"),
            "it is below aggregate_delivery_queue_length_warning", "set it to the same or more",
        )  # fmt: skip
    for index, days in enumerate(alarms.certificate_expiry_days):
        if not 0 < days <= 3650:
            findings.error(
                ("alarms", "certificate_expiry_days", index), f"{days} is out of range", "take a value from 1 to 3650"
            )
    _check_probe(configuration.monitoring.probe_listen, findings)
    _check_collector(configuration.monitoring, findings)


def _check_mail(configuration: Configuration, findings: Findings) -> None:
    alarms = configuration.alarms
    for index, address in enumerate(alarms.mail_to):
        _check_address(address, ("alarms", "mail_to", index), findings)
    if alarms.mail_from:
        _check_address(alarms.mail_from, ("alarms", "mail_from"), findings)
    if alarms.mail_to and not alarms.mail_server:
        findings.error(
            ("alarms", "mail_to"), "alarm mail goes past our queues and needs a server of its own",
            'set mail_server = "mail.example.net", one that does not depend on this server',
        )  # fmt: skip
    if bool(alarms.mail_username) != bool(alarms.mail_password):
        findings.error(("alarms", "mail_username"), "a login needs mail_username and mail_password", "set both")
    if alarms.mail_username and alarms.mail_tls is MailTls.NONE:
        findings.error(
            ("alarms", "mail_tls"),
            "a login is never sent in clear",
            'set mail_tls = "Required", or leave the login off',
        )
    if alarms.mail_server:
        _check_mail_server(configuration, findings)


def _check_mail_server(configuration: Configuration, findings: Findings) -> None:
    """A host and port, and not our own."""
    text, path = configuration.alarms.mail_server, ("alarms", "mail_server")
    try:
        host, port = split_smart_host(text, 25)
    except ValueError:
        findings.error(path, f'"{text}" is no server', 'write "mail.example.net", "host:587" or "[192.0.2.1]:25"')
        return
    own = {
        parse_binding(binding).port
        for connector in configuration.receive_connectors
        if connector.enabled
        for binding in connector.bindings
        if _is_binding(binding)
    }
    if port in own and (host in _LOOPBACK or host == configuration.server.fqdn):
        findings.warning(
            path, f"{text} is this server: its alarms would wait in the queue that they are about",
            "name a server that does not depend on this one",
        )  # fmt: skip


def _check_webhook(alarms: AlarmSettings, findings: Findings) -> None:
    path = ("alarms", "webhook_url")
    if not alarms.webhook_url:
        return
    try:
        url = urlsplit(alarms.webhook_url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        findings.error(path, f"it is no address: {error}", 'write "https://alarms.example.net/bridgehead"')
        return
    if url.scheme not in ("https", "http") or not host or url.username is not None:
        findings.error(path, "it is no https:// address", 'write "https://alarms.example.net/bridgehead"')
    elif url.scheme == "http" and host not in _LOOPBACK:
        findings.error(path, "alarms go over the network under TLS only", "write https:// instead of http://")


def _check_collector(monitoring: MonitoringSettings, findings: Findings) -> None:
    path = ("monitoring", "otlp_endpoint")
    if not monitoring.otlp_endpoint:
        return
    expected = 'write "https://collector.example.net:4318"'
    try:
        url = urlsplit(monitoring.otlp_endpoint)
        host, _ = url.hostname, url.port
    except ValueError as error:
        findings.error(path, f"it is no address: {error}", expected)
        return
    if url.scheme not in ("https", "http") or not host or url.username is not None:
        findings.error(path, "it is no http:// or https:// address", expected)
    elif url.scheme == "http" and host not in _LOOPBACK and monitoring.otlp_authorization:
        findings.error(path, "otlp_authorization goes over the network under TLS only", "write https://")
    if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        findings.error(path, "it needs libraries that are not installed", "pip install 'bridgehead[opentelemetry]'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def _check_command(alarms: AlarmSettings, findings: Findings) -> None:
    if not alarms.command:
        return
    program = alarms.command[0]
    if not os.path.isabs(program) or shutil.which(program) is None:
        findings.error(
            ("alarms", "command", 0), f'"{program}" is no program that can be run', "name it by its whole path"
        )


def _check_probe(text: str, findings: Findings) -> None:
    if not text:
        return
    try:
        binding = parse_binding(text)
    except RangeError as error:
        findings.error(("monitoring", "probe_listen"), str(error), 'write "127.0.0.1:9464"')
        return
    if not binding.address.is_loopback:
        findings.warning(
            ("monitoring", "probe_listen"), "numbers and health are told there in clear to whoever asks",
            "let a firewall keep strangers away, or listen on 127.0.0.1",
        )  # fmt: skip


def _check_address(address: str, path: tuple[str | int, ...], findings: Findings) -> None:
    try:
        parse_mailbox(address)
    except AddressError as error:
        findings.error(path, f'"{address}" is no address: {error}', 'write "name@example.net"')


def _is_binding(text: str) -> bool:
    try:
        parse_binding(text)
    except RangeError:
        return False
    return True
