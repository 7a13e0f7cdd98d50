# SPDX-License-Identifier: MIT
"""Files that root changes must stay readable for the server's own account."""

import os
from pathlib import Path


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
