# SPDX-License-Identifier: MIT
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.secret import Secret
from bridgehead.receive.logons.authentication import Authenticator, Channel, LogonFailures, mechanisms
from bridgehead.receive.logons.lockout import LockoutTable
from bridgehead.receive.logons.settings import LockoutSettings
from bridgehead.receive.permissions.rights import PrincipalKind
from bridgehead.receive.settings import AuthMechanism, PermissionGroup, ReceiveConnector
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import External, Login, Plain, ScramSha256, Success, VerifyPassword


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
    users.add("door", Secret("pencil"), addresses=["door@contoso.com"], certificates=["door.contoso.com"])
    made = Authenticator(users, os.urandom, LockoutTable(LockoutSettings(account_lockout_threshold=3)), lambda: 0.0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("offered", "plain", "tls"),
    [
        ([AuthMechanism.NONE], (), ()),
        ([AuthMechanism.TLS], (), ()),
        ([AuthMechanism.BASIC_AUTH], (), ("PLAIN", "LOGIN")),
        ([AuthMechanism.BASIC_AUTH_REQUIRE_TLS, AuthMechanism.TLS], (), ("PLAIN", "LOGIN")),
        ([AuthMechanism.SCRAM_SHA_256], ("SCRAM-SHA-256",), ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")),
        ([AuthMechanism.EXTERNAL], (), ("EXTERNAL",)),
        ([AuthMechanism.INTEGRATED], ("GSSAPI",), ("GSSAPI",)),
        (
            [AuthMechanism.SCRAM_SHA_256, AuthMechanism.BASIC_AUTH],
            ("SCRAM-SHA-256",),
            ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"),
        ),
    ],
)
def test_passwords_in_clear_text_are_offered_under_tls_only(
    offered: list[AuthMechanism], plain: tuple[str, ...], tls: tuple[str, ...]
) -> None:
    assert mechanisms(connector(*offered), tls=False) == plain
    assert mechanisms(connector(*offered), tls=True) == tls


CLEAR, TLS = Channel("192.0.2.7"), Channel("192.0.2.7", tls=True)
BOUND = Channel("192.0.2.7", tls=True, bindings={"tls-server-end-point": b"x"})
KNOWN = Channel("192.0.2.7", tls=True, identities=("door.contoso.com", "sha256:00"))


def test_mechanisms_begin_or_are_refused_with_the_right_reply(authenticator: Authenticator) -> None:
    assert isinstance(authenticator.exchange("PLAIN", ALL, TLS), Plain)
    assert isinstance(authenticator.exchange("LOGIN", ALL, TLS), Login)
    assert isinstance(authenticator.exchange("SCRAM-SHA-256", ALL, CLEAR), ScramSha256)
    assert isinstance(authenticator.exchange("SCRAM-SHA-256-PLUS", ALL, BOUND), ScramSha256)
    assert authenticator.exchange("PLAIN", ALL, CLEAR) is replies.ENCRYPTION_REQUIRED
    assert authenticator.exchange("SCRAM-SHA-256-PLUS", ALL, CLEAR) is replies.ENCRYPTION_REQUIRED
    assert authenticator.exchange("SCRAM-SHA-256-PLUS", ALL, TLS) is replies.MECHANISM_UNRECOGNIZED
    for unknown in ("NTLM", "GSSAPI", "EXTERNAL", "CRAM-MD5", ""):
        assert authenticator.exchange(unknown, ALL, KNOWN) is replies.MECHANISM_UNRECOGNIZED
    assert authenticator.exchange("PLAIN", connector(AuthMechanism.TLS), TLS) is replies.MECHANISM_UNRECOGNIZED


def test_external_needs_a_certificate_and_finds_its_login(authenticator: Authenticator) -> None:
    external = connector(AuthMechanism.TLS, AuthMechanism.EXTERNAL)
    assert authenticator.exchange("EXTERNAL", external, TLS) is replies.MECHANISM_UNRECOGNIZED
    for said, outcome in ((b"", "door"), (b"DOOR", "door"), (b"ann", None)):
        exchange = authenticator.exchange("EXTERNAL", external, KNOWN)
        assert isinstance(exchange, External)
        step = exchange.start(said)
        assert (step.name if isinstance(step, Success) else None) == outcome


def test_a_locked_account_is_refused_though_the_password_is_right(authenticator: Authenticator) -> None:
    assert authenticator.objection("ANN", ALL, "192.0.2.7") == ""
    for _ in range(3):
        authenticator.failed("Ann", "198.51.100.1")
    assert "locked" in authenticator.objection("ANN", ALL, "192.0.2.7")
    assert authenticator.objection("door", ALL, "192.0.2.7") == ""


async def test_unknown_disabled_and_locked_logins_cost_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = UserFile(tmp_path / "users.toml", 4096)
    users.add("ann", Secret("pencil"))
    users.add("off", Secret("pencil"))
    users.update("off", enabled=False)
    made = Authenticator(users, os.urandom, LockoutTable(LockoutSettings(account_lockout_threshold=1)), lambda: 0.0)
    made.failed("ann", "192.0.2.7")
    done: list[int] = []
    derive = hashlib.pbkdf2_hmac

    def counted(digest: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        done.append(iterations)
        return derive(digest, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    for name in ("ann", "off", "nobody"):
        await made.verify(VerifyPassword(name, Secret("pencil")), connector(AuthMechanism.BASIC_AUTH), "192.0.2.7")
    assert done == [4096] * 3
    made.close()


async def test_passwords_are_judged_away_from_the_event_loop(authenticator: Authenticator) -> None:
    for name, password, right in (("ANN", "pencil", True), ("ann", "pen", False), ("bob", "pencil", False)):
        verified = await authenticator.verify(
            VerifyPassword(name, Secret(password)), connector(AuthMechanism.BASIC_AUTH), "192.0.2.7"
        )
        assert (isinstance(verified.step, Success), verified.step.name, verified.user) == (right, name, None)


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
