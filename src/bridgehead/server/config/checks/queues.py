# SPDX-License-Identifier: MIT
"""Checks of retry intervals and of what the categorizer, delivery and the mailbox store are told."""

import msgspec

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.mail.units import Duration
from bridgehead.queues.settings import BackPressureSettings, Thresholds
from bridgehead.routing.settings import StoreProtocol
from bridgehead.server.config.checks.fairness import check_fairness
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_queues(configuration: Configuration, findings: Findings) -> None:
    """Retry ladder, expiry, reports and the mailbox store."""
    _check_notification(configuration, findings)
    _check_reports(configuration, findings)
    _check_mailbox_store(configuration, findings)
    _check_thresholds(configuration.back_pressure, findings)
    check_fairness(configuration, findings)


def _check_thresholds(settings: BackPressureSettings, findings: Findings) -> None:
    """Levels rise upwards and fall downwards."""
    for field in msgspec.structs.fields(settings):
        limits = getattr(settings, field.name)
        if not isinstance(limits, Thresholds):
            continue
        for lower, higher in (
            ("medium_to_low", "low_to_medium"),
            ("high_to_medium", "medium_to_high"),
            ("low_to_medium", "medium_to_high"),
            ("medium_to_low", "high_to_medium"),
        ):
            if getattr(limits, lower) > getattr(limits, higher):
                findings.error(
                    ("back_pressure", field.name, lower),
                    f"{getattr(limits, lower):g} is above {higher}, which is {getattr(limits, higher):g}",
                    f"set {lower} to {getattr(limits, higher):g} or less",
                )


def _check_notification(configuration: Configuration, findings: Findings) -> None:
    queues = configuration.queues
    retries = queues.transient_failure_retry_count * queues.transient_failure_retry_interval
    if queues.delay_notification_timeout <= retries:
        findings.error(
            ("queues", "delay_notification_timeout"),
            f"{queues.delay_notification_timeout} is not longer than the transient retries, which take "
            f"{Duration(seconds=retries.total_seconds())} "
            "(transient_failure_retry_count × transient_failure_retry_interval)",
            "make it longer than that, or retry less often",
        )
    if queues.message_expiration_timeout <= queues.delay_notification_timeout:
        findings.warning(
            ("queues", "message_expiration_timeout"),
            f"messages expire after {queues.message_expiration_timeout}, before a delay report is due",
            "senders will hear of a delay only when it has become a failure",
        )


def _check_reports(configuration: Configuration, findings: Findings) -> None:
    delivery = configuration.delivery
    if delivery.external_postmaster_address:
        try:
            parse_mailbox(delivery.external_postmaster_address)
        except AddressError as error:
            findings.error(("delivery", "external_postmaster_address"), f"this is no mail address: {error}")
    if delivery.external_dsn_reporting_authority:
        try:
            parse_domain(delivery.external_dsn_reporting_authority)
        except AddressError as error:
            findings.error(("delivery", "external_dsn_reporting_authority"), f"this is no domain name: {error}")
    if delivery.max_per_domain_outbound_connections > delivery.max_outbound_connections:
        findings.warning(
            ("delivery", "max_per_domain_outbound_connections"),
            f"{delivery.max_per_domain_outbound_connections} is more than all connections together, "
            f"{delivery.max_outbound_connections}",
            "one slow domain can take every connection",
        )


def _check_mailbox_store(configuration: Configuration, findings: Findings) -> None:
    store = configuration.mailbox_store
    if store.protocol is StoreProtocol.MAILDIR:
        if not store.path:
            findings.error(
                ("mailbox_store", "path"), "a Maildir store needs a folder", 'for example path = "mailboxes"'
            )
        if store.address:
            findings.warning(
                ("mailbox_store", "address"), "is not used by a Maildir store", 'set protocol = "LMTP" or remove it'
            )
        return
    example = 'for example "127.0.0.1:24" or "unix:/run/dovecot/lmtp"'
    host, _, port = store.address.rpartition(":")
    if not store.address:
        findings.error(("mailbox_store", "address"), "an LMTP store needs an address", example)
    elif store.address.startswith("unix:"):
        if not store.address.startswith("unix:/"):
            findings.error(("mailbox_store", "address"), "a Unix socket is named by its absolute path", example)
    elif not host or not port.isdigit() or not 0 < int(port) < 65536:
        findings.error(("mailbox_store", "address"), f'"{store.address}" is no host with a port', example)
