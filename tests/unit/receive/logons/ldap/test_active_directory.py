# SPDX-License-Identifier: MIT
"""What Active Directory does otherwise than OpenLDAP, by a server of the tests' own that answers as it does."""

from collections.abc import Sequence

from bridgehead.mail.secret import Secret
from bridgehead.mail.units import Duration
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.receive.logons.ldap.logins import LdapLogins, Verdict
from bridgehead.receive.logons.ldap.settings import LdapMode, LdapSettings
from support.directory_service import Account, DirectoryService

ANN = Account("ann", "ann@contoso.test", "pencil", ("smtp:info@contoso.test", "SMTP:Ann@contoso.test"))
OFF = Account("off", "off@contoso.test", "pencil", (), "533", enabled=False)
# Somebody logs on by the name that another account is called.
SWAPPED = Account("x4711", "bob@contoso.test", "crayon", ("SMTP:x4711@contoso.test",))
BOB = Account("bob", "robert@contoso.test", "eraser", ("SMTP:bob@contoso.test",))


async def verify(name: str, password: str, attributes: Sequence[str] = ("sAMAccountName",)) -> Verdict:
    resolver = Resolver(clock=SystemClock(), hosts={})
    async with DirectoryService(ANN, OFF, SWAPPED, BOB) as service:
        settings = LdapSettings(
            servers=[f"ldap://127.0.0.1:{service.port}"], start_tls=False, mode=LdapMode.BIND, bind_template="{name}@contoso.test",
            search_base="DC=contoso,DC=test", login_attributes=list(attributes), timeout=Duration(seconds=3),
        )  # fmt: skip
        logins = LdapLogins(settings, "", lambda: resolver, lambda: Secret(""), lambda url, fault: None)
        try:
            return await logins.verify(name, Secret(password))
        finally:
            logins.servers.close()
            await resolver.close()


async def test_a_bind_by_user_principal_name() -> None:
    for name in ("ann", "Ann@Contoso.Test"):
        user = (await verify(name, "pencil")).user
        assert user is not None
        assert (user.name, user.addresses) == ("ann", ("Ann@contoso.test", "info@contoso.test"))
    assert (await verify("ann", "wrong")).reason == "the directory refuses the bind: wrong password"
    assert (await verify("off", "pencil")).reason == "the directory refuses the bind: the account is disabled"


async def test_nobody_becomes_the_account_that_is_called_like_his_logon_name() -> None:
    verdict = await verify("bob", "crayon")
    assert verdict.user is None
    assert verdict.reason == "bob@contoso.test is not CN=bob,CN=Users,DC=contoso,DC=test, which has this name too"
    by_its_principal = (await verify("bob", "crayon", attributes=["userPrincipalName"])).user
    assert by_its_principal is not None
    assert by_its_principal.addresses == ("x4711@contoso.test",)


async def test_a_name_of_another_domain_or_path_is_nobodys() -> None:
    for name in ("ann@fabrikam.test", "CONTOSO\\ann", "CN=ann,DC=contoso"):
        assert (await verify(name, "pencil")).user is None
