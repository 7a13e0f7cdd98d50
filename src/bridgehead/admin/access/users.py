# SPDX-License-Identifier: MIT
"""Logins: add, list, change the password, remove. The server notices the changed file by itself."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bridgehead.admin.access.ownership import keep_owner
from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.directory.user_record import User, UserFileError
from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A login: its own addresses, and further ones it may send as."""

    name: str
    enabled: bool
    addresses: list[str]
    send_as: list[str]
    send_on_behalf: list[str] = []
    certificates: list[str] = []
    comment: str = ""


class UserAction(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a login."""

    name: str
    action: str


def list_users(path: Path) -> list[UserView]:
    """All logins by name. Raises AdminFault."""
    return [_view(user) for user in _open(path).list_users()]


def add_user(
    path: Path, name: str, password: Secret, *, addresses: Sequence[str] = (), send_as: Sequence[str] = (),
    send_on_behalf: Sequence[str] = (), certificates: Sequence[str] = (), comment: str = "",
) -> UserView:  # fmt: skip
    """Add a login. Raises AdminFault."""
    users = _open(path)
    try:
        user = users.add(
            name, password, addresses=addresses, send_as=send_as, send_on_behalf=send_on_behalf,
            certificates=certificates, comment=comment,
        )  # fmt: skip
    except (UserFileError, OSError) as error:
        raise _refused(error) from None
    keep_owner(path.parent, path)
    return _view(user)


def update_user(
    path: Path, name: str, *, addresses: Sequence[str] | None = None, send_as: Sequence[str] | None = None,
    send_on_behalf: Sequence[str] | None = None, certificates: Sequence[str] | None = None,
    comment: str | None = None, enabled: bool | None = None,
) -> UserView:  # fmt: skip
    """Change what is given of a login; None leaves as it is. Raises AdminFault."""
    users = _open(path)
    try:
        user = users.update(
            name, addresses=addresses, send_as=send_as, send_on_behalf=send_on_behalf, certificates=certificates,
            comment=comment, enabled=enabled,
        )  # fmt: skip
    except (UserFileError, OSError) as error:
        raise _refused(error) from None
    keep_owner(path.parent, path)
    return _view(user)


def set_password(path: Path, name: str, password: Secret) -> UserAction:
    """Give a login another password. Raises AdminFault."""
    users = _open(path)
    try:
        users.set_password(name, password)
    except (UserFileError, OSError) as error:
        raise _refused(error) from None
    keep_owner(path.parent, path)
    return UserAction(name=name, action="password changed")


def remove_user(path: Path, name: str) -> UserAction:
    """Remove a login. Raises AdminFault."""
    users = _open(path)
    try:
        users.remove(name)
    except (UserFileError, OSError) as error:
        raise _refused(error) from None
    keep_owner(path.parent, path)
    return UserAction(name=name, action="removed")


def find_user(path: Path, name: str) -> User:
    """An enabled login. Raises AdminFault where there is none."""
    users = _open(path)
    user = users.find(name)
    if user is None:
        disabled = any(one.name == name.lower() for one in users.list_users())
        message = f'the login "{name}" is disabled' if disabled else f'there is no login "{name}" in {path}'
        raise AdminFault(NOT_FOUND, message, "bridgehead user list shows them")
    return user


def _open(path: Path) -> UserFile:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return UserFile(path)
    except UserFileError as error:
        raise AdminFault(FAILED, str(error), "mend or move away the file") from None
    except OSError as error:
        raise AdminFault(
            FAILED, f"{path}: {error.strerror or error}", "run the command as the server's account"
        ) from None


def _refused(error: Exception) -> AdminFault:
    if isinstance(error, OSError):
        return AdminFault(FAILED, str(error), "run the command as the server's account or as root")
    return AdminFault(INVALID, str(error))


def _view(user: User) -> UserView:
    return UserView(
        name=user.name,
        enabled=user.enabled,
        addresses=list(user.addresses),
        send_as=list(user.send_as),
        send_on_behalf=list(user.send_on_behalf),
        certificates=list(user.certificates),
        comment=user.comment,
    )
