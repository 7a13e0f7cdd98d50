# SPDX-License-Identifier: MIT
import pytest

from bridgehead.mail.address import NULL, parse_mailbox
from bridgehead.receive.permissions.rights import (
    ALL_RIGHTS,
    ANONYMOUS,
    EXTERNALLY_SECURED,
    SYSTEM,
    Principal,
    PrincipalKind,
    explain,
    is_from_inside,
    rights_of,
    session_principal,
)
from bridgehead.receive.settings import (
    AuthMechanism,
    ExtendedRight,
    Grantee,
    PermissionGroup,
    ReceiveConnector,
    Right,
)

USER = Principal(PrincipalKind.USER, "scanner", frozenset({"scanner@contoso.com"}))
PARTNER = Principal(PrincipalKind.PARTNER, "fabrikam.com")


def connector(*groups: PermissionGroup, extended: list[ExtendedRight] | None = None) -> ReceiveConnector:
    return ReceiveConnector(
        name="One", bindings=["0.0.0.0:25"], permission_groups=list(groups), extended_rights=extended or []
    )


def test_each_group_gives_its_rights_to_its_principal_only() -> None:
    every = connector(*(group for group in PermissionGroup if group is not PermissionGroup.NONE))
    assert rights_of(every, ANONYMOUS) == {
        Right.SUBMIT, Right.ACCEPT_ANY_SENDER, Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER, Right.ACCEPT_HEADERS_ROUTING,
    }  # fmt: skip
    assert rights_of(every, USER) == {
        Right.SUBMIT, Right.ACCEPT_ANY_RECIPIENT, Right.BYPASS_ANTI_SPAM, Right.ACCEPT_HEADERS_ROUTING,
    }  # fmt: skip
    assert ALL_RIGHTS - rights_of(every, EXTERNALLY_SECURED) == {
        Right.ACCEPT_HEADERS_ORGANIZATION, Right.ACCEPT_HEADERS_FOREST,
    }  # fmt: skip
    assert rights_of(every, PARTNER) == {Right.SUBMIT, Right.ACCEPT_HEADERS_ROUTING}


@pytest.mark.parametrize("principal", [ANONYMOUS, USER, EXTERNALLY_SECURED, PARTNER])
def test_closed_by_default(principal: Principal) -> None:
    assert rights_of(ReceiveConnector(name="One", bindings=["0.0.0.0:25"]), principal) == frozenset()
    assert rights_of(connector(PermissionGroup.CUSTOM), principal) == frozenset()


def test_anonymous_never_relays_by_its_group() -> None:
    for group in PermissionGroup:
        assert Right.ACCEPT_ANY_RECIPIENT not in rights_of(connector(group), ANONYMOUS)


def test_first_relay_recipe_grants_one_right_to_anonymous() -> None:
    relay = connector(
        PermissionGroup.ANONYMOUS_USERS,
        extended=[ExtendedRight(principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_ANY_RECIPIENT])],
    )
    rights = rights_of(relay, ANONYMOUS)
    assert Right.ACCEPT_ANY_RECIPIENT in rights
    assert Right.BYPASS_MESSAGE_SIZE_LIMIT not in rights
    assert not is_from_inside(rights, ANONYMOUS)
    assert Right.ACCEPT_ANY_RECIPIENT not in rights_of(relay, PARTNER)


def test_second_relay_recipe_is_externally_secured() -> None:
    relay = ReceiveConnector(
        name="One",
        bindings=["0.0.0.0:25"],
        auth_mechanism=[AuthMechanism.EXTERNAL_AUTHORITATIVE],
        permission_groups=[PermissionGroup.EXCHANGE_SERVERS],
    )
    principal = session_principal(relay)
    assert principal is EXTERNALLY_SECURED
    rights = rights_of(relay, principal)
    assert {Right.ACCEPT_ANY_RECIPIENT, Right.BYPASS_MESSAGE_SIZE_LIMIT, Right.BYPASS_ANTI_SPAM} <= rights
    assert is_from_inside(rights, principal)
    assert session_principal(connector(PermissionGroup.EXCHANGE_SERVERS)) is ANONYMOUS


def test_denial_wins_over_every_grant() -> None:
    hardened = connector(
        PermissionGroup.ANONYMOUS_USERS,
        extended=[
            ExtendedRight(principal=Grantee.ANONYMOUS, deny=[Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER]),
            ExtendedRight(principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER]),
        ],
    )
    assert Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER not in rights_of(hardened, ANONYMOUS)


def test_every_right_is_explained() -> None:
    relay = connector(
        PermissionGroup.ANONYMOUS_USERS,
        extended=[
            ExtendedRight(
                principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_ANY_RECIPIENT], deny=[Right.ACCEPT_HEADERS_ROUTING]
            )
        ],
    )
    states = {state.right: state for state in explain(relay, ANONYMOUS)}
    assert set(states) == ALL_RIGHTS
    assert states[Right.SUBMIT].reason == "granted by permission group AnonymousUsers"
    assert states[Right.ACCEPT_ANY_RECIPIENT].reason == "granted by extended_rights"
    denied = states[Right.ACCEPT_HEADERS_ROUTING]
    assert not denied.held
    assert denied.reason == "denied by extended_rights: Received and Resent-* header fields are removed"
    assert states[Right.BYPASS_MESSAGE_SIZE_LIMIT].reason == "not granted: max_message_size applies"
    assert all(state.held for state in explain(relay, SYSTEM))


@pytest.mark.parametrize(
    ("send_as", "address", "allowed"),
    [
        ((), "Scanner@CONTOSO.com", True),
        ((), "boss@contoso.com", False),
        (("boss@contoso.com",), "boss@contoso.com", True),
        (("*@contoso.com",), "anybody@contoso.com", True),
        (("*@contoso.com",), "anybody@sub.contoso.com", False),
        (("*@contoso.com",), "anybody@notcontoso.com", False),
        (("*",), "a@b.example", True),
    ],
)
def test_what_a_login_may_send_as(send_as: tuple[str, ...], address: str, allowed: bool) -> None:
    user = Principal(PrincipalKind.USER, "scanner", USER.addresses, frozenset(send_as))
    assert user.may_send_as(parse_mailbox(address)) is allowed


def test_names_of_principals_are_those_of_a_mail_item() -> None:
    assert [str(one) for one in (ANONYMOUS, USER, PARTNER, EXTERNALLY_SECURED, SYSTEM)] == [
        "anonymous", "user:scanner", "partner:fabrikam.com", "externally-secured", "system",
    ]  # fmt: skip
    assert not ANONYMOUS.may_send_as(NULL)
