#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/reference/permissions.md from the tables that sessions are judged by."""

from pathlib import Path

from bridgehead.receive.permissions.rights import EFFECT_IF_MISSING, GROUP_RIGHTS, PrincipalKind
from bridgehead.receive.settings import PermissionGroup, Right

MANUAL = Path(__file__).parent.parent / "docs" / "reference" / "permissions.md"

HEAD = """\
# Permissions

<!-- Written by `make docs` from the tables that sessions are judged by. Change those, not this page. -->

A session runs as one principal and has exactly the rights that the receive connector gives it: those of its
`permission_groups`, plus what `extended_rights` grant, minus what they deny. `bridgehead connector match --from ADDRESS
--port PORT` shows connector, principal and rights for any client.

| Principal | Who |
|---|---|
| anonymous | everybody who has not logged on |
| user | who has logged on (AUTH PLAIN, LOGIN, SCRAM-SHA-256); sends as its own addresses unless granted more |
| externally-secured | everybody on a connector with `ExternalAuthoritative` |
| partner | reserved for servers known by their certificate |

## Groups

| Group | Principal | Rights |
|---|---|---|
"""


def render() -> str:
    """The whole page."""
    lines = [HEAD]
    for group in PermissionGroup:
        for kind, rights in GROUP_RIGHTS[group].items():
            lines.append(f"| `{group.value}` | {kind.value} | {_listed(rights)} |\n")
        if not GROUP_RIGHTS[group]:
            lines.append(f"| `{group.value}` | {_nobody(group)} | none |\n")
    lines.append("\n## Rights\n\n| Right | Where it is missing |\n|---|---|\n")
    lines += [f"| `{right.value}` | {EFFECT_IF_MISSING[right]} |\n" for right in Right]
    return "".join(lines)


def _listed(rights: frozenset[Right]) -> str:
    return ", ".join(right.value for right in Right if right in rights)


def _nobody(group: PermissionGroup) -> str:
    if group is PermissionGroup.CUSTOM:
        return "whoever `extended_rights` name"
    return f"{PrincipalKind.ANONYMOUS.value} and all others" if group is PermissionGroup.NONE else "nobody here"


if __name__ == "__main__":
    MANUAL.parent.mkdir(parents=True, exist_ok=True)
    MANUAL.write_text(render())
