# SPDX-License-Identifier: MIT
"""Programs that tests start: found or the test fails, ended when the test ends."""

import os
import shutil
import signal
import subprocess
from pathlib import Path


def program(name: str) -> str:
    """Path of a program from a Debian package. Raises AssertionError where it is missing: `make test` installs it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert found, f"{name} is not installed; `make install-test-packages` installs what the tests need"
    return found


def run(*command: str | Path, data: bytes = b"", seconds: float = 60.0) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return what it said; its exit status is the caller's to judge."""
    return subprocess.run(
        [str(part) for part in command], input=data, capture_output=True, timeout=seconds, check=False
    )


def end(process: "subprocess.Popen[bytes]", seconds: float = 15.0) -> int:
    """SIGTERM, then SIGKILL when it does not go; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
