# SPDX-License-Identifier: MIT
"""Every metric: its name, what it counts, its labels and the Exchange performance counter that it stands for.

The one list from which the exposition (`metrics_text.py`) and the manual (docs/reference/metrics.md) are made.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.tracking.metrics import GROUP_SIZES, LONG_SECONDS, SHORT_SECONDS


class Kind(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        help: one sentence.
        exchange: "Object: Counter" of Exchange, "" where it has none.
        bounds: of a histogram's buckets.
    """

    name: str
    kind: Kind
    help: str
    exchange: str = ""
    labels: tuple[str, ...] = ()
    bounds: Sequence[float] = ()

    @property
    def whole_help(self) -> str:
        """The help with Exchange's name."""
        return f"{self.help} (Exchange: {self.exchange})" if self.exchange else self.help


_QUEUES: Final = "MSExchangeTransport Queues: "
_RECEIVE: Final = "MSExchangeTransport SMTPReceive: "
_SEND: Final = "MSExchangeTransport SmtpSend: "
_RESOLVER: Final = "MSExchangeTransport Resolver: "
_DSN: Final = "MSExchangeTransport DSN: "
_CONNECTOR: Final = ("connector",)
_PEER: Final = ("connector", "destination")


def _gauge(name: str, text: str, exchange: str = "", labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"bridgehead_{name}", Kind.GAUGE, text, exchange, labels)


def _counter(name: str, text: str, exchange: str = "", labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"bridgehead_{name}_total", Kind.COUNTER, text, exchange, labels)


def _histogram(name: str, text: str, labels: tuple[str, ...], bounds: Sequence[float]) -> Metric:
    return Metric(f"bridgehead_{name}", Kind.HISTOGRAM, text, "", labels, bounds)


