# SPDX-License-Identifier: MIT
"""A disk that fails on command beneath a real server: `faulty_disk.c`, compiled and preloaded."""

import sys
from pathlib import Path

from support.programs import program, run


class FaultyDisk:
    """Compiles the library; `launcher` is what `Server` takes.

    Args:
        directory: for the library and the flag files.
        folder: what lies on the disk in question.
    """

    def __init__(self, directory: Path, folder: Path) -> None:
        self._flags = directory / "faults"
        self._flags.mkdir(parents=True)
        library = directory / "faulty_disk.so"
        source = Path(__file__).with_suffix(".c")
        compiled = run(program("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl")
        assert compiled.returncode == 0, compiled.stderr.decode()
        self.launcher = [
            program("env"), f"LD_PRELOAD={library}", f"DISK_FAULTS={self._flags}", f"DISK_FOLDER={folder}",
            sys.executable, "-m", "bridgehead",
        ]  # fmt: skip

    def begin(self, fault: str) -> None:
        """From now on "EIO-on-sync" or "EROFS"."""
        (self._flags / fault).touch()

    def end(self, fault: str) -> None:
        """The disk works again."""
        (self._flags / fault).unlink()
