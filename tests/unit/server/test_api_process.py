# SPDX-License-Identifier: MIT
"""The process of the management interface starts when it is asked, starts again when it fails, ends when idle."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bridgehead.admin.settings import ApiSettings
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.server import api_process
from bridgehead.server.api_process import ApiProcess, Terms, bind

REAL = (sys.executable, "-m", "bridgehead.admin.api")


def make(
    folder: Path, *command: str, settings: ApiSettings | None = None, idle_seconds: float = 600.0
) -> ApiProcess:  # fmt: skip
    terms = Terms(
        settings=settings or ApiSettings(), administrators_file=folder / "administrators.json",
        certificate=CertificatePair(folder / "no.crt", folder / "no.key"),
    )  # fmt: skip
    return ApiProcess(
        terms, folder / "control.sock", folder / "internal.sock", command or REAL, idle_seconds=idle_seconds
    )


async def until(observe: Callable[[], object | Awaitable[object]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not observe():
            await asyncio.sleep(0.01)


async def ask(folder: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
    writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_whoever_comes_before_the_process_is_there_waits_for_it(tmp_path: Path) -> None:
    process = make(tmp_path)
    process.listen(None, None)
    asking = asyncio.create_task(ask(tmp_path))
    process.start()
    assert (await asking).startswith(b"HTTP/1.1 200 ")
    await process.stop()
    assert not (tmp_path / "control.sock").exists()


def knock(folder: Path) -> socket.socket:
    """A connection that says nothing."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(folder / "control.sock"))
    return client


async def test_it_runs_only_while_it_is_asked_and_nothing_is_wrong_with_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = make(tmp_path, idle_seconds=1.0)
    process.listen(None, None)
    process.start()
    seen = set()
    for _ in range(3):
        await until(lambda: process.pid == 0)
        assert (await ask(tmp_path)).startswith(b"HTTP/1.1 200 ")
        seen.add(process.pid)
    assert len(seen) == 3
    await until(lambda: process.pid == 0)
    assert process.trouble == ""
    assert not caplog.records
    await process.stop()


async def test_nobody_asked_and_nothing_runs(tmp_path: Path) -> None:
    """A program that would leave a trace at once, and has every chance to."""
    trace = tmp_path / "started"
    process = make(tmp_path, sys.executable, "-c", f"open({str(trace)!r}, 'w').close()")
    process.listen(None, None)
    process.start()
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await done.wait()
    assert not trace.exists()
    knock(tmp_path).close()
    await until(trace.exists)
    await process.stop()


async def test_a_connection_that_stays_keeps_it(tmp_path: Path) -> None:
    process = make(tmp_path, idle_seconds=1.0)
    process.listen(None, None)
    process.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    pids = set()
    for _ in range(4):
        writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        pids.add(process.pid)
        await asyncio.sleep(1)  # longer than it would live without the connection
    assert len(pids) == 1
    writer.close()
    await process.stop()


async def test_with_a_socket_for_probes_it_runs_from_the_start_and_stays(tmp_path: Path) -> None:
    process = make(tmp_path, idle_seconds=1.0)
    process.listen(None, bind("monitoring.probe_listen", "127.0.0.1:0"))
    process.start()
    await until(lambda: process.pid)
    orders = process.orders()
    assert orders.idle_seconds == 0
    await process.stop()


async def test_tls_that_would_not_work_is_refused_before_anybody_connects(tmp_path: Path) -> None:
    process = make(tmp_path)
    listening = bind("api.binding", "127.0.0.1:0")
    assert listening is not None
    with listening, pytest.raises(CertificateError, match=r"no\.crt"):
        process.listen(listening, None)


async def test_it_runs_at_a_lower_priority_and_stops_when_told(tmp_path: Path) -> None:
    process = make(tmp_path)
    process.listen(None, None)
    process.start()
    await ask(tmp_path)
    pid = process.pid
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, os.getpid())
    await process.stop()
    assert process.pid == 0
    assert not Path(f"/proc/{pid}").exists()


async def test_one_that_is_killed_is_started_again_and_callers_wait_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = make(tmp_path)
    process.listen(None, None)
    process.start()
    await ask(tmp_path)
    first = process.pid
    os.kill(first, 9)
    await until(lambda: process.pid != first)
    assert (await ask(tmp_path)).startswith(b"HTTP/1.1 200 ")
    assert process.pid not in (0, first)
    assert process.trouble == ""
    assert "the management interface ended by signal 9; it is started again in 1 s" in caplog.text
    await process.stop()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with exit code 3"),
        (("/no/such/program",), "cannot be started"),
    ],
)
async def test_one_that_does_not_stay_is_trouble_and_tried_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(api_process, "_FIRST_DELAY", 0.01)
    monkeypatch.setattr(api_process, "_LONGEST_DELAY", 0.04)
    process = make(tmp_path, *command)
    process.listen(None, None)
    process.start()
    knock(tmp_path).close()
    seen: list[str] = []
    await until(
        lambda: (process.trouble and process.trouble not in seen and seen.append(process.trouble)) or len(seen) == 3
    )
    assert [words in one for one in seen] == [True] * 3
    assert [one.rpartition("in ")[2] for one in seen] == ["0.01 s", "0.02 s", "0.04 s"]
    await process.stop()


@pytest.mark.parametrize(("settings", "mode"), [(ApiSettings(), 0o600), (ApiSettings(local_viewers=["nobody"]), 0o666)])
async def test_the_socket_is_for_others_only_where_they_have_roles(
    tmp_path: Path, settings: ApiSettings, mode: int
) -> None:
    process = make(tmp_path, settings=settings)
    process.listen(None, None)
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == mode
    await process.stop()


def test_a_binding_that_is_taken_is_named() -> None:
    held = bind("api.binding", "127.0.0.1:0")
    assert held is not None
    port = held.getsockname()[1]
    with held, pytest.raises(OSError, match=f"api.binding: 127.0.0.1:{port}"):
        bind("api.binding", f"127.0.0.1:{port}")


def test_none_is_bound_by_default() -> None:
    assert bind("api.binding", "") is None


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("bridgehead.server.app", "litestar|uvicorn|h11|bridgehead.admin.calls.client"),
        (
            "bridgehead.admin.methods.queues",
            "litestar|uvicorn|bridgehead.admin.queue.action_runner|bridgehead.admin.trace.tracking",
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, unwanted: str) -> None:
    """The process that moves mail knows nothing of HTTP, and a command only its own subject."""
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert [name for name in loaded if name in unwanted.split("|")] == []
