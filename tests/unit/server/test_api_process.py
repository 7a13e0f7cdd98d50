# SPDX-License-Identifier: MIT
"""The process of the management interface is kept running and ends with its parent."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bridgehead.admin.settings import ApiSettings
from bridgehead.net.certificates import CertificatePair
from bridgehead.server import api_process
from bridgehead.server.api_process import ApiProcess, bind

REAL = (sys.executable, "-m", "bridgehead.admin.api")


def make(folder: Path, *command: str, settings: ApiSettings | None = None) -> ApiProcess:
    pair = CertificatePair(folder / "no.crt", folder / "no.key")
    return ApiProcess(
        settings or ApiSettings(), folder / "control.sock", folder / "internal.sock", folder / "administrators.json",
        pair, command or REAL,
    )  # fmt: skip


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
