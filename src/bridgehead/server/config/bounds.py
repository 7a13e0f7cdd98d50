# SPDX-License-Identifier: MIT
"""Which values each numeric setting may take: one table, read by the check and by the reference manual.

The ranges are Exchange's (Set-ReceiveConnector, Set-SendConnector, Set-TransportService, Set-TransportConfig) where it
has the setting; the others keep a typing error from becoming a fault.
"""

from datetime import timedelta
from typing import Final

import msgspec

from bridgehead.admin.probe.settings import ConnectorTestSettings
from bridgehead.categorizer.settings import CategorizerSettings
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.mail.limits import WORKERS
from bridgehead.mail.units import UNLIMITED, ByteSize, Duration
from bridgehead.monitoring.settings import AlarmSettings, MonitoringSettings
from bridgehead.net.acme.settings import AcmeSettings
from bridgehead.net.sts.settings import MtaStsSettings
from bridgehead.queues.settings import (
    BackPressureSettings,
    DatabaseUsedSpace,
    PrivateBytes,
    QueueSettings,
    SenderWeight,
    SubmissionQueueLength,
    SystemMemory,
    UsedDiskSpace,
)
from bridgehead.receive.logons.ldap.settings import LdapSettings
from bridgehead.receive.logons.settings import AuthServer, LockoutSettings
from bridgehead.receive.settings import Device, PickupSettings, ReceiveConnector
from bridgehead.routing.settings import ForeignConnector, MailboxStore, SendConnector
from bridgehead.server.config.schema import ServerSettings
from bridgehead.tracking.settings import LogSettings
from bridgehead.tracking.tls_reports.settings import TlsReportSettings

_KB: Final = 1024
_MB: Final = 1024**2
_GB: Final = 1024**3
_INT32: Final = 2**31 - 1
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Bound(msgspec.Struct, frozen=True):
    """Lowest and highest value; `unlimited`: that word is taken as well."""

    low: float | timedelta
    high: float | timedelta
    unlimited: bool = False

    def admits(self, value: float | timedelta) -> bool:
        if isinstance(value, timedelta):
            assert isinstance(self.low, timedelta)
            assert isinstance(self.high, timedelta)
            return self.low <= value <= self.high
        assert not isinstance(self.low, timedelta)
        assert not isinstance(self.high, timedelta)
        return (self.unlimited and value == UNLIMITED) or self.low <= value <= self.high

    def shown(self, kind: object) -> str:
        """The range in words, in the unit of a setting of type `kind`."""
        low, high = self._shown(self.low, kind), self._shown(self.high, kind)
        return f"{low} to {high}" + (" or unlimited" if self.unlimited else "")

    @staticmethod
    def _shown(value: float | timedelta, kind: object) -> str:
        if isinstance(value, timedelta):
            return str(Duration(seconds=value.total_seconds()))
        if kind is ByteSize:
            size = int(value)
            return f"{size / _GB:.0f} GB" if size == _INT32 else str(ByteSize(size))
        return str(value)


def _time(low: timedelta, high: timedelta) -> Bound:
    return Bound(low, high)


def _thresholds(high: float) -> dict[str, Bound]:
    """All four thresholds of a resource of the back pressure."""
    names = ("low_to_medium", "medium_to_high", "high_to_medium", "medium_to_low")
    return dict.fromkeys(names, Bound(0, high))


_LOG_AGE: Final = _time(_SECOND, 24855 * _DAY)
_LOG_FILE: Final = Bound(64 * _KB, 4 * _GB)
_LOG_DIRECTORY: Final = Bound(1 * _MB, 1024 * _GB, unlimited=True)

