# SPDX-License-Identifier: MIT
"""All log files of one server, in Exchange's folders, and the thread that writes them.

The thread keeps file access off the event loop: a slow disk delays lines, never mail.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridgehead.tracking.agent_log import KIND as AGENT
from bridgehead.tracking.agent_log import AgentLogFile, NoAgentLog
from bridgehead.tracking.connectivity_log import KIND as CONNECTIVITY
from bridgehead.tracking.connectivity_log import ConnectivityLogFile, NoConnectivityLog
from bridgehead.tracking.flight_recorder import FlightRecorder
from bridgehead.tracking.json_lines import JsonLines, json_kind
from bridgehead.tracking.log import LogFile, LogKind, LogLimits
from bridgehead.tracking.message_tracking import KIND as MESSAGE_TRACKING
from bridgehead.tracking.message_tracking import MessageTrackingLog, NoTracking
from bridgehead.tracking.pipeline_tracing import FOLDER as PIPELINE_TRACING_FOLDER
from bridgehead.tracking.pipeline_tracing import PipelineTracing
from bridgehead.tracking.ports import AgentLog, ConnectivityLog, ProtocolLog, Tracker
from bridgehead.tracking.protocol_log import RECEIVE_KIND, SEND_KIND, ProtocolLogFile
from bridgehead.tracking.queue_log import KIND as QUEUE
from bridgehead.tracking.queue_log import QueueLogFile
from bridgehead.tracking.settings import LogSettings
from bridgehead.tracking.snapshot_folder import SnapshotFolder

MESSAGE_TRACKING_FOLDER: Final = "MessageTracking"
SMTP_RECEIVE_FOLDER: Final = "Hub/ProtocolLog/SmtpReceive"
SMTP_SEND_FOLDER: Final = "Hub/ProtocolLog/SmtpSend"
CONNECTIVITY_FOLDER: Final = "Hub/Connectivity"
AGENT_FOLDER: Final = "Hub/AgentLog"
QUEUE_FOLDER: Final = "Hub/QueueViewer"
ROUTING_FOLDER: Final = "Hub/Routing"
FLIGHT_RECORDER_FILE: Final = "FlightRecorder/flights.msgpack"


class Logs:
    """The server's logs. `start` begins to write, `close` writes what is left; both are called once.

    Args:
        folder: `log_directory`, made absolute by the caller.
        now: Unix time.
        flights: where the flight recorder is kept, by default within `folder`.
    """

    message_tracking: Tracker
    smtp_receive: ProtocolLog
    smtp_send: ProtocolLog
    connectivity: ConnectivityLog
    agents: AgentLog

    def __init__(
        self, settings: LogSettings, folder: Path, now: Callable[[], float], flights: Path | None = None
    ) -> None:
        self._interval = settings.flush_interval.total_seconds()
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._files: list[LogFile] = []
        self._settings = settings
        self._limited: list[tuple[LogFile, str]] = []
        """Files, each with the beginning of its settings' names."""
        self._json: list[JsonLines] = []
        self._json_enabled = settings.json_log_enabled
        self.flush_message_tracking: Callable[[], None] = lambda: None
        """Write the tracking events recorded so far, now. From any thread; never raises."""
        self._folder, self._now = folder, now
        self.flights = FlightRecorder(flights or folder / FLIGHT_RECORDER_FILE, now)
        self.smtp_receive = ProtocolLogFile(self._file(SMTP_RECEIVE_FOLDER, RECEIVE_KIND, "receive_protocol_log"), now)
        self.smtp_send = ProtocolLogFile(self._file(SMTP_SEND_FOLDER, SEND_KIND, "send_protocol_log"), now)
        self.agents = self._agents(settings)
        self.pipeline_tracing = self._pipeline_tracing(settings)
        self.queues = self._queues(settings)
        self.message_tracking = self._message_tracking(settings)
        self.connectivity = self._connectivity(settings)

    def start(self) -> None:
        """Begin to write. Lines recorded before are written, too."""
        self.flights.load()
        self._thread.start()
        if self.pipeline_tracing is not None:
            self.pipeline_tracing.start()

    def reconfigure(self, settings: LogSettings) -> None:
        """Use other limits, intervals and names of senders from now on; which logs there are stays as it was."""
        former, self._settings = self._settings, settings
        self._interval = settings.flush_interval.total_seconds()
        for file, name in self._limited:
            file.limits = _limits(settings, name)
        if isinstance(self.message_tracking, MessageTrackingLog):
            self.message_tracking.subject_logging_enabled = settings.message_tracking_log_subject_logging_enabled
        if _of_tracing(former) != _of_tracing(settings):
            self.pipeline_tracing = self._pipeline_tracing(settings)
            if self.pipeline_tracing is not None:
                self.pipeline_tracing.start()

    def flush(self) -> None:
        """Write what was recorded so far, now. For tests and before files are read."""
        for file in self._files:
            file.flush()
        for one in self._json:
            one.flush()

    def close(self) -> None:
        """Stop the thread and write what is left. Never raises."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        for file in self._files:
            file.close()
        for one in self._json:
            one.close()
        if self.pipeline_tracing is not None:
            self.pipeline_tracing.close()
        self.flights.save(at_once=True)

    @property
    def lost_lines(self) -> int:
        """Lines that were thrown away since the start because no disk took them."""
        json_lines = sum(one.lost_lines + one.file.lost_lines for one in self._json)
        return sum(file.lost_lines for file in self._files) + json_lines

    def _file(self, folder: str, kind: LogKind, name: str) -> LogFile:
        """A log whose settings begin with a name."""
        limits = _limits(self._settings, name)
        file = LogFile(self._folder / folder, kind, limits, self._now, self._wake.set)
        self._files.append(file)
        self._limited.append((file, name))
        if self._json_enabled:
            json_file = LogFile(self._folder / folder, json_kind(kind), limits, self._now)
            self._limited.append((json_file, name))
            self._json.append(JsonLines(kind, json_file))
            file.follower = self._json[-1].take
        return file

    def _message_tracking(self, settings: LogSettings) -> Tracker:
        if not settings.message_tracking_log_enabled:
            return NoTracking()
        file = self._file(MESSAGE_TRACKING_FOLDER, MESSAGE_TRACKING, "message_tracking_log")
        self.flush_message_tracking = file.flush
        subjects = settings.message_tracking_log_subject_logging_enabled
        return MessageTrackingLog(file, subject_logging_enabled=subjects)

    def _connectivity(self, settings: LogSettings) -> ConnectivityLog:
        if not settings.connectivity_log_enabled:
            return NoConnectivityLog()
        file = self._file(CONNECTIVITY_FOLDER, CONNECTIVITY, "connectivity_log")
        return ConnectivityLogFile(file, self._now)

    def _agents(self, settings: LogSettings) -> AgentLog:
        if not settings.agent_log_enabled:
            return NoAgentLog()
        return AgentLogFile(self._file(AGENT_FOLDER, AGENT, "agent_log"))

    def _pipeline_tracing(self, settings: LogSettings) -> PipelineTracing | None:
        if not settings.pipeline_tracing_enabled:
            return None
        folder = SnapshotFolder(
            self._folder / settings.pipeline_tracing_path / PIPELINE_TRACING_FOLDER,
            settings.pipeline_tracing_max_age,
            settings.pipeline_tracing_max_directory_size,
        )
        return PipelineTracing(folder, settings.pipeline_tracing_sender_address, self._now)

    def _queues(self, settings: LogSettings) -> QueueLogFile | None:
        if not settings.queue_log_enabled:
            return None
        return QueueLogFile(self._file(QUEUE_FOLDER, QUEUE, "queue_log"))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval)
            self._wake.clear()
            self.flush()
            self.flights.save()


def _of_tracing(settings: LogSettings) -> list[object]:
    return [getattr(settings, name) for name in settings.__struct_fields__ if name.startswith("pipeline_tracing_")]


def _limits(settings: LogSettings, log: str) -> LogLimits:
    """The three limits of a log, whose settings begin with its name."""
    return LogLimits(
        getattr(settings, f"{log}_max_age"),
        getattr(settings, f"{log}_max_file_size"),
        getattr(settings, f"{log}_max_directory_size"),
    )
