# SPDX-License-Identifier: MIT
"""Files that root changes must stay readable for the server's own account."""

import os
import pwd
import shutil
from pathlib import Path

from bridgehead.admin.faults import FAILED, AdminFault


def make_data_directory(folder: Path, user: str, group: str) -> None:
    """The data directory, where a command comes before the server's first start: of the account that will use it.

    Args:
        user: `server.user`, "" for whoever runs the command; so is anybody but root.
        group: `server.group`, "" for the account's own.

    Raises AdminFault.
    """
    if folder.exists():
        return
    try:
        folder.mkdir(mode=0o700, parents=True)
        if user and os.geteuid() == 0:
            shutil.chown(folder, user, group or pwd.getpwnam(user).pw_gid)
    except (LookupError, OSError) as error:
        raise AdminFault(
            FAILED, f"{folder} cannot be made: {error}", "correct [server] or run the command as root"
        ) from None


def keep_owner(folder: Path, *files: Path) -> None:
    """Give files to the owner of the data directory, where root made them. Raises OSError."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for file in files:
        try:
            found = file.lstat()
            if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
        except FileNotFoundError:
            continue
