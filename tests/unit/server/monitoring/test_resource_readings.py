# SPDX-License-Identifier: MIT
"""Disks, memory and control groups as the kernel shows them, here in files of the same form."""

import os
from pathlib import Path

import pytest

from bridgehead.server.monitoring.resource_readings import MemoryReader, disk, folder_size, size_text

GB = 1024**3
PAGE = os.sysconf("SC_PAGE_SIZE")


def machine(root: Path, *, total: int = 16 * GB, available: int = 12 * GB, group: str = "0::/") -> Path:
    """A /proc with this process and one that it started."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(
        f"MemTotal:       {total // 1024} kB\nMemFree:        1 kB\nMemAvailable:   {available // 1024} kB\n"
    )
    (proc / "self" / "cgroup").write_text(f"9:cpu:/elsewhere\n{group}\n")
    process(proc, os.getpid(), 1, resident=1000, shared=200)
    process(proc, 999999, os.getpid(), resident=500, shared=100)
    process(proc, 999998, 1, resident=10**6, shared=0)
    return proc


def process(proc: Path, number: int, parent: int, *, resident: int, shared: int) -> None:
    (proc / str(number)).mkdir()
    (proc / str(number) / "stat").write_text(f"{number} (a name) with) S {parent} 1 1 0")
    (proc / str(number) / "statm").write_text(f"9999 {resident} {shared} 1 0 1 0")


def group_v2(folder: Path, limit: str, current: int, inactive_file: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\n")


def test_a_machine_without_limits(tmp_path: Path) -> None:
    reader = MemoryReader(machine(tmp_path), tmp_path / "cgroup")
    assert reader.system().value == 25.0
    assert reader.capacity() == 16 * GB


def test_processes_that_we_started_count_and_others_do_not(tmp_path: Path) -> None:
    reader = MemoryReader(machine(tmp_path), tmp_path / "cgroup")
    assert reader.private().value == pytest.approx(100 * 1200 * PAGE / (16 * GB))


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    """As in a container: its group is the root of what it sees. File cache that can go at once is not in use."""
    proc = machine(tmp_path)
    group_v2(tmp_path / "cgroup", str(2 * GB), current=GB + GB // 2, inactive_file=GB // 2)
    reader = MemoryReader(proc, tmp_path / "cgroup")
    assert reader.capacity() == 2 * GB
    assert reader.system().value == 50.0
    assert "control group" in reader.system().subject
    assert reader.private().value == pytest.approx(100 * 1200 * PAGE / (2 * GB))


def test_the_narrowest_group_above_us_counts(tmp_path: Path) -> None:
    proc = machine(tmp_path, group="0::/system.slice/bridgehead.service")
    group_v2(tmp_path / "cgroup" / "system.slice", str(1 * GB), current=GB // 4)
    group_v2(tmp_path / "cgroup" / "system.slice" / "bridgehead.service", "max", current=GB // 4)
    assert MemoryReader(proc, tmp_path / "cgroup").capacity() == GB


def test_groups_of_the_first_version(tmp_path: Path) -> None:
    proc = machine(tmp_path, group="4:memory:/docker/1")
    for folder, limit in ((tmp_path / "cgroup/memory/docker/1", GB), (tmp_path / "cgroup/memory", 2**63 - 4096)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        (folder / "memory.usage_in_bytes").write_text(str(GB // 2))
        (folder / "memory.stat").write_text("total_inactive_file 0\n")
    reader = MemoryReader(proc, tmp_path / "cgroup")
    assert reader.capacity() == GB
    assert reader.system().value == 50.0


def test_this_machine_can_be_read() -> None:
    reader = MemoryReader()
    assert 0 < reader.private().value < 100
    assert 0 < reader.system().value <= 100


def test_a_drive_is_read_as_df_does(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    used = found.f_blocks - found.f_bfree
    reading = disk(tmp_path / "not" / "there" / "yet")
    inodes = (found.f_files - found.f_ffree) / max(1, found.f_files - found.f_ffree + found.f_favail)
    assert reading.value == pytest.approx(100 * max(used / (used + found.f_bavail), inodes), abs=0.5)


def test_the_size_of_a_folder_is_that_of_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/")
    assert 300_000 <= folder_size(tmp_path) < 400_000
    assert folder_size(tmp_path / "not there") == 0


@pytest.mark.parametrize(
    ("octets", "text"), [(0, "0 MB"), (500 * 1024**2, "500 MB"), (3 * GB, "3.0 GB"), (66 * GB, "66 GB")]
)
def test_sizes_for_people(octets: int, text: str) -> None:
    assert size_text(octets) == text
