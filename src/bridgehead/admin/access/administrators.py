# SPDX-License-Identifier: MIT
"""Logins and tokens of the management interface: add, list, change, remove. The interface notices changes by itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bridgehead.admin.access.administrator_file import Administrator, AdministratorFile, parse_role
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.mail.secret import Secret

TOKEN_DAYS = 90
TOKEN_DAYS_MAX = 3660


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    created: datetime
    expires: datetime
    expired: bool
    comment: str = ""


class AdministratorView(msgspec.Struct, frozen=True, kw_only=True):
    """A login of the interface and its tokens."""

    name: str
    role: str
    comment: str = ""
    tokens: list[TokenView] = []


class AdministratorAction(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a login."""

    name: str
    action: str


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was made. `token` is its secret, which is not shown again."""

    name: str
    role: str
    id: str
    expires: datetime
    token: str


def list_administrators(path: Path) -> list[AdministratorView]:
    """All logins by name. Raises AdminFault."""
    return [_view(one) for one in AdministratorFile(path).list_all()]


def add_administrator(path: Path, name: str, password: Secret, role: str, comment: str = "") -> AdministratorView:
    """Add a login. Raises AdminFault."""
    return _view(AdministratorFile(path).add(name, password, parse_role(role), comment))


def set_administrator_password(path: Path, name: str, password: Secret) -> AdministratorAction:
    """Give a login another password. Raises AdminFault."""
    one = AdministratorFile(path).set_password(name, password)
    return AdministratorAction(name=one.name, action="password changed")


def remove_administrator(path: Path, name: str) -> AdministratorAction:
    """Remove a login with its tokens. Raises AdminFault."""
    return AdministratorAction(name=AdministratorFile(path).remove(name).name, action="removed")


def make_token(path: Path, name: str, days: int = TOKEN_DAYS, comment: str = "") -> NewToken:
    """Make a token for a login. Raises AdminFault."""
    if not 1 <= days <= TOKEN_DAYS_MAX:
        raise AdminFault(INVALID, f"a token lasts 1 to {TOKEN_DAYS_MAX} days")
    now = datetime.now(UTC)
    file = AdministratorFile(path)
    token, secret = file.add_token(name, now, now + timedelta(days=days), comment)
    [owner] = [one for one in file.list_all() if any(kept.id == token.id for kept in one.tokens)]
    return NewToken(name=owner.name, role=owner.role, id=token.id, expires=token.expires, token=secret.reveal())


def revoke_token(path: Path, number: str) -> AdministratorAction:
    """Remove a token. Raises AdminFault."""
    return AdministratorAction(name=AdministratorFile(path).remove_token(number).name, action=f"token {number} revoked")


def _view(one: Administrator) -> AdministratorView:
    now = datetime.now(UTC)
    tokens = [
        TokenView(id=token.id, created=token.created, expires=token.expires, expired=now >= token.expires,
                  comment=token.comment)
        for token in one.tokens
    ]  # fmt: skip
    return AdministratorView(name=one.name, role=one.role, comment=one.comment, tokens=tokens)
