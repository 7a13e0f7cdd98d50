# SPDX-License-Identifier: MIT
"""Settings of the queues: retry ladder, expiry, store, back pressure (Exchange's names in snake case)."""

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
        removed_message_hold_time: what was removed without a report is kept so long, so that it can be undone.
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
    removed_message_hold_time: Duration = Duration(days=1)
    queue_database_path: str = "queue"


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a resource's level changes.

    Attributes:
        low_to_medium, medium_to_high: at this value or above it the level rises.
        high_to_medium, medium_to_low: below this value it falls.
    """

    low_to_medium: float
    medium_to_high: float
    high_to_medium: float
    medium_to_low: float


class DatabaseUsedSpace(Thresholds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percent in use of the drive that holds the queue database."""

    low_to_medium: float = 96
    medium_to_high: float = 99
    high_to_medium: float = 97
    medium_to_low: float = 94


class UsedDiskSpace(Thresholds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percent in use of the drive that holds the logs."""

    low_to_medium: float = 89
    medium_to_high: float = 99
    high_to_medium: float = 90
    medium_to_low: float = 80


class PrivateBytes(Thresholds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percent of the memory that the server's processes have for themselves."""

    low_to_medium: float = 72
    medium_to_high: float = 75
    high_to_medium: float = 73
    medium_to_low: float = 71


class SystemMemory(Thresholds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percent of the memory in use by all."""

    low_to_medium: float = 88
    medium_to_high: float = 94
    high_to_medium: float = 89
    medium_to_low: float = 84


class SubmissionQueueLength(Thresholds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages that wait in Submission."""

    low_to_medium: float = 9999
    medium_to_high: float = 15000
    high_to_medium: float = 10000
    medium_to_low: float = 2000


class BackPressureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the server takes less mail, so that what it has is safe (EdgeTransport.exe.config keys).

    Attributes:
        enable_resource_monitoring: look at disks, memory and Submission at all.
        resource_metering_interval: time between two looks.
        dehydrate_messages_under_memory_pressure: let messages that wait in memory go to disk.
        private_bytes_history_depth, submission_queue_history_depth: looks above Low in a row before Medium refuses
            mail.
    """

    enable_resource_monitoring: bool = True
    resource_metering_interval: Duration = Duration(seconds=2)
    dehydrate_messages_under_memory_pressure: bool = True
    private_bytes_history_depth: int = 30
    submission_queue_history_depth: int = 300
    database_used_space: DatabaseUsedSpace = DatabaseUsedSpace()
    used_disk_space: UsedDiskSpace = UsedDiskSpace()
    private_bytes: PrivateBytes = PrivateBytes()
    system_memory: SystemMemory = SystemMemory()
    submission_queue_length: SubmissionQueueLength = SubmissionQueueLength()
