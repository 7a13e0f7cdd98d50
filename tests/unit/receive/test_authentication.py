# SPDX-License-Identifier: MIT
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.secret import Secret
from bridgehead.receive.authentication import Authenticator, LogonFailures, mechanisms
from bridgehead.receive.permissions import PrincipalKind
from bridgehead.receive.settings import AuthMechanism, PermissionGroup, ReceiveConnector
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import Login, Plain, ScramSha256, VerifyPassword


def connector(
    *offered: AuthMechanism, group: PermissionGroup = PermissionGroup.EXCHANGE_USERS, failures: int = 3
) -> ReceiveConnector:
    return ReceiveConnector(
        name="One",
        bindings=["0.0.0.0:587"],
        auth_mechanism=list(offered),
        permission_groups=[group],
        max_logon_failures=failures,
    )


ALL = connector(AuthMechanism.TLS, AuthMechanism.BASIC_AUTH, AuthMechanism.SCRAM_SHA_256)


@pytest.fixture
def authenticator(tmp_path: Path) -> Iterator[Authenticator]:
    users = UserFile(tmp_path / "users.toml", 4096)
    users.add("ann", Secret("pencil"), addresses=["Ann@Contoso.com"], send_as=["*@Fabrikam.com", "Boss@contoso.com"])
    made = Authenticator(users, os.urandom)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("offered", "plain", "tls"),
    [
        ([AuthMechanism.NONE], (), ()),
        ([AuthMechanism.TLS], (), ()),
        ([AuthMechanism.BASIC_AUTH], (), ("PLAIN", "LOGIN")),
        ([AuthMechanism.BASIC_AUTH_REQUIRE_TLS, AuthMechanism.TLS], (), ("PLAIN", "LOGIN")),
        ([AuthMechanism.SCRAM_SHA_256], ("SCRAM-SHA-256",), ("SCRAM-SHA-256",)),
        (
            [AuthMechanism.SCRAM_SHA_256, AuthMechanism.BASIC_AUTH],
            ("SCRAM-SHA-256",),
            ("SCRAM-SHA-256", "PLAIN", "LOGIN"),
        ),
    ],
)
def test_passwords_in_clear_text_are_offered_under_tls_only(
    offered: list[AuthMechanism], plain: tuple[str, ...], tls: tuple[str, ...]
) -> None:
    assert mechanisms(connector(*offered), tls=False) == plain
    assert mechanisms(connector(*offered), tls=True) == tls


def test_mechanisms_begin_or_are_refused_with_the_right_reply(authenticator: Authenticator) -> None:
    assert isinstance(authenticator.exchange("PLAIN", ALL, tls=True), Plain)
    assert isinstance(authenticator.exchange("LOGIN", ALL, tls=True), Login)
    assert isinstance(authenticator.exchange("SCRAM-SHA-256", ALL, tls=False), ScramSha256)
    assert authenticator.exchange("PLAIN", ALL, tls=False) is replies.ENCRYPTION_REQUIRED
    for unknown in ("NTLM", "GSSAPI", "EXTERNAL", "CRAM-MD5", ""):
        assert authenticator.exchange(unknown, ALL, tls=True) is replies.MECHANISM_UNRECOGNIZED
    assert authenticator.exchange("PLAIN", connector(AuthMechanism.TLS), tls=True) is replies.MECHANISM_UNRECOGNIZED


async def test_passwords_are_judged_away_from_the_event_loop(authenticator: Authenticator) -> None:
    assert await authenticator.verify(VerifyPassword("ANN", Secret("pencil")))
    assert not await authenticator.verify(VerifyPassword("ann", Secret("pen")))
    assert not await authenticator.verify(VerifyPassword("bob", Secret("pencil")))


def test_a_login_becomes_a_principal_with_its_addresses(authenticator: Authenticator) -> None:
    principal = authenticator.principal("ANN", ALL)
    assert principal is not None
    assert (principal.kind, principal.name) == (PrincipalKind.USER, "ann")
    for address, allowed in (
        ("ann@contoso.com", True),
        ("x@fabrikam.COM", True),
        ("BOSS@contoso.com", True),
        ("x@contoso.com", False),
    ):
        assert principal.may_send_as(parse_mailbox(address)) is allowed


def test_auth_fails_without_the_right_to_submit(authenticator: Authenticator) -> None:
    assert (
        authenticator.principal("ann", connector(AuthMechanism.BASIC_AUTH, group=PermissionGroup.ANONYMOUS_USERS))
        is None
    )
    assert authenticator.principal("bob", ALL) is None


def test_brute_force_ends_the_session() -> None:
    failures = LogonFailures(connector(failures=3))
    assert [failures.add() for _ in range(3)] == [
        replies.AUTH_FAILED,
        replies.AUTH_FAILED,
        replies.TOO_MANY_LOGON_FAILURES,
    ]
    never = LogonFailures(connector(failures=0))
    assert {never.add() for _ in range(50)} == {replies.AUTH_FAILED}
