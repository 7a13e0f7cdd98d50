# SPDX-License-Identifier: MIT
"""What a server spends: CPU seconds of all its processes, memory, and flushes of the disk its queue lies on."""

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple


def cgroup_root() -> Path | None:
    """Where a cgroup v2 hierarchy is mounted writable, None where there is none."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(folder, os.W_OK):
            return Path(folder)
    return None


class Memory(NamedTuple):
    """In KiB. Proportional memory counts a page that n processes share as 1/n for each."""

    resident: int
    proportional: int


class ProcessGroup:
    """All processes that descend from one, also those that put themselves into a session of their own.

    With cgroup v2 the kernel counts them; without, /proc is read, where a process that ended is counted once its
    parent has waited for it.
    """

    _made = 0

    def __init__(self) -> None:
        ProcessGroup._made += 1
        self.leader = 0
        self._folder: Path | None = None
        if (root := cgroup_root()) is not None:
            folder = root / f"bridgehead-bench-{os.getpid()}-{ProcessGroup._made}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                self._folder = folder

    def join(self) -> None:
        """Called in the child, between fork and exec."""
        os.setsid()
        if self._folder is not None:
            (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        """Its processes now."""
        if self._folder is not None:
            return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, todo = [], [self.leader]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        if self._folder is not None:
            usage = re.search(r"usage_usec (\d+)", (self._folder / "cpu.stat").read_text())
            return int(usage[1]) / 1e6 if usage else 0.0
        ticks = sum(sum(int(field) for field in fields[11:15]) for pid in self.pids() if (fields := _stat(pid)))
        return float(ticks / os.sysconf("SC_CLK_TCK"))

    def memory(self) -> Memory:
        """Memory of all its processes together."""
        resident = proportional = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                resident += sum(int(size) for size in re.findall(r"^Rss:\s+(\d+)", text, re.M))
                proportional += sum(int(size) for size in re.findall(r"^Pss:\s+(\d+)", text, re.M))
        return Memory(resident, proportional)

    def end(self, seconds: float = 15.0) -> None:
        """SIGTERM to those still there, SIGKILL to those that stay."""
        deadline = time.monotonic() + seconds
        while alive := [pid for pid in self.pids() if (fields := _stat(pid)) and fields[0] != "Z"]:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.1)
            if time.monotonic() > deadline + 5:
                break

    def close(self) -> None:
        """Give the cgroup back; its processes are gone."""
        deadline = time.monotonic() + 2
        while self._folder is not None and time.monotonic() < deadline:
            try:
                self._folder.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                self._folder = None


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on, empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class MemoryPeak:
    """Watches a group's memory until the block ends."""

    def __init__(self, group: ProcessGroup, every: float = 0.25) -> None:
        self.peak = Memory(0, 0)
        self._group, self._every = group, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryPeak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                now = self._group.memory()
                self.peak = Memory(max(self.peak.resident, now.resident), max(self.peak.proportional, now.proportional))
            if self._over.wait(self._every):
                return


def disk_flushes(folder: Path) -> int | None:
    """Flush requests that the disk under a folder has got so far, from everybody; None where it does not count."""
    device = folder.stat().st_dev
    file = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not file.exists():
        return None
    fields = file.read_text().split()
    return int(fields[15]) if len(fields) > 15 else None


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent working."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / os.sysconf("SC_CLK_TCK")
