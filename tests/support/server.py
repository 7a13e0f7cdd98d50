# SPDX-License-Identifier: MIT
"""A real server process: started in a folder of its own, observed from outside, ended or killed."""

import csv
import json
import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from support.configuration import Settings, to_toml
from support.ports import greets, wait_until
from support.programs import end

TrackingLine = dict[str, str]


class Server:
    """One configuration and at most one running process.

    Args:
        directory: everything of this server lies here.
        settings: the configuration as dictionaries (`configuration.base`).
        recipients: directory objects, as `configuration.mailbox` and `group` make them.
        launcher: program and arguments in front of "-c CONFIG run"; by default this interpreter's bridgehead.
    """

    def __init__(
        self, directory: Path, settings: Settings, recipients: Sequence[Settings] = (),
        launcher: Sequence[str] = (sys.executable, "-m", "bridgehead"),
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data = Path(settings["server"]["data_directory"])
        self.config = directory / "bridgehead.toml"
        self.launcher = list(launcher)
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: Settings = {}
        self.configure(settings)
        self.set_recipients(recipients)

    def configure(self, settings: Settings) -> None:
        """Write the configuration file; a running server does not notice until `reload`."""
        self.settings = settings
        self.config.write_text(to_toml(settings))

    def set_recipients(self, recipients: Sequence[Settings]) -> None:
        """Write the recipients file."""
        file = Path(self.settings["directory"]["recipients_file"])
        file.write_text(to_toml({"recipients": list(recipients)}) if recipients else "")

    # --- the process ---------------------------------------------------------------------------------------

    def start(self, seconds: float = 30.0) -> "Server":
        """Start and wait until every receive connector greets."""
        self.launch()
        for port in self.ports:
            wait_until(lambda port=port: greets(port) or self._gone(), seconds, self._complaint)  # type: ignore[misc]
        return self

    def launch(self) -> None:
        """Start without waiting."""
        with (self.directory / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, "-c", str(self.config), "run"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
            )  # fmt: skip

    def _gone(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}: {self.stderr()}"
        return False

    def _complaint(self) -> str:
        return f"the server greets on {self.ports}; it said:\n{self.stderr()}"

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM and wait; its exit status."""
        return end(self.process, seconds) if self.process is not None else 0

    def kill(self) -> None:
        """SIGKILL and wait."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait_for_death(self, seconds: float = 30.0) -> int:
        """Its exit status once it has ended by itself (negative: by that signal)."""
        assert self.process is not None
        return self.process.wait(seconds)

    def restart(self) -> None:
        self.stop()
        self.start()

    def hang_up(self) -> None:
        """SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if error is not None:
            sys.stderr.write(f"\n--- what the server said ---\n{self.stderr()[-8000:]}\n")

    def stderr(self) -> str:
        file = self.directory / "stderr"
        return file.read_text(errors="replace") if file.exists() else ""

    # --- from outside --------------------------------------------------------------------------------------

    @property
    def ports(self) -> list[int]:
        """Ports of all enabled connectors that speak plain text first."""
        return [
            int(binding.rpartition(":")[2])
            for connector in self.settings["receive_connectors"]
            if connector.get("enabled", True)
            and not connector.get("implicit_tls")
            and not connector.get("proxy_protocol_sources")
            for binding in connector["bindings"]
        ]

    def port(self, connector: str) -> int:
        """The port of the connector with this name."""
        found = next(one for one in self.settings["receive_connectors"] if one["name"] == connector)
        return int(found["bindings"][0].rpartition(":")[2])

    def smtp(self, connector: str = "", timeout: float = 30.0) -> smtplib.SMTP:
        """A client connected to one connector, the first where none is named."""
        port = self.port(connector) if connector else self.ports[0]
        return smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=timeout)

    def send(
        self, sender: str, recipients: str | Sequence[str], message: bytes = b"", connector: str = "",
        mail_options: Sequence[str] = (), rcpt_options: Sequence[str] = (),
    ) -> dict[str, tuple[int, bytes]]:  # fmt: skip
        """Send one message with smtplib; recipients refused, with their replies."""
        content = message or b"From: <%s>\r\nSubject: a test\r\n\r\nhello\r\n" % sender.encode()
        with self.smtp(connector) as client:
            return client.sendmail(sender, recipients, content, mail_options, rcpt_options)

    def command(
        self, *arguments: str, data: bytes = b"", seconds: float = 30.0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """Run one of our commands on this configuration."""
        command = [sys.executable, "-m", "bridgehead", "-c", str(self.config), *arguments]
        return subprocess.run(
            command, input=data, capture_output=True, timeout=seconds, check=False, cwd=self.directory,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", **(environment or {})},
        )  # fmt: skip

    def succeed(self, *arguments: str, data: bytes = b"") -> str:
        """`command` that must succeed; its output."""
        done = self.command(*arguments, data=data)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
        return done.stdout.decode()

    def ask(self, *arguments: str) -> Any:
        """`succeed` with --json, decoded."""
        return json.loads(self.succeed(*arguments, "--json"))

    def add_user(self, name: str, password: str, *addresses: str) -> None:
        """Add a login with its own addresses."""
        options = [word for address in addresses for word in ("--address", address)]
        self.succeed("user", "add", name, "--password-stdin", *options, data=password.encode() + b"\n")

    def reload(self) -> None:
        """Have the running server read its configuration again."""
        self.succeed("reload")

    # --- what became of mail -------------------------------------------------------------------------------

    def tracking(self) -> list[TrackingLine]:
        """All complete lines of the message tracking log, by column name, in order."""
        lines: list[TrackingLine] = []
        for file in sorted((self.data / "logs/MessageTracking").glob("MSGTRK*.log")):
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            names: list[str] = []
            for row in csv.reader(text[: text.rfind("\n") + 1].splitlines()):
                if row and row[0].startswith("#"):
                    if row[0].lower().startswith("#fields:"):
                        names = [row[0].partition(":")[2].strip(), *(one.strip() for one in row[1:])]
                elif row:
                    lines.append(dict(zip(names, row, strict=True)))
        return lines

    def events(self, event_id: str = "", **columns: str) -> list[TrackingLine]:
        """Tracking lines with this event id whose columns (with _ for -) contain these texts, without case."""
        wanted = {name.replace("_", "-"): text.lower() for name, text in columns.items()}
        return [
            line
            for line in self.tracking()
            if (not event_id or line["event-id"] == event_id)
            and all(text in line[name].lower() for name, text in wanted.items())
        ]

    def wait_for_event(self, event_id: str, seconds: float = 15.0, **columns: str) -> TrackingLine:
        """The first such line, once there is one."""
        return self.wait_for_events(event_id, 1, seconds, **columns)[0]

    def wait_for_events(self, event_id: str, count: int, seconds: float = 15.0, **columns: str) -> list[TrackingLine]:
        """All such lines, once there are `count`."""

        def complaint() -> str:
            seen = [(one["event-id"], one["recipient-address"], one["recipient-status"]) for one in self.tracking()]
            return f"{count} tracking events {event_id} {columns}; seen: {seen[-40:]}\n{self.stderr()[-3000:]}"

        wait_until(lambda: len(self.events(event_id, **columns)) >= count, seconds, complaint)
        return self.events(event_id, **columns)

    def mail_in(self, name: str) -> list[bytes]:
        """The messages in a mailbox of ours, by age."""
        folder = self.data / "mailboxes" / name / "new"
        found = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns) if folder.is_dir() else []
        return [one.read_bytes() for one in found]

    def wait_for_mail(self, name: str, count: int = 1, seconds: float = 15.0) -> list[bytes]:
        """A mailbox's messages, once there are `count`."""
        wait_until(
            lambda: len(self.mail_in(name)) >= count,
            seconds,
            lambda: f"{count} messages in {name}; tracking: {self.tracking()[-20:]}\n{self.stderr()[-3000:]}",
        )
        return self.mail_in(name)

    def wait_until_empty(self, seconds: float = 30.0) -> None:
        """Wait until no queue holds a message."""
        wait_until(lambda: self.queued() == 0, seconds, lambda: f"no message queued; queues: {self.queues()}")

    def queues(self) -> list[dict[str, Any]]:
        """What `queue list` says."""
        answer = self.ask("queue", "list")
        return list(answer["queues"] if isinstance(answer, dict) else answer)

    def queued(self) -> int:
        """Messages in all queues together."""
        return sum(int(one["message_count"]) for one in self.queues())

    def memory(self) -> int:
        """Resident memory in octets."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def peak_memory(self) -> int:
        """The most resident memory so far, in octets."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
