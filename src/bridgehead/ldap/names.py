# SPDX-License-Identifier: MIT
"""Whom to bind as: a template of the administrator's with what a client typed in its place (RFC 4514 §2.4)."""

import re
from typing import Final

PLACE: Final = "{name}"
_NO_ESCAPE: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@.-_")
_ACCOUNT: Final = re.compile(r'[^\s"/\\\[\]:;|=,+*?<>@]+')
"""What Active Directory lets an account be called: no other name can be meant."""


def is_dn(template: str) -> bool:
    """Whether a template makes distinguished names: "uid={name},ou=people,dc=contoso,dc=com"."""
    return "=" in template


def bind_name(template: str, name: str) -> str:
    """The template with the name in the place of "{name}"; "" where no such name can exist.

    In a distinguished name it is escaped. In other forms ("{name}@contoso.com") it must be an account's name.
    """
    if is_dn(template):
        return template.replace(PLACE, escaped_value(name))
    account = account_name(template, name)
    return template.replace(PLACE, account) if account else ""


def account_name(template: str, name: str) -> str:
    """The account that is meant, "" where none can be: what the template adds may stand in the name already."""
    end = template.partition(PLACE)[2]
    if end and name.lower().endswith(end.lower()):
        name = name[: -len(end)]
    return name if _ACCOUNT.fullmatch(name) else ""


def escaped_value(value: str) -> str:
    """A value within a distinguished name."""
    return "".join(chr(octet) if octet in _NO_ESCAPE else f"\\{octet:02x}" for octet in value.encode())
