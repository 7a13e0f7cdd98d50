# SPDX-License-Identifier: MIT
"""How full disks and memory are, read from the system: statvfs, /proc, control groups. Called on a thread.

In a container the limit of its control group counts, not the memory of the machine (cgroup v2 and v1).
"""

import os
from pathlib import Path
from typing import Final

from bridgehead.queues.pressure import Reading

_KIB: Final = 1024
_GIB: Final = 1024**3
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_NO_LIMIT: Final = 2**60
"""cgroup v1 says "no limit" with a number near 2⁶³."""
FILES_MOST: Final = 100_000
"""Files that the size of a folder is made of."""
_PROCESSES_MOST: Final = 1000
"""Processes of one tree that are counted."""
READINGS_OF_ONE_TREE: Final = 15
"""Readings between two looks at which processes are ours: that takes a look at every process of the machine."""


def disk(folder: Path) -> Reading:
    """The drive that holds a folder, as `df` counts it: without what only root may use. Inodes count alike.

    Raises OSError where neither the folder nor one above it can be read.
    """
    found = os.statvfs(_existing(folder))
    used = found.f_blocks - found.f_bfree
    usable = used + found.f_bavail
    percent = 100 * used / usable if usable else 0.0
    left = f"{size_text(found.f_bavail * found.f_frsize)} free"
    usable_inodes = found.f_files - found.f_ffree + found.f_favail
    if found.f_files and usable_inodes > 0:
        inodes = 100 * (usable_inodes - found.f_favail) / usable_inodes
        if inodes > percent:
            percent, left = inodes, f"{found.f_favail} inodes free"
    return Reading(percent, str(folder), left, usable * found.f_frsize)


def folder_size(folder: Path) -> int:
    """Octets that a folder takes on its drive, as far as FILES_MOST files tell."""
    total, files = 0, 0
    folders = [str(folder)]
    while folders and files < FILES_MOST:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    files += 1
        except OSError:
            continue  # gone meanwhile
    return total


def _existing(folder: Path) -> Path:
    for path in (folder, *folder.absolute().parents):
        if path.exists():
            return path
    return folder


class MemoryReader:
    """Memory of the machine, or of the container, and the share of it that our processes have for themselves.

    Args:
        proc, cgroups: where the kernel shows them.
    """

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> None:
        self._proc = proc
        self._groups = _limited_groups(proc, cgroups)
        self._processes: list[str] = []
        self._readings_left = 0

    def system(self) -> Reading:
        """What is in use of the machine's memory or of the group's limit, whichever is fuller."""
        total, available = self._machine()
        fullest = _reading(total - available, total, "of the machine's memory")
        for group in self._groups:
            if (usage := group.usage()) is not None and usage[1] < total:
                reading = _reading(*usage, "of the memory that the control group allows")
                fullest = max(fullest, reading, key=lambda one: one.value)
        return fullest

    def capacity(self) -> int:
        """Octets of memory there are for us."""
        limits = [usage[1] for group in self._groups if (usage := group.usage()) is not None]
        return min([self._machine()[0], *limits])

    def private(self) -> Reading:
        """What this process and those it started have for themselves."""
        if not self._readings_left:
            self._readings_left = READINGS_OF_ONE_TREE
            self._processes = _tree(self._proc)
        self._readings_left -= 1
        own = sum(_private_bytes(self._proc, process) for process in self._processes)
        return _reading(own, self.capacity(), "of the memory are this server's", of_own=True)

    def _machine(self) -> tuple[int, int]:
        """(total, available), octets."""
        lines = (self._proc / "meminfo").read_text().splitlines()
        values = {name: int(rest.split()[0]) * _KIB for name, _, rest in (line.partition(":") for line in lines)}
        return values["MemTotal"], values.get("MemAvailable", values["MemFree"])


def _reading(used: int, total: int, subject: str, *, of_own: bool = False) -> Reading:
    left = f"{size_text(used)} in use" if of_own else f"{size_text(max(0, total - used))} free"
    return Reading(100 * used / total if total else 0.0, subject, left, total)


class _Group:
    """A control group with a limit."""

    def __init__(self, limit: Path, current: Path, reclaimable: str) -> None:
        self._limit, self._current, self._reclaimable = limit, current, reclaimable

    def usage(self) -> tuple[int, int] | None:
        """(in use without file cache that can go at once, limit), octets; None without a limit."""
        try:
            text = self._limit.read_text().strip()
            if text == "max" or int(text) >= _NO_LIMIT:
                return None
            used = int(self._current.read_text())
            cache = _stat_of(self._limit.with_name("memory.stat"), self._reclaimable)
        except (OSError, ValueError):
            return None
        return max(0, used - cache), int(text)


def _stat_of(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _limited_groups(proc: Path, cgroups: Path) -> list[_Group]:
    """Our control group and those above it, as far as they can be seen from here."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[_Group] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        here = root / path.lstrip("/")
        while True:
            if (here / names[0]).exists():
                found.append(_Group(here / names[0], here / names[1], names[2]))
            if here in (root, here.parent):
                break
            here = here.parent
    return found


def _tree(proc: Path) -> list[str]:
    """This process and all that it started, by id."""
    children: dict[str, list[str]] = {}
    for name in os.listdir(proc):
        if name.isdigit() and (parent := _parent(proc, name)):
            children.setdefault(parent, []).append(name)
    tree = [str(os.getpid())]
    for process in tree:
        tree += children.get(process, [])
        if len(tree) > _PROCESSES_MOST:
            break
    return tree


def _parent(proc: Path, process: str) -> str:
    """The process that started this one, "" where it is gone."""
    try:
        return (proc / process / "stat").read_bytes().rpartition(b")")[2].split()[1].decode()
    except (OSError, IndexError):
        return ""


def _private_bytes(proc: Path, process: str) -> int:
    try:
        fields = (proc / process / "statm").read_text().split()
    except OSError:
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * _PAGE


def size_text(octets: int) -> str:
    """A size for people."""
    if octets >= 10 * _GIB:
        return f"{octets / _GIB:.0f} GB"
    return f"{octets / _GIB:.1f} GB" if octets >= _GIB else f"{octets / _KIB**2:.0f} MB"
