# SPDX-License-Identifier: MIT
import logging
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from bridgehead.mail.limits import LOG_BACKLOG_BYTES
from bridgehead.tracking.log import FLUSH_BYTES, LogFile, LogKind, LogLimits, log_files
from support.clock import JumpingClock

KIND = LogKind("RECV", "SMTP Receive Protocol Log", ("date-time", "data"))
DAY = 86_400.0
START = 1_795_392_000.0  # 2026-11-23T00:00:00Z


def limits(age_days: float = 30, file_size: int = 10**6, directory_size: int = 10**9) -> LogLimits:
    return LogLimits(timedelta(days=age_days), file_size, directory_size)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(path: Path) -> bytes:
    return path.read_bytes().split(b"data\r\n", 1)[1]


def write(file: LogFile, *lines: bytes) -> None:
    for line in lines:
        file.append(line)
    file.flush()


def test_no_file_is_made_before_the_first_line(tmp_path: Path) -> None:
    folder = tmp_path / "ProtocolLog" / "SmtpReceive"
    file = LogFile(folder, KIND, limits(), JumpingClock(START).now)
    file.flush()
    assert not folder.exists()
    write(file, b"a\r\n")
    assert names(folder) == ["RECV20261123-0001.log"]
    file.close()


def test_the_folder_is_private_and_the_files_are_not_for_others(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "logs", KIND, limits(), JumpingClock(START).now)
    write(file, b"a\r\n")
    file.close()
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "RECV20261123-0001.log").stat().st_mode & 0o007 == 0


def test_a_full_file_is_followed_by_the_next_number_and_no_line_is_split(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, limits(file_size=400), JumpingClock(START).now)
    lines = [b"%03d-" % number + b"x" * 95 + b"\r\n" for number in range(10)]
    write(file, *lines)
    file.close()
    paths = [name.path for name in log_files(tmp_path, "RECV")]
    assert len(paths) > 2
    assert all(path.stat().st_size <= 400 for path in paths)
    assert all(path.read_bytes().startswith(b"\xef\xbb\xbf#Software") for path in paths)
    assert b"".join(content(path) for path in paths) == b"".join(lines)


def test_a_line_larger_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, limits(file_size=300), JumpingClock(START).now)
    write(file, b"y" * 1000 + b"\r\n", b"z\r\n")
    file.close()
    paths = [name.path for name in log_files(tmp_path, "RECV")]
    assert [content(path)[:1] for path in paths] == [b"y", b"z"]


def test_midnight_utc_begins_a_new_day_with_number_one(tmp_path: Path) -> None:
    clock = JumpingClock(START + DAY - 1)
    file = LogFile(tmp_path, KIND, limits(), clock.now)
    write(file, b"before\r\n")
    clock.advance(2)
    write(file, b"after\r\n")
    file.close()
    assert names(tmp_path) == ["RECV20261123-0001.log", "RECV20261124-0001.log"]


def test_a_new_process_begins_a_new_file(tmp_path: Path) -> None:
    for _ in range(2):
        file = LogFile(tmp_path, KIND, limits(), JumpingClock(START).now)
        write(file, b"a\r\n")
        file.close()
    assert names(tmp_path) == ["RECV20261123-0001.log", "RECV20261123-0002.log"]


def test_files_past_the_age_are_deleted_and_strangers_stay(tmp_path: Path) -> None:
    clock = JumpingClock(START)
    file = LogFile(tmp_path, KIND, limits(age_days=2), clock.now)
    (tmp_path / "notes.txt").write_text("keep")
    (tmp_path / "SEND20200101-0001.log").write_text("another log's file")
    for _ in range(5):
        write(file, b"a\r\n")
        clock.advance(DAY)
    file.close()
    assert names(tmp_path) == [
        "RECV20261125-0001.log", "RECV20261126-0001.log", "RECV20261127-0001.log", "SEND20200101-0001.log", "notes.txt",
    ]  # fmt: skip


def test_an_age_of_zero_keeps_every_file(tmp_path: Path) -> None:
    clock = JumpingClock(START)
    file = LogFile(tmp_path, KIND, limits(age_days=0), clock.now)
    for _ in range(3):
        write(file, b"a\r\n")
        clock.advance(DAY * 400)
    file.close()
    assert len(names(tmp_path)) == 3


def test_the_oldest_files_go_when_the_directory_is_full(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, limits(file_size=1000, directory_size=3500), JumpingClock(START).now)
    for number in range(10):
        write(file, b"%d" % number + b"x" * 700 + b"\r\n")
    file.close()
    kept = log_files(tmp_path, "RECV")
    assert [name.number for name in kept] == [7, 8, 9, 10]
    assert sum(name.path.stat().st_size for name in kept) <= 3500 + 1000


def test_a_batch_of_full_size_wakes_the_writer_without_waiting(tmp_path: Path) -> None:
    woken = threading.Event()
    file = LogFile(tmp_path, KIND, limits(), JumpingClock(START).now, woken.set)
    for _ in range(FLUSH_BYTES // 1024 - 1):
        file.append(b"x" * 1022 + b"\r\n")
    assert not woken.is_set()
    file.append(b"x" * 1022 + b"\r\n")
    assert woken.is_set()
    file.close()


def test_lines_appended_while_another_thread_writes_are_all_written_once_in_order(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, limits(file_size=10**9), JumpingClock(START).now)
    stop = threading.Event()

    def writer() -> None:
        while not stop.is_set():
            file.flush()

    thread = threading.Thread(target=writer)
    thread.start()
    expected = [b"%d\r\n" % number for number in range(50_000)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the threads take turns as often as they can
    try:
        for line in expected:
            file.append(line)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    file.close()
    assert content(tmp_path / "RECV20261123-0001.log") == b"".join(expected)


def test_a_failing_disk_is_reported_once_and_its_lines_are_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")
    file = LogFile(folder, KIND, limits(), JumpingClock(START).now)
    with caplog.at_level(logging.WARNING):
        write(file, b"one\r\n")
        write(file, b"two\r\n")
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        folder.unlink()
        write(file, b"three\r\n")
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    file.close()
    assert content(folder / "RECV20261123-0001.log") == b"one\r\ntwo\r\nthree\r\n"
    assert file.lost_lines == 0


def test_what_a_failing_disk_cannot_take_is_bounded_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")
    file = LogFile(folder, KIND, limits(file_size=10**9), JumpingClock(START).now)
    line = b"x" * (1024 * 1024 - 2) + b"\r\n"
    for _ in range(LOG_BACKLOG_BYTES // len(line) + 3):
        write(file, line)
    assert file.lost_lines == 3
    folder.unlink()
    file.close()
    assert (folder / "RECV20261123-0001.log").stat().st_size > LOG_BACKLOG_BYTES


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_full_loses_nothing_that_it_took(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, limits(), JumpingClock(START).now)
    write(file, b"one\r\n")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._fd)  # from here on every write meets ENOSPC, as on a full disk
    os.close(full)
    write(file, b"two\r\n")
    write(file, b"three\r\n")
    file.close()
    assert [content(name.path) for name in log_files(tmp_path, "RECV")] == [b"one\r\n", b"two\r\nthree\r\n"]
