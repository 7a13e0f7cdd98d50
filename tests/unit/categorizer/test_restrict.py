# SPDX-License-Identifier: MIT
"""Restrictions of recipients: size, authenticated senders, accept and reject lists, in this order."""

import pytest

from bridgehead.directory.recipient import Recipient
from bridgehead.mail.item import Stage
from support.categorizing import failures, group, mailbox, message, places, resolved

PEOPLE = [
    mailbox("boss", aliases=("chief@contoso.com",)),
    group("managers", "boss", "mother@elsewhere.example"),
    group("leaders", "managers", "leaders", "circle"),
    group("circle", "leaders"),
]


def refused(target: Recipient, **facts: object) -> str:
    """The source tag of the refusal, "" where the message is taken."""
    resolution = resolved([*PEOPLE, target], message("target@contoso.com", **facts))  # type: ignore[arg-type]
    if not resolution.main.results:
        assert places(resolution) == ["=target"]
        return ""
    ((_, status),) = resolution.main.results
    return f"{status.status} {status.diagnostic.split()[2].rstrip(';')}"


SIZE = "5.2.3 RESOLVER.RST.RecipSizeLimit"
AUTH = "5.7.1 RESOLVER.RST.AuthRequired"
LIST = "5.7.1 RESOLVER.RST.NotAuthorized"


@pytest.mark.parametrize(
    ("target", "facts", "expected"),
    [
        (mailbox("target", max_receive_size=1000), {"size": 1000}, ""),
        (mailbox("target", max_receive_size=1000), {"size": 1001}, SIZE),
        (mailbox("target", max_receive_size=1000), {"size": 1001, "authenticated": True}, SIZE),
        (mailbox("target", max_receive_size=1000), {"size": 1001, "is_dsn": True}, ""),
        (mailbox("target", require_sender_authentication=True), {}, AUTH),
        (mailbox("target", require_sender_authentication=True), {"authenticated": True}, ""),
        (mailbox("target", require_sender_authentication=True), {"principal": "system"}, ""),
        (mailbox("target", require_sender_authentication=True, max_receive_size=1), {}, SIZE),
        (mailbox("target", require_sender_authentication=True, reject_messages_from=("boss",)), {}, AUTH),
        (mailbox("target", require_sender_authentication=True), {"stage": Stage.CATEGORIZED}, ""),
    ],
)
def test_size_and_authentication(target: Recipient, facts: dict[str, object], expected: str) -> None:
    assert refused(target, **facts) == expected


@pytest.mark.parametrize("sender", ["boss@contoso.com", "Chief@contoso.com"])
@pytest.mark.parametrize("entry", ["boss", "BOSS", "boss@contoso.com", "chief@contoso.com", "managers", "leaders"])
def test_a_sender_is_listed_by_any_of_its_names_or_in_a_group(sender: str, entry: str) -> None:
    assert refused(mailbox("target", accept_messages_only_from=(entry,)), sender=sender) == ""
    assert refused(mailbox("target", reject_messages_from=(entry,)), sender=sender) == LIST


@pytest.mark.parametrize("entry", ["circle", "mother@elsewhere.example", "leaders"])
def test_a_sender_from_elsewhere_can_be_listed(entry: str) -> None:
    sender = "Mother@elsewhere.example"
    assert refused(mailbox("target", accept_messages_only_from=(entry,)), sender=sender) == ""


@pytest.mark.parametrize("sender", ["stranger@elsewhere.example", ""])
def test_who_is_not_listed(sender: str) -> None:
    assert refused(mailbox("target", accept_messages_only_from=("leaders", "boss")), sender=sender) == LIST
    assert refused(mailbox("target", reject_messages_from=("leaders", "nobody")), sender=sender) == ""


def test_the_reject_list_wins_over_the_accept_list() -> None:
    target = mailbox("target", accept_messages_only_from=("leaders",), reject_messages_from=("boss",))
    assert refused(target, sender="boss@contoso.com") == LIST


def test_reports_pass_every_list() -> None:
    assert refused(mailbox("target", accept_messages_only_from=("boss",)), sender="", is_dsn=True) == ""


def test_a_group_is_restricted_like_a_mailbox_and_its_members_by_themselves() -> None:
    people = [*PEOPLE, mailbox("shy", accept_messages_only_from=("boss",)), mailbox("open")]
    closed = group("team", "shy", "open", require_sender_authentication=True)
    assert failures(resolved([*people, closed], message("team@contoso.com"))) == [("team@contoso.com", "5.7.1")]
    resolution = resolved([*people, group("team", "shy", "open")], message("team@contoso.com"))
    assert places(resolution) == ["=open"]
    assert failures(resolution) == [("shy@contoso.com", "5.7.1")]
