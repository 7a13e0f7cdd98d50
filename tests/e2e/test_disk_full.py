# SPDX-License-Identifier: MIT
"""A full disk, really full: a small file system of its own holds the server's data."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk

MEGABYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 160 MB; the queue sets aside some of it for its own needs."""
    if os.geteuid():
        pytest.skip("mounting a file system needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def on_disk(small_disk: Path) -> dict[str, dict[str, object]]:
    """Settings of a server whose data lies there and who is not warned before the disk is full."""
    return {
        "server": {"data_directory": str(small_disk / "data")},
        "back_pressure": {"enable_resource_monitoring": False},
    }


def fill_up(file: Path, leave: int = 0) -> None:
    """Leave so many octets free."""
    if leave:
        free = os.statvfs(file.parent).f_bavail * os.statvfs(file.parent).f_frsize
        with file.open("wb") as filler:
            filler.write(bytes(free - leave))
        return
    with file.open("ab", buffering=0) as filler:
        for size in (MEGABYTE, 4096, 1):
            try:
                while True:
                    filler.write(b"\0" * size)
            except OSError:
                continue


def test_full_disk_refuses_and_recovers(make_server: Callable[..., Server], small_disk: Path) -> None:
    """Full: 4yz, nothing lost, sessions go on. Space again: mail flows without anybody's hand."""
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port, **on_disk(small_disk))
    server.data = small_disk / "data"
    server.start()
    acknowledged = [f"before{number}@adatum.test" for number in range(10)]
    for address in acknowledged:
        server.send("a@fabrikam.test", address, connector="secured")
    filler = small_disk / "filler"
    fill_up(filler)
    body = b"Subject: full\r\n\r\n" + (b"x" * 76 + b"\r\n") * 700
    refused = 0
    with Talk(server.port("secured")) as talk:
        talk.hello()
        for number in range(40):
            mail = talk.ask("MAIL FROM:<a@fabrikam.test>")
            if mail.code != "250":
                assert mail.code in ("452", "451"), str(mail)
                refused += 1
                continue
            talk.expect(f"RCPT TO:<full{number}@adatum.test>", "250 *")
            talk.expect("DATA", "354 *")
            talk.send(body + b".\r\n")
            reply = talk.read()
            if reply.code == "250":
                acknowledged.append(f"full{number}@adatum.test")
            else:
                assert reply.code in ("452", "451"), str(reply)
                refused += 1
                if refused == 1:
                    status = server.command("status")
                    assert (status.returncode, b"mail cannot be stored" in status.stdout) == (1, True), status
                    assert b"make room on the queue's disk" in b" ".join(status.stdout.split()), status
        talk.expect("NOOP", "250 *")
    assert refused > 0
    assert server.process is not None
    assert server.process.poll() is None
    filler.unlink()

    def accepted_again() -> bool:
        with Talk(server.port("secured")) as talk:
            talk.hello()
            if talk.ask("MAIL FROM:<a@fabrikam.test>").code != "250":
                return False
            talk.expect("RCPT TO:<after@adatum.test>", "250 *")
            talk.expect("DATA", "354 *")
            talk.send(b"Subject: after\r\n\r\n.\r\n")
            return talk.read().code == "250"

    wait_until(accepted_again, 30, "mail is accepted again")
    assert "all is well" in server.succeed("status")
    sink.listen()
    wait_until(lambda: sink.to("after@adatum.test"), 30, "the new message arrives")
    wait_until(lambda: all(sink.to(address) for address in acknowledged), 30, "everything acknowledged arrives")
    assert all(len(sink.to(address)) == 1 for address in acknowledged)
    sink.close()


def test_full_disk_while_a_large_message_comes(make_server: Callable[..., Server], small_disk: Path) -> None:
    """The message is refused, its remains are removed, the next small one is taken."""
    server = make_server(**on_disk(small_disk))
    server.data = small_disk / "data"
    server.start()
    server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
    server.wait_for_mail("carol")
    fill_up(small_disk / "filler", leave=16 * MEGABYTE)
    with Talk(server.port("secured")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<a@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"Subject: large\r\n\r\n")
        for _ in range(34):
            talk.send((b"x" * 76 + b"\r\n") * 13_000)
        talk.send(b".\r\n")
        reply = talk.read()
        assert reply.code in ("452", "451"), str(reply)
        talk.expect("NOOP", "250 *")

    def small_one_is_taken() -> bool:
        with Talk(server.port("secured")) as talk:
            talk.hello()
            talk.expect("MAIL FROM:<a@fabrikam.test>", "250 *")
            talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
            talk.expect("DATA", "354 *")
            talk.send(b"Subject: small\r\n\r\n.\r\n")
            return talk.read().code == "250"

    wait_until(small_one_is_taken, 10, "the remains of the large message are gone")
    server.wait_for_mail("bob")