BOUNDS: Final[dict[type[msgspec.Struct], dict[str, Bound]]] = {
    ConnectorTestSettings: {
        "interval": _time(_SECOND, 7 * _DAY),
        "step_timeout": _time(_SECOND, 5 * _MINUTE),
        "results_kept": Bound(1, 10_000),
    },
    ReceiveConnector: {
        "max_inbound_connection": Bound(1, _INT32, unlimited=True),
        "max_inbound_connection_per_source": Bound(1, 10_000, unlimited=True),
        "max_inbound_connection_percentage_per_source": Bound(1, 100),
        "message_rate_limit": Bound(1, _INT32, unlimited=True),
        "max_protocol_errors": Bound(0, _INT32, unlimited=True),
        "max_logon_failures": Bound(0, 10),
        "max_message_size": Bound(64 * _KB, _INT32),
        "max_header_size": Bound(1, _INT32),
        "max_recipients_per_message": Bound(1, 512_000),
        "max_hop_count": Bound(1, 500),
        "max_local_hop_count": Bound(0, 50),
        "connection_timeout": _time(_SECOND, _DAY),
        "connection_inactivity_timeout": _time(_SECOND, _DAY),
        "tarpit_interval": _time(timedelta(0), 10 * _MINUTE),
        "auth_tarpit_interval": _time(timedelta(0), 10 * _MINUTE),
    },
    Device: {
        "message_rate_limit": Bound(1, _INT32, unlimited=True),
        "max_message_size": Bound(64 * _KB, _INT32),
        "max_recipients_per_message": Bound(1, 512_000),
        "silence_after": _time(timedelta(0), 400 * _DAY),
    },
    PickupSettings: {
        "pickup_directory_max_messages_per_minute": Bound(1, 20_000),
        "pickup_directory_max_header_size": Bound(32 * _KB, _INT32),
        "pickup_directory_max_recipients_per_message": Bound(1, 10_000),
        "poll_interval": _time(timedelta(milliseconds=10), _HOUR),
    },
    SendConnector: {
        "port": Bound(1, 65_535),
        "max_message_size": Bound(0, _INT32, unlimited=True),
        "smtp_max_messages_per_connection": Bound(1, _INT32),
        "connection_inactivity_timeout": _time(_SECOND, _DAY),
        "max_outbound_connections_per_domain": Bound(0, 100_000),
    },
    ForeignConnector: {
        "drop_directory_quota": Bound(0, 1024 * _GB, unlimited=True),
        "max_message_size": Bound(0, _INT32, unlimited=True),
    },
    MailboxStore: {"max_concurrent_mailbox_deliveries": Bound(1, 1_000, unlimited=True)},
    SenderWeight: {"weight": Bound(1, 1_000)},
    QueueSettings: {
        "queue_glitch_retry_count": Bound(0, 15),
        "queue_glitch_retry_interval": _time(_SECOND, _DAY),
        "transient_failure_retry_count": Bound(0, 15),
        "transient_failure_retry_interval": _time(_SECOND, 12 * _HOUR),
        "outbound_connection_failure_retry_interval": _time(_SECOND, 20 * _DAY),
        "message_retry_interval": _time(_SECOND, _DAY),
        "mailbox_delivery_queue_retry_interval": _time(_SECOND, _DAY),
        "retry_jitter": Bound(0, 0.5),
        "delay_notification_timeout": _time(_SECOND, 30 * _DAY),
        "message_expiration_timeout": _time(5 * _SECOND, 90 * _DAY),
        "resolver_retry_interval": _time(_SECOND, _DAY),
        "queue_max_idle_time": _time(5 * _SECOND, _HOUR),
        "poison_threshold": Bound(1, 10),
        "safety_net_hold_time": _time(timedelta(0), 90 * _DAY),
        "safety_net_max_size": Bound(16 * _MB, 1024 * _GB, unlimited=True),
        "max_high_priority_message_size": Bound(0, _INT32),
        "low_priority_delay_notification_timeout": _time(_SECOND, 30 * _DAY),
        "high_priority_delay_notification_timeout": _time(_SECOND, 30 * _DAY),
        "low_priority_message_expiration_timeout": _time(5 * _SECOND, 90 * _DAY),
        "high_priority_message_expiration_timeout": _time(5 * _SECOND, 90 * _DAY),
        "max_per_domain_low_priority_connections": Bound(1, _INT32),
        "max_per_domain_normal_priority_connections": Bound(1, _INT32),
        "max_per_domain_high_priority_connections": Bound(1, _INT32),
        "removed_message_hold_time": _time(_SECOND, 90 * _DAY),
    },
    BackPressureSettings: {
        "resource_metering_interval": _time(timedelta(milliseconds=50), _HOUR),
        "private_bytes_history_depth": Bound(0, 100_000),
        "submission_queue_history_depth": Bound(0, 100_000),
    },
    DatabaseUsedSpace: _thresholds(100),
    UsedDiskSpace: _thresholds(100),
    PrivateBytes: _thresholds(100),
    SystemMemory: _thresholds(100),
    SubmissionQueueLength: _thresholds(_INT32),
    CategorizerSettings: {
        "max_send_size": Bound(0, _INT32, unlimited=True),
        "max_receive_size": Bound(0, _INT32, unlimited=True),
        "max_recipient_envelope_limit": Bound(0, _INT32, unlimited=True),
        "expansion_size_limit": Bound(1, 100_000),
    },
    DeliverySettings: {
        "max_outbound_connections": Bound(1, _INT32, unlimited=True),
        "max_per_domain_outbound_connections": Bound(1, _INT32, unlimited=True),
        "connect_timeout": _time(_SECOND, 10 * _MINUTE),
        "dsn_max_message_attach_size": Bound(0, _INT32),
        "outbound_window_bytes": Bound(1 * _MB, 64 * _GB),
    },
    ServerSettings: {"workers": Bound(1, WORKERS)},
    LogSettings: {
        "message_tracking_log_max_age": _LOG_AGE,
        "message_tracking_log_max_file_size": _LOG_FILE,
        "message_tracking_log_max_directory_size": _LOG_DIRECTORY,
        "message_tracking_index_max_size": Bound(0, _INT32),
        "receive_protocol_log_max_age": _LOG_AGE,
        "receive_protocol_log_max_file_size": _LOG_FILE,
        "receive_protocol_log_max_directory_size": _LOG_DIRECTORY,
        "send_protocol_log_max_age": _LOG_AGE,
        "send_protocol_log_max_file_size": _LOG_FILE,
        "send_protocol_log_max_directory_size": _LOG_DIRECTORY,
        "agent_log_max_age": _LOG_AGE,
        "agent_log_max_file_size": _LOG_FILE,
        "agent_log_max_directory_size": _LOG_DIRECTORY,
        "queue_log_interval": _time(timedelta(milliseconds=100), _DAY),
        "queue_log_max_age": _LOG_AGE,
        "queue_log_max_file_size": _LOG_FILE,
        "queue_log_max_directory_size": _LOG_DIRECTORY,
        "routing_config_reload_interval": _time(_SECOND, 365 * _DAY),
        "routing_table_log_max_age": _LOG_AGE,
        "routing_table_log_max_directory_size": _LOG_DIRECTORY,
        "pipeline_tracing_max_age": _LOG_AGE,
        "pipeline_tracing_max_directory_size": _LOG_DIRECTORY,
        "connectivity_log_max_age": _LOG_AGE,
        "connectivity_log_max_file_size": _LOG_FILE,
        "connectivity_log_max_directory_size": _LOG_DIRECTORY,
        "admin_audit_log_age_limit": _LOG_AGE,
        "admin_audit_log_max_file_size": _LOG_FILE,
        "admin_audit_log_max_directory_size": _LOG_DIRECTORY,
        "flush_interval": _time(timedelta(milliseconds=10), _MINUTE),
    },
    AuthServer: {
        "clock_skew": _time(timedelta(0), 10 * _MINUTE),
        "key_refresh_interval": _time(_MINUTE, 30 * _DAY),
        "max_key_age": _time(_MINUTE, 365 * _DAY),
    },
    LdapSettings: {
        "connections": Bound(1, 64),
        "timeout": _time(timedelta(milliseconds=100), _MINUTE),
        "cache_time": _time(timedelta(0), _HOUR),
    },
    LockoutSettings: {
        "account_lockout_threshold": Bound(0, 999),
        "source_lockout_threshold": Bound(0, 100_000),
        "lockout_observation_window": _time(_MINUTE, 30 * _DAY),
        "lockout_duration": _time(_SECOND, 30 * _DAY),
        "max_lockout_duration": _time(_SECOND, 30 * _DAY),
        "alarm_accounts": Bound(0, 1000),
    },
    AcmeSettings: {
        "renew_before": _time(_HOUR, 365 * _DAY),
        "timeout": _time(_SECOND, _HOUR),
        "dns_propagation_timeout": _time(timedelta(0), _HOUR),
    },
    TlsReportSettings: {"max_age": _time(_DAY, 3650 * _DAY)},
    MtaStsSettings: {"max_age": _time(timedelta(0), 365 * _DAY)},
    AlarmSettings: {
        "channel_timeout": _time(_SECOND, 10 * _MINUTE),
        "check_interval": _time(timedelta(milliseconds=100), _HOUR),
        "reminder_interval": _time(timedelta(0), 365 * _DAY),
        "all_clear_delay": _time(timedelta(0), _DAY),
        "hold_time": _time(timedelta(0), _DAY),
        "oldest_message_age": _time(timedelta(0), 90 * _DAY),
        "time_to_drain": _time(timedelta(0), 90 * _DAY),
        "aggregate_delivery_queue_length_warning": Bound(1, _INT32, unlimited=True),
        "aggregate_delivery_queue_length_critical": Bound(1, _INT32, unlimited=True),
        "active_delivery_queue_length": Bound(1, _INT32, unlimited=True),
        "submission_queue_length": Bound(1, _INT32, unlimited=True),
        "unreachable_queue_length": Bound(0, _INT32),
        "poison_queue_length": Bound(0, _INT32),
        "peer_failure_share": Bound(0, 1),
        "peer_failure_messages": Bound(1, _INT32),
        "peer_failure_period": _time(_SECOND, _DAY),
        "source_habit_days": Bound(1, 365),
        "source_silence_hours": Bound(1, 168),
        "source_silence_factor": Bound(1, 100),
        "source_silence_minimum": _time(_MINUTE, 90 * _DAY),
        "sources": Bound(1, 10_000),
    },
    MonitoringSettings: {"destinations": Bound(1, 200), "otlp_interval": _time(_SECOND, _HOUR)},
}
