# SPDX-License-Identifier: MIT
"""Settings of alarms and of the numbers that others collect. Thresholds of queue lengths are those Exchange's
administrators know (MSExchangeTransport Queues: aggregate 3,000 and 5,000, active 250, submission 100)."""

from enum import StrEnum

import msgspec

from bridgehead.mail.units import Count, Duration


class MailTls(StrEnum):
    """How the alarm mail's own route is protected."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"
    REQUIRED = "Required"


class AlarmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alarms. They always stand in `bridgehead status` and in the log; mail, webhook and command come on top.

    Attributes:
        mail_to: addresses that get alarms; empty sends no alarm mail.
        mail_from: sender of alarm mail; empty: `postmaster@` and the server's name.
        mail_server: "host", "host:port" or "[address]:port" of the server that takes alarm mail. Choose one that does
            not depend on this server: alarm mail goes there straight, past all queues and connectors.
        mail_tls: `Opportunistic` uses STARTTLS where it is offered; `Required` also checks the certificate.
        mail_ca_file: PEM trust anchors for `Required`; empty takes the system's.
        mail_username: login at `mail_server`, only ever sent over TLS; empty logs on as nobody.
        mail_password: "file:PATH", "env:NAME" or "credential:NAME".
        webhook_url: `https://` address that gets each alarm as JSON by POST; `http://` is taken for loopback only.
        webhook_secret: "file:PATH" or "env:NAME"; signs each POST (header `X-Bridgehead-Signature`).
        webhook_ca_file: PEM trust anchors for the webhook; empty takes the system's.
        command: program and arguments, run with the alarm as JSON on its standard input.
        channel_timeout: longest time that one try of a mail, POST or command may take.
        check_interval: how often queues, peers and sources are looked at.
        reminder_interval: how often a standing alarm is told again; zero never.
        all_clear_delay: how long an alarm has to stay away before its end is told.
        hold_time: how long a queue length or drain time has to stay above its threshold.
        oldest_message_age: age of the oldest message in any queue but Poison; zero off.
        time_to_drain: how long a queue with mail to deliver would take at its present rate; zero off.
        aggregate_delivery_queue_length_warning: messages in all delivery queues together.
        aggregate_delivery_queue_length_critical: messages in all delivery queues together.
        active_delivery_queue_length: messages in delivery queues of one kind (remote, mailbox, non-SMTP) whose next
            hop is not in Retry.
        submission_queue_length: messages that wait for the categorizer.
        unreachable_queue_length: messages without a route; zero off.
        poison_queue_length: messages set aside because they ended the server; zero off.
        peer_failure_share: share of the messages for one next hop that do not get through, 0 to 1; zero off.
        peer_failure_messages: messages for that next hop within `peer_failure_period` below which nothing is said.
        peer_failure_period: over which attempts are counted.
        certificate_expiry_days: days before the expiry of a certificate at which to say so, again at each.
        source_silence_enabled: watch for clients that send regularly and have fallen silent.
        source_habit_days: days for which a client's habit has to be known before its silence says anything.
        source_silence_hours: hours that have to go by in which the client sends in most weeks.
        source_silence_factor: or how many times its longest pause so far it has to be silent.
        source_silence_minimum: shortest silence that is said.
        sources: the most clients whose habits are kept.
    """

    mail_to: list[str] = []
    mail_from: str = ""
    mail_server: str = ""
    mail_tls: MailTls = MailTls.OPPORTUNISTIC
    mail_ca_file: str = ""
    mail_username: str = ""
    mail_password: str = ""
    webhook_url: str = ""
    webhook_secret: str = ""
    webhook_ca_file: str = ""
    command: list[str] = []
    channel_timeout: Duration = Duration(seconds=30)
    check_interval: Duration = Duration(seconds=30)
    reminder_interval: Duration = Duration(hours=4)
    all_clear_delay: Duration = Duration(minutes=2)
    hold_time: Duration = Duration(minutes=5)
    oldest_message_age: Duration = Duration(hours=1)
    time_to_drain: Duration = Duration(hours=1)
    aggregate_delivery_queue_length_warning: Count = Count(3000)
    aggregate_delivery_queue_length_critical: Count = Count(5000)
    active_delivery_queue_length: Count = Count(250)
    submission_queue_length: Count = Count(100)
    unreachable_queue_length: int = 1
    poison_queue_length: int = 1
    peer_failure_share: float = 0.5
    peer_failure_messages: int = 20
    peer_failure_period: Duration = Duration(minutes=15)
    certificate_expiry_days: list[int] = msgspec.field(default_factory=lambda: [30, 14, 3])
    source_silence_enabled: bool = True
    source_habit_days: int = 7
    source_silence_hours: int = 2
    source_silence_factor: float = 1.5
    source_silence_minimum: Duration = Duration(hours=1)
    sources: int = 1000


class MonitoringSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers for Prometheus, and probes.

    Attributes:
        probe_listen: address and port, such as "127.0.0.1:9464", on which `/metrics`, `/health/live` and
            `/health/ready` answer in clear and without a login, for scrapers and container probes; empty: only the
            management interface answers them. They tell names of connectors and busy domains: keep it from strangers.
        destinations: next hops with the most traffic that have numbers of their own; the rest is counted as "other".
        otlp_endpoint: URL of an OpenTelemetry collector, "http://127.0.0.1:4318" or with the path of its metrics; the
            numbers of `/metrics` are posted there under the same names (OTLP over HTTP). Needs
            `pip install 'bridgehead[opentelemetry]'`. Empty: none.
        otlp_interval: how often.
        otlp_authorization: "file:PATH", "env:NAME" or "credential:NAME"; value of the header Authorization, which goes
            to https:// addresses and to loopback only.
        otlp_ca_file: PEM trust anchors for `otlp_endpoint`; empty takes the usual ones.
    """

    probe_listen: str = ""
    destinations: int = 20
    otlp_endpoint: str = ""
    otlp_interval: Duration = Duration(seconds=60)
    otlp_authorization: str = ""
    otlp_ca_file: str = ""
