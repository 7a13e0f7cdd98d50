# SPDX-License-Identifier: MIT
"""All log files of one server, in Exchange's folders, and the thread that writes them.

The thread keeps file access off the event loop: a slow disk delays lines, never mail.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridgehead.tracking.connectivity_log import KIND as CONNECTIVITY
from bridgehead.tracking.connectivity_log import ConnectivityLogFile, NoConnectivityLog
from bridgehead.tracking.flight_recorder import FlightRecorder
from bridgehead.tracking.log import LogFile, LogKind, LogLimits
from bridgehead.tracking.message_tracking import KIND as MESSAGE_TRACKING
from bridgehead.tracking.message_tracking import MessageTrackingLog, NoTracking
from bridgehead.tracking.ports import ConnectivityLog, ProtocolLog, Tracker
from bridgehead.tracking.protocol_log import RECEIVE_KIND, SEND_KIND, ProtocolLogFile
from bridgehead.tracking.settings import LogSettings

MESSAGE_TRACKING_FOLDER: Final = "MessageTracking"
SMTP_RECEIVE_FOLDER: Final = "ProtocolLog/SmtpReceive"
SMTP_SEND_FOLDER: Final = "ProtocolLog/SmtpSend"
CONNECTIVITY_FOLDER: Final = "Connectivity"
FLIGHT_RECORDER_FILE: Final = "FlightRecorder/flights.msgpack"


class Logs:
    """The server's logs. `start` begins to write, `close` writes what is left; both are called once.

    Args:
        folder: `log_directory`, made absolute by the caller.
        now: Unix time.
    """

    message_tracking: Tracker
    smtp_receive: ProtocolLog
    smtp_send: ProtocolLog
    connectivity: ConnectivityLog

    def __init__(self, settings: LogSettings, folder: Path, now: Callable[[], float]) -> None:
        self._interval = settings.flush_interval.total_seconds()
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._files: list[LogFile] = []
        self.flush_message_tracking: Callable[[], None] = lambda: None
        """Write the tracking events recorded so far, now. From any thread; never raises."""
        self._folder, self._now = folder, now
        self.flights = FlightRecorder(folder / FLIGHT_RECORDER_FILE, now)
        protocol = LogLimits(
            settings.protocol_log_max_age, settings.protocol_log_max_file_size, settings.protocol_log_max_directory_size
        )
        self.smtp_receive = ProtocolLogFile(self._file(SMTP_RECEIVE_FOLDER, RECEIVE_KIND, protocol), now)
        self.smtp_send = ProtocolLogFile(self._file(SMTP_SEND_FOLDER, SEND_KIND, protocol), now)
        self.message_tracking = self._message_tracking(settings)
        self.connectivity = self._connectivity(settings)

    def start(self) -> None:
        """Begin to write. Lines recorded before are written, too."""
        self.flights.load()
        self._thread.start()

    def flush(self) -> None:
        """Write what was recorded so far, now. For tests and before files are read."""
        for file in self._files:
            file.flush()

    def close(self) -> None:
        """Stop the thread and write what is left. Never raises."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        for file in self._files:
            file.close()
        self.flights.save(at_once=True)

    @property
    def lost_lines(self) -> int:
        """Lines that were thrown away since the start because no disk took them."""
        return sum(file.lost_lines for file in self._files)

    def _file(self, folder: str, kind: LogKind, limits: LogLimits) -> LogFile:
        file = LogFile(self._folder / folder, kind, limits, self._now, self._wake.set)
        self._files.append(file)
        return file

    def _message_tracking(self, settings: LogSettings) -> Tracker:
        if not settings.message_tracking_log_enabled:
            return NoTracking()
        limits = LogLimits(
            settings.message_tracking_log_max_age,
            settings.message_tracking_log_max_file_size,
            settings.message_tracking_log_max_directory_size,
        )
        file = self._file(MESSAGE_TRACKING_FOLDER, MESSAGE_TRACKING, limits)
        self.flush_message_tracking = file.flush
        subjects = settings.message_tracking_log_subject_logging_enabled
        return MessageTrackingLog(file, subject_logging_enabled=subjects)

    def _connectivity(self, settings: LogSettings) -> ConnectivityLog:
        if not settings.connectivity_log_enabled:
            return NoConnectivityLog()
        limits = LogLimits(
            settings.connectivity_log_max_age,
            settings.connectivity_log_max_file_size,
            settings.connectivity_log_max_directory_size,
        )
        return ConnectivityLogFile(self._file(CONNECTIVITY_FOLDER, CONNECTIVITY, limits), self._now)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval)
            self._wake.clear()
            self.flush()
            self.flights.save()