SECTIONS: Final[dict[str, tuple[Metric, ...]]] = {
    "Queues": (
        _gauge("submission_queue_length", "Messages that wait for the categorizer.",
               _QUEUES + "Submission Queue Length"),
        _gauge("aggregate_delivery_queue_length", "Messages in all delivery queues.",
               _QUEUES + "Aggregate Delivery Queue Length (All Queues)"),
        _gauge("active_remote_delivery_queue_length", "Messages for other servers that do not wait for a retry.",
               _QUEUES + "Active Remote Delivery Queue Length"),
        _gauge("active_mailbox_delivery_queue_length", "Messages for the mailbox store that do not wait for a retry.",
               _QUEUES + "Active Mailbox Delivery Queue Length"),
        _gauge("active_non_smtp_delivery_queue_length",
               "Messages for foreign connectors that do not wait for a retry.",
               _QUEUES + "Active Non-Smtp Delivery Queue Length"),
        _gauge("retry_remote_delivery_queue_length",
               "Messages for other servers that wait for a retry, their own or their queue's.",
               _QUEUES + "Retry Remote Delivery Queue Length"),
        _gauge("retry_mailbox_delivery_queue_length",
               "Messages for the mailbox store that wait for a retry, their own or their queue's.",
               _QUEUES + "Retry Mailbox Delivery Queue Length"),
        _gauge("retry_non_smtp_delivery_queue_length",
               "Messages for foreign connectors that wait for a retry, their own or their queue's.",
               _QUEUES + "Retry Non-Smtp Delivery Queue Length"),
        _gauge("external_active_remote_delivery_queue_length",
               "Messages for other servers that do not wait for a retry; every send connector leads outside.",
               _QUEUES + "External Active Remote Delivery Queue Length"),
        _gauge("largest_delivery_queue_length", "Messages in the largest delivery queue.",
               _QUEUES + "Largest Delivery Queue Length"),
        _gauge("external_largest_delivery_queue_length", "Messages in the largest queue for another server.",
               _QUEUES + "External Largest Delivery Queue Length"),
        _gauge("internal_largest_delivery_queue_length", "Messages in the largest queue for the mailbox store.",
               _QUEUES + "Internal Largest Delivery Queue Length"),
        _gauge("unreachable_queue_length", "Messages without a route.", _QUEUES + "Unreachable Queue Length"),
        _gauge("poison_queue_length", "Messages set aside because they ended or disturbed the server.",
               _QUEUES + "Poison Queue Length"),
        _gauge("delivery_queues", "Delivery queues that hold messages, by status.", "", ("status",)),
        _gauge("oldest_message_age_seconds",
               "Age of the oldest message of each kind of queue; 0 where there is none.", "", ("queue",)),
        _gauge("delivery_queue_length", "Messages in each of the largest delivery queues.", "", _PEER),
        _gauge("delivery_queue_oldest_message_age_seconds",
               "Age of the oldest message in each of the largest delivery queues.", "", _PEER),
        _gauge("queue_overview_age_seconds", "How old the numbers of queues are: counting them is spread out."),
    ),
    "Messages": (
        _counter("messages_submitted", "Messages taken into Submission, reports of our own among them.",
                 _QUEUES + "Messages Submitted Total"),
        _counter("messages_completed_categorization", "Messages that the categorizer decided about.",
                 _QUEUES + "Messages Completed Categorization"),
        _counter("messages_queued_for_delivery", "Messages, or parts of them, put into delivery queues.",
                 _QUEUES + "Messages Queued for Delivery Total"),
        _counter("messages_completed_delivery", "Messages that a next hop took for all recipients left.",
                 _QUEUES + "Messages Completed Delivery Total"),
        _counter("items_resubmitted", "Messages put through the categorizer anew.", _QUEUES + "Items Resubmitted"),
        _counter("tracking_events", "Events in the message tracking log.", "", ("event_id",)),
        _counter("tracking_recipients", "Recipients named by events in the message tracking log.", "", ("event_id",)),
        _histogram("submission_seconds",
                   "From acceptance to the categorizer's decision, the commit included.", (), SHORT_SECONDS),
    ),
    "SMTP Receive": (
        _counter("smtp_receive_connections", "Sessions begun.", _RECEIVE + "Connections Total", _CONNECTOR),
        _gauge("smtp_receive_connections_current", "Sessions open.", _RECEIVE + "Connections Current", _CONNECTOR),
        _counter("smtp_receive_connections_refused", "Connections beyond a limit of the connector.", "", _CONNECTOR),
        _counter("smtp_receive_messages", "Messages taken.", _RECEIVE + "Messages Received Total", _CONNECTOR),
        _counter("smtp_receive_bytes", "Octets of messages taken.",
                 _RECEIVE + "Message Bytes Received Total", _CONNECTOR),
        _counter("smtp_receive_recipients", "Recipients of messages taken.",
                 _RECEIVE + "Recipients accepted Total", _CONNECTOR),
        _counter("smtp_receive_rejections", 'Commands refused; class is "permanent" (5yz) or "temporary" (4yz).', "",
                 ("connector", "class")),
        _counter("smtp_receive_tarpitting_delays", "Answers that were held back.",
                 _RECEIVE + "Tarpitting Delays Anonymous, Tarpitting Delays Authenticated", _CONNECTOR),
        _counter("smtp_receive_timeouts", "Sessions ended because they were idle or too long.",
                 _RECEIVE + "Disconnections by Timeout", _CONNECTOR),
        _counter("smtp_receive_tls_sessions", "Sessions under TLS.", _RECEIVE + "TLS Connections Total", _CONNECTOR),
        _counter("smtp_receive_tls_failures", "TLS handshakes that failed.", "", _CONNECTOR),
        _counter("smtp_receive_logon_failures", "Log-ons refused.", "", _CONNECTOR),
        _counter("smtp_receive_logons_deferred", "Log-ons answered with 454: nobody could tell.", "", _CONNECTOR),
        _histogram("smtp_receive_until_mail_seconds", "From the connection to its first MAIL.", _CONNECTOR,
                   SHORT_SECONDS),
        _histogram("smtp_receive_until_reply_seconds",
                   "From MAIL to the 250 for the content, the commit included.", _CONNECTOR, SHORT_SECONDS),
    ),
    "SMTP Send and other delivery": (
        _counter("smtp_send_connections", "Sessions that took mail (for files: writes).",
                 _SEND + "Connections Total", _PEER),
        _counter("smtp_send_connection_failures", "Times that no session with any host could be had.",
                 _SEND + "Connection Failures", _PEER),
        _counter("smtp_send_dns_errors", "Those of them for want of an answer from DNS.", _SEND + "DNS Errors", _PEER),
        _counter("smtp_send_messages", "Messages taken by the next hop for all recipients left.",
                 _SEND + "Messages Sent Total", _PEER),
        _counter("smtp_send_bytes", "Octets of those messages.", _SEND + "Message Bytes Sent Total", _PEER),
        _counter("smtp_send_recipients",
                 'Recipients by outcome of an attempt: "delivered", "deferred" or "failed".',
                 _SEND + "Recipients sent", (*_PEER, "outcome")),
        _gauge("smtp_send_connections_current", "Sessions open, of all send connectors.",
               _SEND + "Connections Current"),
        _histogram("delivery_queue_wait_seconds",
                   "From being due in the delivery queue to the beginning of an attempt.", _PEER, LONG_SECONDS),
        _histogram("delivery_attempt_seconds", "One attempt, from taking the message to its outcome.", _PEER,
                   LONG_SECONDS),
        _histogram("end_to_end_seconds", "From acceptance to delivery of a message.", _PEER, LONG_SECONDS),
    ),
    "Reports, pickup, resolver": (
        _counter("dsn", "Reports to senders, by the worst that they tell.",
                 _DSN + "Failure DSNs Total, Delay DSNs Total, Delivered, Relayed and Expanded DSNs Total",
                 ("action",)),
        _counter("pickup_messages", "Messages taken from the pickup and replay directories.",
                 "MSExchangeTransport Pickup: Messages Submitted Total"),
        _counter("pickup_badmail", "Files in them that are no message.",
                 "MSExchangeTransport Pickup: Messages Badmailed Total"),
        _counter("resolver_failed_recipients", "Recipients refused by the categorizer.",
                 _RESOLVER + "FailedRecipientsTotal"),
        _counter("resolver_unresolved_org_recipients", "Those of them in a domain of ours whom nobody knows.",
                 _RESOLVER + "UnresolvedOrgRecipientsTotal"),
        _counter("resolver_loop_recipients", "Those of them that forward or nest without end.",
                 _RESOLVER + "LoopRecipientsTotal"),
        _counter("resolver_messages_created", "Copies made because recipients go different ways.",
                 _RESOLVER + "MessagesCreatedTotal"),
        _counter("resolver_messages_retried", "Messages put off because the directory did not answer.",
                 _RESOLVER + "MessagesRetriedTotal"),
    ),
    "The store and the disk": (
        _histogram("commit_seconds", "From handing a group of transactions to the disk to its being stable.", (),
                   SHORT_SECONDS),
        _histogram("commit_group_size", "Transactions that shared one sync.", (), GROUP_SIZES),
        _gauge("store_writable", "1 while mail can be stored, 0 from a fault on until it can again."),
        _counter("lost_log_lines", "Lines that no disk took."),
    ),
    "The server": (
        _gauge("info", "Always 1; the label says which version.", "", ("version",)),
        _counter("otlp_exports", "Attempts to send these numbers to an OpenTelemetry collector (`otlp_endpoint`); "
                 "outcome is \"sent\" or \"failed\".", "", ("outcome",)),
        _gauge("start_time_seconds", "Unix time of the start."),
        _gauge("back_pressure_level", "0 Low, 1 Medium, 2 High.", "MSExchangeTransport ResourceThrottling",
               ("resource",)),
        _counter("back_pressure_refusals", "MAIL commands answered with 452 4.3.1."),
        _gauge("alarms", "Alarms that stand.", "", ("severity",)),
        _gauge("alarm", "1 for each kind of alarm that stands.", "", ("kind", "severity")),
        _gauge("certificate_expiry_seconds", "Unix time at which a certificate in use expires.", "", ("certificate",)),
        _counter("process_cpu_seconds", "Processor time of the process that moves mail."),
        _gauge("process_resident_memory_bytes", "Its resident memory."),
        _gauge("process_open_fds", "Its open files and sockets."),
    ),
}  # fmt: skip

METRICS: Final = {metric.name: metric for section in SECTIONS.values() for metric in section}
