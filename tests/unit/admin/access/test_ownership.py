# SPDX-License-Identifier: MIT
import os
from pathlib import Path

import pytest

from bridgehead.admin.access.ownership import keep_owner


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    file = folder / "users.toml"
    file.write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (folder / "link").symlink_to(elsewhere)
    keep_owner(folder, file, folder / "missing", folder / "link")
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)
    assert elsewhere.stat().st_uid == 0
