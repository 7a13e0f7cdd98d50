# SPDX-License-Identifier: MIT
"""Unix sockets between processes of this machine: who listens where, and who is at the other end (unix(7))."""

import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.admin.faults import FAILED, AdminFault

_CREDENTIALS: Final = struct.Struct("3i")
_PATH_BYTES: Final = 100
"""A Unix socket's path holds 107 octets; a longer one is reached through its folder's descriptor."""
_BACKLOG: Final = 128


class Peer(msgspec.Struct, frozen=True):
    """The process at the other end when it connected, as the kernel says."""

    pid: int
    uid: int
    gid: int

    @property
    def account(self) -> str:
        """Its account's name, its number where that has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def groups(self) -> frozenset[str]:
        """Names of the groups that its account belongs to."""
        names = set()
        for gid in os.getgrouplist(self.account, self.gid):
            try:
                names.add(grp.getgrgid(gid).gr_name)
            except KeyError:
                continue
        return frozenset(names)


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end of a Unix socket's connection. Raises OSError."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(credentials))


class LocalListener:
    """A Unix socket that is listened on; connections wait in it until somebody takes them.

    Raises AdminFault where a living server has the path or something else lies there, OSError where the folder cannot
    be used. What a dead server left behind is replaced.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path
        _remove_stale(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            mask = os.umask(0o777 & ~mode)
            try:
                with short_path(path) as address:
                    self.socket.bind(address)
            finally:
                os.umask(mask)
            self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
            self._inode = path.stat().st_ino
        except BaseException:
            self.socket.close()
            raise

    def permit(self, mode: int) -> None:
        """Let others connect than at first. Raises OSError."""
        if self.path.stat().st_ino == self._inode:
            self.path.chmod(mode)

    def close(self) -> None:
        """Stop listening and remove the socket, unless another has taken its place."""
        self.socket.close()
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name of the socket that fits into a socket address."""
    text = str(path.absolute())
    if len(os.fsencode(text)) <= _PATH_BYTES:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AdminFault(FAILED, f"{path} is not a socket", "move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            with short_path(path) as address:
                probe.connect(address)
            if not Path(f"/proc/{peer_of(probe).pid}").exists():  # whoever inherited it is about to end
                path.unlink(missing_ok=True)
                return
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise AdminFault(FAILED, f"another server answers at {path}", "stop it, or use another data_directory")
