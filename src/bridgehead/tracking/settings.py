# SPDX-License-Identifier: MIT
"""Settings of the log files (Set-TransportService: MessageTracking*, *ProtocolLog*, ConnectivityLog*, AgentLog*,
QueueLog*, RoutingTableLog*, PipelineTracing*)."""

import msgspec

from bridgehead.mail.units import ByteSize, Duration


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Log files: folder "" within the data directory, kept for `max_age` and up to `max_directory_size`."""

    log_directory: str = "logs"
    message_tracking_log_enabled: bool = True
    message_tracking_log_subject_logging_enabled: bool = True
    message_tracking_log_max_age: Duration = Duration(days=30)
    message_tracking_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    message_tracking_log_max_directory_size: ByteSize = ByteSize(1000 * 1024**2)
    message_tracking_index_max_size: ByteSize = ByteSize(1024**3)
    receive_protocol_log_max_age: Duration = Duration(days=30)
    receive_protocol_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    receive_protocol_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    send_protocol_log_max_age: Duration = Duration(days=30)
    send_protocol_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    send_protocol_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    connectivity_log_enabled: bool = True
    connectivity_log_max_age: Duration = Duration(days=30)
    connectivity_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    connectivity_log_max_directory_size: ByteSize = ByteSize(1000 * 1024**2)
    admin_audit_log_age_limit: Duration = Duration(days=90)
    admin_audit_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    admin_audit_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    agent_log_enabled: bool = True
    agent_log_max_age: Duration = Duration(days=7)
    agent_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    agent_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    queue_log_enabled: bool = True
    queue_log_interval: Duration = Duration(minutes=1)
    queue_log_max_age: Duration = Duration(days=7)
    queue_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    queue_log_max_directory_size: ByteSize = ByteSize(200 * 1024**2)
    routing_table_log_enabled: bool = True
    routing_config_reload_interval: Duration = Duration(hours=12)
    routing_table_log_max_age: Duration = Duration(days=7)
    routing_table_log_max_directory_size: ByteSize = ByteSize(50 * 1024**2)
    pipeline_tracing_enabled: bool = False
    pipeline_tracing_sender_address: str = ""
    pipeline_tracing_path: str = "Hub/PipelineTracing"
    pipeline_tracing_max_age: Duration = Duration(days=7)
    pipeline_tracing_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    json_log_enabled: bool = False
    flush_interval: Duration = Duration(seconds=1)
