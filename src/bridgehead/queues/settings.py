# SPDX-License-Identifier: MIT
"""Settings of the queues: retry ladder, expiry, store (Set-TransportService names in snake case)."""

import msgspec

from bridgehead.mail.units import Duration


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retry intervals and what the store may use.

    Attributes:
        queue_glitch_retry_count, queue_glitch_retry_interval: first attempts after a failed connection.
        transient_failure_retry_count, transient_failure_retry_interval: attempts after those.
        outbound_connection_failure_retry_interval: attempts ever after, until expiry.
        message_retry_interval: a message that was refused with 4yz, or whose session broke.
        mailbox_delivery_queue_retry_interval: local delivery.
        retry_jitter: share by which each interval is made shorter or longer at random, 0 to 0.5.
        delay_notification_timeout, message_expiration_timeout: delay DSN and end of a message's life.
        resolver_retry_interval: categorizer, when the directory cannot answer.
        queue_max_idle_time: an empty delivery queue disappears after this.
        poison_threshold: crashes after which a message is set aside.
        queue_database_path: folder of the store, within the data directory.
    """

    queue_glitch_retry_count: int = 4
    queue_glitch_retry_interval: Duration = Duration(minutes=1)
    transient_failure_retry_count: int = 6
    transient_failure_retry_interval: Duration = Duration(minutes=5)
    outbound_connection_failure_retry_interval: Duration = Duration(minutes=10)
    message_retry_interval: Duration = Duration(minutes=5)
    mailbox_delivery_queue_retry_interval: Duration = Duration(minutes=5)
    retry_jitter: float = 0.1
    delay_notification_timeout: Duration = Duration(hours=4)
    message_expiration_timeout: Duration = Duration(days=2)
    resolver_retry_interval: Duration = Duration(minutes=30)
    queue_max_idle_time: Duration = Duration(minutes=3)
    poison_threshold: int = 2
    queue_database_path: str = "queue"
