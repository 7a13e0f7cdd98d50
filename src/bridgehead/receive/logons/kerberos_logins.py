# SPDX-License-Identifier: MIT
"""Which login a Kerberos principal is, by what [kerberos] declares. Pure.

Nothing of krb5.conf decides it: no default realm, no auth_to_local. A principal that nothing is declared for is nobody.
"""

from collections.abc import Awaitable, Callable

from bridgehead.directory.user_record import User, canonical_name
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS
from bridgehead.receive.logons.settings import KerberosSettings
from bridgehead.smtp.sasl_gssapi import GssVerdict

Find = Callable[[str], Awaitable[User | str]]
"""(name) → the enabled login of that name, or why there is none."""


def same_principal(one: str, other: str) -> bool:
    """Whether two names are one principal; Active Directory does not tell upper from lower case."""
    return one.lower() == other.lower()


async def login_of(
    principal: str, authorization: str, settings: KerberosSettings, find: Find, *, ntlm: bool = False
) -> GssVerdict:  # fmt: skip
    """The login that a principal is, or as which it asks to act.

    Args:
        principal: as the library shows it, "ann@CONTOSO.COM"; of NTLM the account's name alone, "ann".
        authorization: what the client asks to act as, "" where it asks for nothing.
    """
    if len(principal) > LOGIN_NAME_CHARACTERS or not principal.isprintable() or "\\" in principal:
        return GssVerdict(reason="the principal is too long, or holds characters that no login has")
    logins = [principal] if ntlm else _logins(principal, settings)
    if not logins:
        return GssVerdict(
            reason=f"{clean_text(principal, LOGIN_NAME_CHARACTERS)} is no login: its realm is none of kerberos.realms, "
            "or it has several parts and stands in no [[kerberos.principals]]"
        )
    own = await find(logins[0])
    if isinstance(own, str):
        return GssVerdict(reason=own)
    if not authorization or same_principal(authorization, principal):
        return GssVerdict(own.name)
    wanted = canonical_name(authorization)
    if wanted == own.name or wanted in (address.lower() for address in own.addresses):
        return GssVerdict(own.name)
    granted = next((name for name in logins[1:] if canonical_name(name) == wanted), "")
    if not granted:
        return GssVerdict(reason=f"{own.name} asks to act as {clean_text(authorization, LOGIN_NAME_CHARACTERS)}")
    other = await find(granted)
    return GssVerdict(reason=other) if isinstance(other, str) else GssVerdict(other.name)


def _logins(principal: str, settings: KerberosSettings) -> list[str]:
    """The login that a principal is, then those that it may act as; empty: none."""
    for declared in settings.principals:
        if same_principal(declared.principal, principal):
            return declared.logins
    name, _, realm = principal.rpartition("@")
    if not name or "/" in name or "@" in name or realm not in settings.realms:
        return []
    return [name] if name.lower() == canonical_name(name) else []
