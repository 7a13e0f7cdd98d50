# SPDX-License-Identifier: MIT
"""Groups, forwarding and loops: everybody reachable gets one copy, and nothing ends without a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import Notify
from bridgehead.mail.limits import ALIAS_STEPS, EXPANDED_RECIPIENTS, GROUP_DEPTH
from support.categorizing import (
    SENDER,
    contact,
    events,
    failures,
    group,
    mailbox,
    message,
    places,
    recipient,
    resolved,
    to,
)

ANNA, BOB = mailbox("anna"), mailbox("bob")


def forwarder(name: str, target: str, *, keeps: bool = False) -> Recipient:
    return mailbox(name, forwarding_address=target, deliver_to_mailbox_and_forward=keeps)


# --- forwarding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([forwarder("f", "anna@contoso.com"), ANNA], ["=anna"]),
        ([forwarder("f", "anna@contoso.com", keeps=True), ANNA], ["=anna", "=f"]),
        ([forwarder("f", "x@elsewhere.example")], ["x@elsewhere.example"]),
        ([forwarder("f", "x@elsewhere.example", keeps=True)], ["=f", "x@elsewhere.example"]),
        ([forwarder("f", "g@contoso.com"), group("g", "anna", "bob"), ANNA, BOB], ["=anna", "=bob"]),
        ([forwarder("f", "c@contoso.com"), contact("c", "x@elsewhere.example")], ["x@elsewhere.example"]),
        # loops in which somebody gets the message do no harm
        ([forwarder("f", "b@contoso.com", keeps=True), forwarder("b", "f@contoso.com", keeps=True)], ["=b", "=f"]),
        ([forwarder("f", "b@contoso.com"), forwarder("b", "f@contoso.com", keeps=True)], ["=b"]),
        ([forwarder("f", "b@contoso.com", keeps=True), forwarder("b", "f@contoso.com")], ["=f"]),
        ([forwarder("f", "f@contoso.com", keeps=True)], ["=f"]),
    ],
)
def test_forwarding(people: list[Recipient], expected: list[str]) -> None:
    resolution = resolved(people, message("f@contoso.com"))
    assert (places(resolution), failures(resolution)) == (expected, [])


@pytest.mark.parametrize(
    "people",
    [
        [forwarder("f", "b@contoso.com"), forwarder("b", "f@contoso.com")],
        [forwarder("f", "f@contoso.com")],
        [forwarder("f", "b@contoso.com"), forwarder("b", "c@contoso.com"), forwarder("c", "b@contoso.com")],
        [forwarder("f", "g@contoso.com"), group("g", "f")],
        [forwarder("f", "b@contoso.com"), contact("b", "f@contoso.com")],
    ],
)
def test_a_loop_in_which_nobody_gets_the_message_is_reported(people: list[Recipient]) -> None:
    resolution = resolved(people, message("f@contoso.com"))
    assert places(resolution) == []
    assert [status for _, status in failures(resolution)] == ["5.4.6"]


def test_each_client_recipient_in_a_broken_loop_is_reported() -> None:
    people = [forwarder("f", "b@contoso.com"), forwarder("b", "f@contoso.com")]
    resolution = resolved(people, message("f@contoso.com", "b@contoso.com"))
    assert [status for _, status in failures(resolution)] == ["5.4.6", "5.4.6"]


def test_each_client_recipient_that_is_refused_is_reported() -> None:
    shy = mailbox("shy", aliases=("alias@contoso.com",), require_sender_authentication=True)
    resolution = resolved([shy], message("shy@contoso.com", "alias@contoso.com"))
    assert failures(resolution) == [("alias@contoso.com", "5.7.1"), ("shy@contoso.com", "5.7.1")]


def test_a_forwarded_recipient_is_tracked_and_keeps_its_original() -> None:
    resolution = resolved([forwarder("f", "x@elsewhere.example")], message(to("f@contoso.com", Notify.SUCCESS)))
    assert events(resolution) == [("REDIRECT", "x@elsewhere.example", "f@contoso.com")]
    (pending,) = resolution.main.pending
    assert (pending.original_recipient, pending.notify) == ("rfc822;f@contoso.com", Notify.SUCCESS)


@pytest.mark.parametrize(
    ("asked", "copied"),
    [
        (Notify.UNSPECIFIED, Notify.UNSPECIFIED),
        (Notify.SUCCESS, Notify.NEVER),
        (Notify.SUCCESS | Notify.FAILURE, Notify.FAILURE),
        (Notify.NEVER, Notify.NEVER),
    ],
)
def test_success_is_reported_once_where_a_copy_stays(asked: Notify, copied: Notify) -> None:
    people = [forwarder("f", "x@elsewhere.example", keeps=True)]
    kept, sent_on = resolved(people, message(to("f@contoso.com", asked))).main.pending
    assert (kept.mailbox, kept.notify, sent_on.notify) == ("f", asked, copied)


def chain(length: int) -> list[Recipient]:
    links = [forwarder(f"f{number}", f"f{number + 1}@contoso.com") for number in range(length)]
    return [*links, mailbox(f"f{length}")]


def test_the_steps_of_a_chain_are_bounded() -> None:
    assert places(resolved(chain(ALIAS_STEPS), message("f0@contoso.com"))) == [f"=f{ALIAS_STEPS}"]
    resolution = resolved(chain(ALIAS_STEPS + 1), message("f0@contoso.com"))
    assert [status for _, status in failures(resolution)] == ["5.4.6"]


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([group("g", "anna", "bob@contoso.com"), ANNA, BOB], ["=anna", "=bob"]),
        ([group("g", "anna", "x@elsewhere.example"), ANNA], ["=anna", "x@elsewhere.example"]),
        ([group("g", "h", "anna"), group("h", "bob", "anna"), ANNA, BOB], ["=anna", "=bob"]),
        ([group("g", "h", "anna"), group("h", "g", "bob"), ANNA, BOB], ["=anna", "=bob"]),
        ([group("g", "g", "anna"), ANNA], ["=anna"]),
        ([group("g")], []),
        ([group("g", "f"), forwarder("f", "g@contoso.com", keeps=True)], ["=f"]),
        ([group("g", "c", "x@elsewhere.example"), contact("c", "x@elsewhere.example")], ["x@elsewhere.example"]),
    ],
)
def test_members_get_one_copy_each(people: list[Recipient], expected: list[str]) -> None:
    resolution = resolved(people, message("g@contoso.com"))
    assert (places(resolution), failures(resolution)) == (expected, [])


def test_what_expansion_tracks() -> None:
    people = [group("g", "anna", "h", "ghost"), group("h", "anna", "bob"), ANNA, BOB]
    assert events(resolved(people, message("g@contoso.com"))) == [
        ("DROP", "ghost", "g@contoso.com"),
        ("EXPAND", "anna@contoso.com;h@contoso.com", "g@contoso.com"),
        ("EXPAND", "anna@contoso.com;bob@contoso.com", "h@contoso.com"),
        ("DUPLICATEEXPAND", "anna@contoso.com", ""),
    ]


def test_who_is_named_and_a_member_too_keeps_what_the_client_asked_for() -> None:
    people = [group("g", "anna"), ANNA]
    item = message("g@contoso.com", to("anna@contoso.com", Notify.SUCCESS))
    (pending,) = resolved(people, item).main.pending
    assert (pending.notify, pending.original_recipient) == (Notify.SUCCESS, "")


def test_an_unknown_member_of_an_authoritative_domain_is_reported() -> None:
    resolution = resolved([group("g", "gone@contoso.com", "anna"), ANNA], message("g@contoso.com"))
    assert (places(resolution), failures(resolution)) == (["=anna"], [("gone@contoso.com", "5.1.10")])


@pytest.mark.parametrize(
    ("settings", "asked", "reverse_path", "notify", "original"),
    [
        ({}, Notify.UNSPECIFIED, SENDER, Notify.UNSPECIFIED, "rfc822;g@contoso.com"),
        ({}, Notify.SUCCESS | Notify.DELAY, SENDER, Notify.DELAY, "rfc822;g@contoso.com"),
        ({}, Notify.SUCCESS, SENDER, Notify.NEVER, "rfc822;g@contoso.com"),
        ({"report_to_originator": False}, Notify.FAILURE, SENDER, Notify.NEVER, ""),
        ({"report_to_manager": True, "managed_by": "bob"}, Notify.NEVER, "bob@contoso.com", Notify.FAILURE, ""),
        (
            {"report_to_manager": True, "managed_by": "m@elsewhere.example", "report_to_originator": False},
            Notify.SUCCESS,
            "m@elsewhere.example",
            Notify.FAILURE,
            "",
        ),
        # a manager who is not there: the originator hears of it
        (
            {"report_to_manager": True, "managed_by": "ghost"},
            Notify.FAILURE,
            SENDER,
            Notify.FAILURE,
            "rfc822;g@contoso.com",
        ),
    ],
)
def test_who_hears_of_members(
    settings: dict[str, object], asked: Notify, reverse_path: str, notify: Notify, original: str
) -> None:
    people = [group("g", "anna", **settings), ANNA, BOB]
    resolution = resolved(people, message(to("g@contoso.com", asked)))
    ((found, pending),) = [(copy.reverse_path, each) for copy in resolution.copies() for each in copy.pending]
    assert (str(found), pending.notify, pending.original_recipient) == (reverse_path, notify, original)


def test_failures_behind_a_managers_group_are_the_managers() -> None:
    people = [group("g", "gone@contoso.com", report_to_manager=True, managed_by="bob"), BOB]
    main, other = resolved(people, message("g@contoso.com")).copies()
    assert main.results == []
    assert (str(other.reverse_path), other.results[0][1].status) == ("bob@contoso.com", "5.1.10")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(Notify.SUCCESS, [Action.EXPANDED]), (Notify.FAILURE, []), (Notify.UNSPECIFIED, [])],
)
def test_expansion_is_reported_to_who_asked_for_success(asked: Notify, expected: list[Action]) -> None:
    people = [group("g", "anna", "h"), group("h", "bob"), ANNA, BOB]
    resolution = resolved(people, message(to("g@contoso.com", asked)))
    assert [status.action for _, status in resolution.main.results] == expected


@pytest.mark.parametrize("facts", [{"sender": ""}, {"is_dsn": True}])
def test_reports_to_a_group_are_dropped(facts: dict[str, object]) -> None:
    resolution = resolved([group("g", "anna"), ANNA], message("g@contoso.com", **facts))  # type: ignore[arg-type]
    assert (places(resolution), failures(resolution)) == ([], [])
    assert events(resolution) == [("DROP", "g@contoso.com", "g@contoso.com")]


def test_reports_to_a_managers_group_go_to_the_manager() -> None:
    people = [group("g", "anna", report_to_manager=True, managed_by="bob"), ANNA, BOB]
    resolution = resolved(people, message("g@contoso.com", sender=""))
    assert places(resolution) == ["=bob"]
    assert events(resolution) == [("REDIRECT", "bob@contoso.com", "g@contoso.com")]


def test_the_depth_of_groups_is_bounded() -> None:
    def nested(depth: int) -> list[Recipient]:
        return [*(group(f"g{number}", f"g{number + 1}") for number in range(depth)), mailbox(f"g{depth}")]

    assert places(resolved(nested(GROUP_DEPTH), message("g0@contoso.com"))) == [f"=g{GROUP_DEPTH}"]
    resolution = resolved(nested(GROUP_DEPTH + 1), message("g0@contoso.com"))
    assert [status for _, status in failures(resolution)] == ["5.4.6"]


def test_the_size_of_a_group_is_bounded() -> None:
    members = tuple(f"u{number}@elsewhere.example" for number in range(EXPANDED_RECIPIENTS + 1))
    resolution = resolved([group("g", *members)], message("g@contoso.com"))
    assert (places(resolution), failures(resolution)) == ([], [("g@contoso.com", "5.5.3")])


# --- any directory at all ----------------------------------------------------------------------------------------

NAMES = [f"o{number}" for number in range(8)]


@st.composite
def directories(draw: st.DrawFn) -> list[Recipient]:
    people = []
    for name in NAMES:
        target = draw(st.sampled_from(NAMES)) + "@contoso.com"
        match draw(st.sampled_from(["mailbox", "group", "group", "forwarder", "keeper", "contact", "outside"])):
            case "mailbox":
                people.append(mailbox(name))
            case "group":
                people.append(
                    group(name, *draw(st.lists(st.sampled_from([*NAMES, "x@elsewhere.example"]), max_size=4)))
                )
            case "forwarder":
                people.append(forwarder(name, target))
            case "keeper":
                people.append(forwarder(name, target, keeps=True))
            case "contact":
                people.append(contact(name, target))
            case _:
                people.append(recipient(name, RecipientType.MAIL_USER, external_email_address=f"{name}@away.example"))
    return people


def reachable(people: list[Recipient], start: list[str]) -> set[str]:
    """Where copies must go, by walking the graph without regard to anything else."""
    by_name = {each.name: each for each in people}
    found: set[str] = set()
    seen: set[str] = set()
    ahead = list(start)
    while ahead:
        name = ahead.pop()
        if name not in by_name:
            found.add(name)
            continue
        if name in seen:
            continue
        seen.add(name)
        each = by_name[name]
        ahead += each.members
        if each.forwarding_address is not None:
            ahead.append(each.forwarding_address.local_part)
        keeps = each.forwarding_address is None or each.deliver_to_mailbox_and_forward
        if each.type is RecipientType.MAILBOX and keeps:
            found.add(f"={name}")
        elif (target := each.external_email_address) is not None:
            if target.domain != "contoso.com" or target.local_part == name:
                found.add(str(target))
            else:
                ahead.append(target.local_part)
    return found


@given(directories(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
def test_whatever_the_directory_each_reachable_place_gets_one_copy(people: list[Recipient], start: list[str]) -> None:
    resolution = resolved(people, message(*(f"{name}@contoso.com" for name in start)))
    assert places(resolution) == sorted(reachable(people, start))


@given(directories(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
def test_whatever_the_directory_no_client_recipient_vanishes(people: list[Recipient], start: list[str]) -> None:
    """Who reaches nobody is reported, unless all that is behind it are groups without members."""
    by_name = {each.name: each for each in people}
    resolution = resolved(people, message(*(f"{name}@contoso.com" for name in start)))
    failed = failures(resolution)
    for name in start:
        single = by_name[name].type is not RecipientType.GROUP and not reachable(people, [name])
        leads_to_group = any(each.type is RecipientType.GROUP for each in people)
        if single and not leads_to_group:
            assert failed, f"{name} got nothing and nobody was told"
            assert all(status == "5.4.6" for _, status in failed)
