# SPDX-License-Identifier: MIT
import asyncio

import pytest

from bridgehead.directory.user_record import User
from bridgehead.receive.logons.kerberos_logins import login_of
from bridgehead.receive.logons.settings import KerberosPrincipal, KerberosSettings

USERS = {
    name: User(name=name, addresses=(f"{name}@contoso.com",)) for name in ("ann", "erp", "crm", "boss", "host")
}  # fmt: skip
SETTINGS = KerberosSettings(
    realms=["CONTOSO.COM", "CHILD.CONTOSO.COM"],
    principals=[
        KerberosPrincipal(principal="erp/app7@CONTOSO.COM", logins=["erp", "crm", "gone"]),
        KerberosPrincipal(principal="boss@CONTOSO.COM", logins=["ann"]),
        KerberosPrincipal(principal="guest@FABRIKAM.COM", logins=["host"]),
    ],
)


def found(principal: str, authorization: str = "") -> str:
    """The login, "" for none."""

    async def find(name: str) -> User | str:
        return USERS.get(name.lower(), "nobody is called so")

    verdict = asyncio.run(login_of(principal, authorization, SETTINGS, find))
    assert bool(verdict.name) is not bool(verdict.reason)
    return verdict.name


@pytest.mark.parametrize(
    ("principal", "login"),
    [
        ("ann@CONTOSO.COM", "ann"), ("ANN@CONTOSO.COM", "ann"), ("ann@CHILD.CONTOSO.COM", "ann"),
        ("erp/app7@CONTOSO.COM", "erp"), ("ERP/app7@CONTOSO.COM", "erp"),
        ("boss@CONTOSO.COM", "ann"),  # a table wins
        ("guest@FABRIKAM.COM", "host"),
        ("ann@FABRIKAM.COM", ""), ("ann@contoso.com", ""), ("ann@", ""), ("@CONTOSO.COM", ""), ("ann", ""), ("", ""),
        ("ann@CONTOSO.COM@CONTOSO.COM", ""), ("ann/admin@CONTOSO.COM", ""), ("host/ann@CONTOSO.COM", ""),
        (r"ann\@CONTOSO.COM@CONTOSO.COM", ""), (r"ann\0@CONTOSO.COM", ""), ("nobody@CONTOSO.COM", ""),
        ("\N{FULLWIDTH LATIN SMALL LETTER A}nn@CONTOSO.COM", ""),  # SASLprep would make it ann
        ("ann@CONTOSO.COM\n", ""), ("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", ""), ("a" * 300 + "@CONTOSO.COM", ""),
    ],
)  # fmt: skip
def test_a_principal_is_the_login_that_was_declared_or_nobody(principal: str, login: str) -> None:
    assert found(principal) == login


@pytest.mark.parametrize(
    ("principal", "wanted", "login"),
    [
        ("ann@CONTOSO.COM", "ann", "ann"), ("ann@CONTOSO.COM", "Ann@Contoso.com", "ann"),
        ("ann@CONTOSO.COM", "crm", ""), ("ann@CONTOSO.COM", "crm@contoso.com", ""),
        ("erp/app7@CONTOSO.COM", "crm", "crm"), ("erp/app7@CONTOSO.COM", "erp/app7@CONTOSO.COM", "erp"),
        ("erp/app7@CONTOSO.COM", "gone", ""), ("erp/app7@CONTOSO.COM", "ann", ""),
        ("boss@CONTOSO.COM", "boss", ""),
    ],
)  # fmt: skip
def test_it_acts_as_others_only_where_that_was_granted(principal: str, wanted: str, login: str) -> None:
    assert found(principal, wanted) == login
