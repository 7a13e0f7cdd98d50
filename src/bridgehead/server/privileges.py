# SPDX-License-Identifier: MIT
"""From root to an unprivileged account once the ports are bound."""

import grp
import os
import pwd
from pathlib import Path
from typing import Final

import msgspec

_PRIVATE: Final = 0o700


class PrivilegeError(Exception):
    """The account cannot be taken; the message says why."""


class Account(msgspec.Struct, frozen=True):
    """Whom the server becomes."""

    name: str
    uid: int
    gid: int


def account_for(user: str, group: str) -> Account | None:
    """The account of `server.user` and `server.group`; None where nothing is to change: no user set, or not root.

    Raises PrivilegeError where the account or group does not exist.
    """
    if not user or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f'there is no account "{user}"') from None
    try:
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError:
        raise PrivilegeError(f'there is no group "{group}"') from None
    return Account(entry.pw_name, entry.pw_uid, gid)


def prepare_directory(directory: Path, account: Account | None) -> None:
    """Create a private directory, owned by the account that will use it. Raises OSError.

    Only the directory itself changes hands, never what is in it: a link placed there would give away any file.
    """
    directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    if account is not None:
        os.chown(directory, account.uid, account.gid, follow_symlinks=False)


def become(account: Account) -> None:
    """Take the account for good: groups, group, user, in this order. Raises PrivilegeError.

    Must be called in the main thread before others start.
    """
    try:
        os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise PrivilegeError(f'cannot become "{account.name}": {error.strerror}') from error
    os.umask(0o077)
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise PrivilegeError(f'the system did not make us "{account.name}"')
