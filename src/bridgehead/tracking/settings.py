# SPDX-License-Identifier: MIT
"""Settings of the log files (Set-TransportService MessageTracking*, *ProtocolLog*, ConnectivityLog*)."""

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
    protocol_log_max_age: Duration = Duration(days=30)
    protocol_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    protocol_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    connectivity_log_enabled: bool = True
    connectivity_log_max_age: Duration = Duration(days=30)
    connectivity_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    connectivity_log_max_directory_size: ByteSize = ByteSize(1000 * 1024**2)
    admin_audit_log_age_limit: Duration = Duration(days=90)
    admin_audit_log_max_file_size: ByteSize = ByteSize(10 * 1024**2)
    admin_audit_log_max_directory_size: ByteSize = ByteSize(250 * 1024**2)
    flush_interval: Duration = Duration(seconds=1)
