# SPDX-License-Identifier: MIT
"""Back pressure on a running server: a disk that really fills, and a Submission queue that really grows."""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.configuration import EXTERNALLY_SECURED, OUT_OF_THE_WAY, receive_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.talk import Talk

MEGABYTE = 1024 * 1024
REFUSED = "452 4.3.1 Insufficient system resources"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 400 MB."""
    mount = tmp_path / "drive"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture
def tiny_drive(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 24 MB: less than the queue keeps for itself on larger ones."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(drive: Path, percent: float) -> None:
    """Bring the drive to so many percent in use, up or down."""
    filler = drive / "filler"
    size = filler.stat().st_size if filler.exists() else 0
    found = os.statvfs(drive)
    target = int(found.f_blocks * percent / 100)
    wanted = size + (target - (found.f_blocks - found.f_bfree)) * found.f_frsize
    with filler.open("ab") as file:
        if wanted > size:
            os.posix_fallocate(file.fileno(), size, wanted - size)
        else:
            file.truncate(max(0, wanted))


def answer_to_mail(server: Server, connector: str, seconds: float = 15.0) -> str:
    with Talk(server.port(connector), seconds=seconds) as talk:
        talk.hello()
        talk.send(b"MAIL FROM:<someone@fabrikam.test>\r\n")
        return str(talk.read())


def levels(server: Server) -> dict[str, str]:
    """The level of each resource; the command ends with 1 above Low."""
    view: dict[str, Any] = json.loads(server.command("back-pressure", "--json").stdout)
    return {one["resource"]: one["level"] for one in view["resources"]}


def wait_for_level(server: Server, resource: str, level: str) -> None:
    wait_until(
        lambda: levels(server).get(resource) == level, 15, lambda: f"{resource} {level}: {levels(server)}"
    )  # fmt: skip


def test_a_full_drive_refuses_first_strangers_then_all_and_recovers_by_itself(
    make_server: Callable[..., Server], drive: Path
) -> None:
    server = make_server(
        server={"data_directory": str(drive / "data")},
        back_pressure={
            "resource_metering_interval": 0.1,
            "database_used_space": {
                "low_to_medium": 70, "medium_to_high": 90, "high_to_medium": 85, "medium_to_low": 60,
            },
            "used_disk_space": OUT_OF_THE_WAY,
        },
    )  # fmt: skip
    server.data = drive / "data"
    server.start()
    resource = "DatabaseUsedSpace"
    assert server.command("back-pressure").returncode == 0
    assert answer_to_mail(server, "anonymous").startswith("250 ")
    server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
    server.wait_for_mail("carol")

    fill(drive, 75)
    wait_for_level(server, resource, "Medium")
    assert answer_to_mail(server, "anonymous").startswith(REFUSED)
    assert answer_to_mail(server, "secured").startswith("250 ")
    letter = server.data / "pickup" / "letter.eml"
    letter.with_suffix(".new").write_bytes(b"From: app@contoso.test\r\nTo: bob@contoso.test\r\n\r\nhello\r\n")
    letter.with_suffix(".new").rename(letter)
    server.succeed("safety-net", "resubmit", "--recipient", "carol@contoso.test", "--no-wait")

    fill(drive, 92)
    wait_for_level(server, resource, "High")
    assert answer_to_mail(server, "secured").startswith(REFUSED)
    status = server.command("status")
    assert status.returncode == 1
    shown = b" ".join(status.stdout.split())
    assert b"the drive of the queue database" in shown
    assert re.search(rb"MB free, \d+ MB queue, \d+ MB logs", shown)
    assert b"all mail is refused with 452 4.3.1" in shown

    fill(drive, 87)  # below what made it High, above what ends it
    fell = server.command("back-pressure")
    assert fell.returncode == 1
    assert b"Back pressure: High" in fell.stdout
    assert answer_to_mail(server, "secured").startswith(REFUSED)

    fill(drive, 80)
    wait_for_level(server, resource, "Medium")
    assert answer_to_mail(server, "secured").startswith("250 ")
    fill(drive, 65)
    assert answer_to_mail(server, "anonymous").startswith(REFUSED)
    assert letter.exists()
    assert len(server.mail_in("carol")) == 1

    fill(drive, 50)
    wait_for_level(server, resource, "Low")
    assert answer_to_mail(server, "anonymous").startswith("250 ")
    server.wait_for_mail("bob")
    server.wait_for_mail("carol", 2)
    said = server.stderr()
    for event in ("15004: The resource pressure increased from Low to Medium", "15006: The transport is rejecting",
                  "15005: The resource pressure decreased from Medium to Low"):  # fmt: skip
        assert f"event {event}" in said
    assert server.command("back-pressure").returncode == 0


def test_a_tiny_drive_takes_mail_until_it_is_nearly_full(
    make_server: Callable[..., Server], tiny_drive: Path
) -> None:  # fmt: skip
    server = make_server(
        server={"data_directory": str(tiny_drive / "data")},
        back_pressure={
            "resource_metering_interval": 0.1,
            "database_used_space": {
                "low_to_medium": 96,
                "medium_to_high": 99,
                "high_to_medium": 97,
                "medium_to_low": 94,
            },
            "used_disk_space": {"low_to_medium": 89, "medium_to_high": 99, "high_to_medium": 90, "medium_to_low": 80},
        },
    )
    server.data = tiny_drive / "data"
    server.start()
    for number in range(5):
        server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
        server.wait_for_mail("carol", number + 1)
    assert server.command("back-pressure").returncode == 0
    assert "all is well" in server.succeed("status")

    fill(tiny_drive, 91)
    wait_for_level(server, "DatabaseUsedSpace", "High")
    assert answer_to_mail(server, "secured").startswith(REFUSED)
    said = server.command("why", "127.0.0.1").stdout
    assert b"the drive of the queue database" in b" ".join(said.split())
    fill(tiny_drive, 40)
    wait_for_level(server, "UsedDiskSpace", "Low")
    server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
    server.wait_for_mail("carol", 6)


def test_a_long_submission_queue_slows_senders_then_refuses_them(make_server: Callable[..., Server]) -> None:
    """The directory cannot answer, so that what comes stays in Submission."""
    server = make_server(
        back_pressure={
            "resource_metering_interval": 0.1,
            "submission_queue_history_depth": 30,
            "submission_queue_length": {
                "low_to_medium": 3, "medium_to_high": 6, "high_to_medium": 5, "medium_to_low": 2,
            },
        },
        receive_connectors=[
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED, reject_unknown_recipients=False),
            receive_connector(
                "anonymous", free_port(), permission_groups=["AnonymousUsers"], reject_unknown_recipients=False
            ),
        ],
    )  # fmt: skip
    directory = server.directory / "recipients.db"
    server.configure({**server.settings, "directory": {"recipients_file": str(directory)}})
    server.start()
    whole = directory.with_suffix(".whole")
    directory.rename(whole)
    resource = "QueueLength[SubmissionQueue]"
    numbers = itertools.count()

    def three_wait() -> bool:
        """It takes a moment until the server looks at the file again; until then messages go through."""
        server.send("a@fabrikam.test", f"somebody{next(numbers)}@contoso.test", connector="secured")
        return sum(one["message_count"] for one in server.queues() if one["type"] == "Submission") >= 3

    wait_until(three_wait, 15, "three messages wait for the directory")
    wait_for_level(server, resource, "Medium")
    with pytest.raises(TimeoutError):
        answer_to_mail(server, "anonymous", seconds=1.0)
    assert "senders wait longer" in server.stderr()

    wait_until(lambda: "mail from outside is refused" in server.stderr(), 15, "the history is full")
    assert answer_to_mail(server, "anonymous").startswith(REFUSED)

    whole.rename(directory)
    server.succeed("queue", "retry", "Submission")
    wait_for_level(server, resource, "Low")
    assert answer_to_mail(server, "anonymous").startswith("250 ")


def test_short_memory_lets_bodies_go_and_a_large_process_refuses_mail(make_server: Callable[..., Server]) -> None:
    """Thresholds below what is in use stand for memory that is used up."""
    always = dict.fromkeys(OUT_OF_THE_WAY, 0)
    server = make_server(back_pressure={"resource_metering_interval": 0.1, "system_memory": always}).start()
    wait_for_level(server, "SystemMemory", "High")
    assert answer_to_mail(server, "anonymous").startswith("250 ")
    shown = server.command("back-pressure").stdout
    assert b"message bodies are kept on disk, not in memory" in shown
    assert b"caches are emptied" in shown
    server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
    server.wait_for_mail("carol")

    server.configure({**server.settings, "back_pressure": {"private_bytes": always}})
    server.reload()
    wait_for_level(server, "PrivateBytes", "High")
    assert answer_to_mail(server, "secured").startswith(REFUSED)
    assert "event 15007: The transport is rejecting messages because the service continues" in server.stderr()


def test_a_reload_changes_thresholds_and_switches_the_meters_off(make_server: Callable[..., Server]) -> None:
    full = dict.fromkeys(OUT_OF_THE_WAY, 0)
    server = make_server(back_pressure={"resource_metering_interval": 0.1}).start()
    assert answer_to_mail(server, "secured").startswith("250 ")
    server.configure({**server.settings, "back_pressure": {"database_used_space": full}})
    server.reload()
    wait_for_level(server, "DatabaseUsedSpace", "High")
    assert answer_to_mail(server, "secured").startswith(REFUSED)
    server.configure({**server.settings, "back_pressure": {"enable_resource_monitoring": False}})
    server.reload()
    assert answer_to_mail(server, "secured").startswith("250 ")
    assert "not monitored" in server.succeed("back-pressure")
