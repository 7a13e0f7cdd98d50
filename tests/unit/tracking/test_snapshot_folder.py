# SPDX-License-Identifier: MIT
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest

from bridgehead.tracking.snapshot_folder import SnapshotFolder


def folder(path: Path, days: float = 7, size: int = 1000) -> SnapshotFolder:
    return SnapshotFolder(path / "Routing", timedelta(days=days), size)


def aged(path: Path, when: float) -> None:
    os.utime(path, (when, when))


def test_files_go_by_age_and_then_by_size(tmp_path: Path) -> None:
    snapshots = folder(tmp_path)
    for number, age_days in enumerate((8, 3, 2, 1)):
        snapshots.write(f"table{number}.xml", b"x" * 400)
        aged(tmp_path / "Routing" / f"table{number}.xml", 1e9 - age_days * 86400)
    snapshots.trim(1e9)
    assert sorted(one.name for one in (tmp_path / "Routing").iterdir()) == ["table2.xml", "table3.xml"]


def test_a_folder_of_one_message_goes_as_a_whole(tmp_path: Path) -> None:
    snapshots = folder(tmp_path)
    for name in ("old", "new"):
        snapshots.write(f"{name}/Original.eml", b"x" * 400)
        snapshots.write(f"{name}/Routing0001.eml", b"x" * 400)
    aged(tmp_path / "Routing" / "old", 1e9 - 100)
    aged(tmp_path / "Routing" / "new", 1e9)
    snapshots.trim(1e9)
    assert [one.name for one in (tmp_path / "Routing").iterdir()] == ["new"]


def test_zero_keeps_files_whatever_their_age(tmp_path: Path) -> None:
    snapshots = folder(tmp_path, days=0)
    snapshots.write("table.xml", b"x")
    aged(tmp_path / "Routing" / "table.xml", 1.0)
    snapshots.trim(1e9)
    assert (tmp_path / "Routing" / "table.xml").exists()


def test_a_disk_that_takes_nothing_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "Routing").write_text("not a folder")
    with caplog.at_level(logging.ERROR):
        snapshots = folder(tmp_path)
        for _ in range(3):
            snapshots.write("table.xml", b"x")
            snapshots.trim(1e9)
    assert len(caplog.records) == 1
