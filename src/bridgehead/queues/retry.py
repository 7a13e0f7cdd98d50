# SPDX-License-Identifier: MIT
"""When things are tried again and when a message's patience ends: Exchange's retry ladder. Pure.

A queue whose next hop cannot be reached is tried after each of `queue_glitch_retry_count` glitch intervals, then after
each of `transient_failure_retry_count` transient intervals, then at the outbound connection failure interval until
its messages expire. A message that the remote server deferred has an interval of its own.
"""

from datetime import timedelta

from bridgehead.mail.item import Priority
from bridgehead.queues.settings import QueueSettings


def next_connection_retry(
    settings: QueueSettings, failures: int, now: float, random: float, *, to_mailbox: bool = False
) -> float:
    """When a queue is to be connected again.

    Args:
        failures: connection failures in a row, the one just met included; 0 counts as 1.
        now: Unix time.
        random: 0 <= random < 1, spreads retries so that queues which failed together do not return together.
        to_mailbox: a local delivery queue, which has one fixed interval.
    """
    glitches = settings.queue_glitch_retry_count
    if to_mailbox:
        interval: timedelta = settings.mailbox_delivery_queue_retry_interval
    elif failures <= glitches:
        interval = settings.queue_glitch_retry_interval
    elif failures <= glitches + settings.transient_failure_retry_count:
        interval = settings.transient_failure_retry_interval
    else:
        interval = settings.outbound_connection_failure_retry_interval
    return now + jittered(interval, settings.retry_jitter, random)


def message_interval(settings: QueueSettings, *, to_mailbox: bool) -> timedelta:
    """Between two attempts of one message; a local delivery queue has one interval for everything."""
    return settings.mailbox_delivery_queue_retry_interval if to_mailbox else settings.message_retry_interval


def next_message_retry(settings: QueueSettings, now: float, random: float, *, to_mailbox: bool = False) -> float:
    """When a message that was deferred with 4yz, or whose session broke, is tried again."""
    return now + jittered(message_interval(settings, to_mailbox=to_mailbox), settings.retry_jitter, random)


def next_resolver_retry(settings: QueueSettings, now: float, random: float) -> float:
    """When the categorizer asks again a directory that could not answer."""
    return now + jittered(settings.resolver_retry_interval, settings.retry_jitter, random)


def deadline_of(
    received_at: float, settings: QueueSettings, delay_notified: bool, expires_at: float = 0.0,
    priority: Priority = Priority.NORMAL,
) -> float:  # fmt: skip
    """The next time at which something is owed whatever happens: the delay DSN, and once that is done (or where it
    would come no earlier than the end) the expiry.

    Args:
        received_at: Unix time of acceptance.
        delay_notified: nobody is owed a delay DSN any more.
        expires_at: what an administrator set instead of the settings' expiry, 0 for nothing.
        priority: where priorities have timeouts of their own.
    """
    timeout = settings.message_expiration_timeout
    if priority is not Priority.NORMAL and settings.priority_queuing_enabled:
        timeout = settings.high_priority_message_expiration_timeout
        if priority is Priority.LOW:
            timeout = settings.low_priority_message_expiration_timeout
    expiry = expires_at or received_at + timeout.total_seconds()
    return expiry if delay_notified else min(notice_of(received_at, settings, priority), expiry)


def notice_of(received_at: float, settings: QueueSettings, priority: Priority) -> float:
    """When the sender of a message that still waits is told of the delay."""
    timeout = settings.delay_notification_timeout
    if priority is not Priority.NORMAL and settings.priority_queuing_enabled:
        timeout = settings.high_priority_delay_notification_timeout
        if priority is Priority.LOW:
            timeout = settings.low_priority_delay_notification_timeout
    return received_at + timeout.total_seconds()


def longest_retry(settings: QueueSettings) -> float:
    """Seconds after which, at the latest, whatever waits is tried again."""
    longest = max(
        settings.queue_glitch_retry_interval,
        settings.transient_failure_retry_interval,
        settings.outbound_connection_failure_retry_interval,
        settings.message_retry_interval,
        settings.mailbox_delivery_queue_retry_interval,
        settings.resolver_retry_interval,
    )
    return longest.total_seconds() * (1 + settings.retry_jitter)


def jittered(interval: timedelta, jitter: float, random: float) -> float:
    """Seconds: the interval, made shorter or longer by at most the share `jitter`."""
    return interval.total_seconds() * (1 + jitter * (2 * random - 1))
