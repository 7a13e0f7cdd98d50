# SPDX-License-Identifier: MIT
"""Settings of the queues: retry ladder, expiry, store, back pressure (Exchange's names in snake case)."""

import msgspec

from bridgehead.mail.item import Priority
from bridgehead.mail.units import ByteSize, Duration
from bridgehead.queues.fairness import STANDARD_WEIGHT


class SenderWeight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often one sender has its turn.

    Attributes:
        sender: login as "user:NAME", address, or "@domain" for the others of a domain.
        weight: 10 is everybody's; 20 has twice as many turns.
    """

    sender: str
    weight: int = STANDARD_WEIGHT


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
        sender_weights: senders that have other than the usual number of turns in a queue.
        priority_queuing_enabled: read priorities from messages, and let the settings named for priorities apply.
        max_high_priority_message_size: larger messages are never of high priority.
        low_priority_delay_notification_timeout, high_priority_delay_notification_timeout: delay DSN.
        low_priority_message_expiration_timeout, high_priority_message_expiration_timeout: end of a message's life.
        max_per_domain_low_priority_connections, max_per_domain_normal_priority_connections: messages of this priority
            under way to one next hop at a time.
        max_per_domain_high_priority_connections: the same for high priority.
        safety_net_hold_time: delivered mail is kept so long, to be resubmitted; 0 keeps none.
        safety_net_max_size: what is kept at most, and never more than half of the space that others leave; the oldest
            goes first.
        safety_net_excluded_connectors: what these connectors delivered is not kept; the mailbox store by its name.
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
    sender_weights: list[SenderWeight] = []
    priority_queuing_enabled: bool = False
    max_high_priority_message_size: ByteSize = ByteSize(250 * 1024)
    low_priority_delay_notification_timeout: Duration = Duration(hours=8)
    high_priority_delay_notification_timeout: Duration = Duration(minutes=30)
    low_priority_message_expiration_timeout: Duration = Duration(days=2)
    high_priority_message_expiration_timeout: Duration = Duration(hours=8)
    max_per_domain_low_priority_connections: int = 2
    max_per_domain_normal_priority_connections: int = 15
    max_per_domain_high_priority_connections: int = 3
    safety_net_hold_time: Duration = Duration(days=2)
    safety_net_max_size: ByteSize = ByteSize(10 * 1024**3)
    safety_net_excluded_connectors: list[str] = []

    @property
    def weights(self) -> dict[str, int]:
        """Weights by sender."""
        return {one.sender: one.weight for one in self.sender_weights}

    @property
    def max_high_priority_size(self) -> int | None:
        """Octets up to which a message may ask for high priority; None where none may ask for any."""
        return int(self.max_high_priority_message_size) if self.priority_queuing_enabled else None

    @property
    def priority_connections(self) -> dict[Priority, int]:
        """How many messages of each priority may be under way to one next hop."""
        return {
            Priority.HIGH: self.max_per_domain_high_priority_connections,
            Priority.NORMAL: self.max_per_domain_normal_priority_connections,
            Priority.LOW: self.max_per_domain_low_priority_connections,
        }


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
