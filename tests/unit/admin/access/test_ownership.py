# SPDX-License-Identifier: MIT
import os
import pwd
from pathlib import Path

import msgspec
import pytest

from bridgehead.admin.access.ownership import keep_owner, make_data_directory
from bridgehead.admin.faults import AdminFault
from support.cli import Commands

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@as_root
@pytest.mark.parametrize(
    "command",
    [
        ("recipient", "add", "anna", "--address", "anna@contoso.com"),
        ("user", "add", "anna", "--address", "anna@contoso.com", "--password-stdin"),
        ("administrator", "add", "anna", "--role", "administrator", "--password-stdin"),
    ],
)
def test_what_root_writes_before_the_first_start_belongs_to_the_servers_account(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    commands = Commands(tmp_path / "a" / "data")
    server = msgspec.structs.replace(commands.configuration.server, user="nobody")
    commands.configuration = msgspec.structs.replace(commands.configuration, server=server)
    commands(*command, given="correct horse battery\n" if "--password-stdin" in command else None)
    folder = tmp_path / "a" / "data"
    owners = {str(one): one.stat().st_uid for one in [folder, *folder.rglob("*")]}
    assert set(owners.values()) == {pwd.getpwnam("nobody").pw_uid}, owners
    assert folder.stat().st_mode & 0o777 == 0o700


@as_root
def test_an_account_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdminFault, match="no-such-user"):
        make_data_directory(tmp_path / "data", "no-such-user", "")


@as_root
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
