# SPDX-License-Identifier: MIT
"""Dropping privileges, in a child process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridgehead.server.privileges import PrivilegeError, account_for, prepare_directory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

BECOME = """
import os
from bridgehead.server.privileges import account_for, become
account = account_for("nobody", "")
become(account)
try:
    os.setuid(0)
except PermissionError:
    print(os.getresuid() == (account.uid,) * 3, os.getresgid() == (account.gid,) * 3, 0 in os.getgroups())
"""


def test_without_a_user_nothing_changes() -> None:
    assert account_for("", "") is None


@as_root
def test_there_is_no_way_back() -> None:
    result = subprocess.run([sys.executable, "-c", BECOME], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["True", "True", "False"], result.stderr


@as_root
def test_unknown_names_are_told() -> None:
    with pytest.raises(PrivilegeError, match='no account "no-such-user"'):
        account_for("no-such-user", "")
    with pytest.raises(PrivilegeError, match='no group "no-such-group"'):
        account_for("nobody", "no-such-group")


@as_root
def test_the_data_directory_is_private_and_changes_hands(tmp_path: Path) -> None:
    account = account_for("nobody", "")
    assert account is not None
    prepare_directory(tmp_path / "a" / "data", account)
    status = (tmp_path / "a" / "data").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o700, account.uid)
