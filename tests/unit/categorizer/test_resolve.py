# SPDX-License-Identifier: MIT
"""Recipient resolution: where each kind of recipient goes, what is rewritten, and the limits of the whole message."""

import pytest

from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.envelope import EnvelopeRecipient, Notify, RecipientState
from bridgehead.mail.item import MailItem, Stage
from support.categorizing import a, contact, events, failures, group, mailbox, message, places, recipient, resolved, to

PEOPLE = [
    mailbox("anna", aliases=("anna@contoso.com", "office@contoso.com", "anna@second.example")),
    mailbox("store", mailbox="another-folder"),
    contact("supplier", "orders@supplier.example"),
    contact("chain", "supplier@contoso.com"),
    contact("inward", "office@contoso.com"),
    contact("itself", "itself@contoso.com"),
    contact("relayed", "relayed@partner.example"),
    contact("lost", "nobody@contoso.com"),
    recipient("user", RecipientType.MAIL_USER, external_email_address="user@cloud.example"),
    recipient("broken", RecipientType.MAIL_USER),
    contact("c1", "c2@contoso.com"),
    contact("c2", "c1@contoso.com"),
]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("anna@contoso.com", "=anna"),
        ("ANNA@Contoso.com", "=anna"),
        ("office@contoso.com", "=anna"),
        ("anna+list@contoso.com", "=anna"),
        ("store@contoso.com", "=another-folder"),
        ("someone@elsewhere.example", "someone@elsewhere.example"),
        ("someone@[192.0.2.1]", "someone@[192.0.2.1]"),
        ("nobody@partner.example", "nobody@partner.example"),
        ("nobody@away.example", "nobody@away.example"),
        ("supplier@contoso.com", "orders@supplier.example"),
        ("chain@contoso.com", "orders@supplier.example"),
        ("inward@contoso.com", "=anna"),
        ("itself@contoso.com", "itself@contoso.com"),
        ("relayed@contoso.com", "relayed@partner.example"),
        ("user@contoso.com", "user@cloud.example"),
    ],
)
def test_where_a_recipient_goes(address: str, place: str) -> None:
    for others in ([], ["other@elsewhere.example"]):  # alone and among others: both ways through the code
        resolution = resolved(PEOPLE, message(address, *others))
        assert places(resolution) == sorted([place, *others])
        assert failures(resolution) == []


@pytest.mark.parametrize(
    ("address", "failed", "status"),
    [
        ("nobody@contoso.com", "nobody@contoso.com", "5.1.10"),
        ("nobody@second.example", "nobody@second.example", "5.1.10"),
        ("lost@contoso.com", "nobody@contoso.com", "5.1.10"),
        ("broken@contoso.com", "broken@contoso.com", "5.1.3"),
        ("c1@contoso.com", "c1@contoso.com", "5.4.6"),
    ],
)
def test_who_cannot_be_reached(address: str, failed: str, status: str) -> None:
    resolution = resolved(PEOPLE, message(address))
    assert failures(resolution) == [(failed, status)]
    assert places(resolution) == []


def test_an_unknown_recipient_is_told_in_exchanges_words() -> None:
    ((_, status),) = resolved([], message("nobody@contoso.com")).main.results
    assert status.diagnostic == (
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"
    )


@pytest.mark.parametrize(
    ("given", "address", "original", "tracked"),
    [
        (to("office@contoso.com"), "anna@contoso.com", "rfc822;office@contoso.com", True),
        (to("office@contoso.com", original="rfc822;x@y.example"), "anna@contoso.com", "rfc822;x@y.example", True),
        (to("ANNA@contoso.com"), "anna@contoso.com", "", True),
        (to("anna@contoso.com"), "anna@contoso.com", "", False),
        (to("supplier@contoso.com"), "orders@supplier.example", "rfc822;supplier@contoso.com", True),
    ],
)
def test_a_rewritten_recipient_keeps_its_original(
    given: EnvelopeRecipient, address: str, original: str, tracked: bool
) -> None:
    before = str(given.forward_path)
    resolution = resolved(PEOPLE, message(given))
    (pending,) = resolution.main.pending
    assert (str(pending.forward_path), pending.original_recipient) == (address, original)
    assert events(resolution) == ([("RESOLVE", address, before)] if tracked else [])


def test_an_internationalised_original_says_so() -> None:
    people = [mailbox("anna", aliases=("büro@contoso.com",))]
    (pending,) = resolved(people, message("büro@contoso.com")).main.pending
    assert pending.original_recipient == "utf-8;büro@contoso.com"


@pytest.mark.parametrize(
    ("people", "address", "place"),
    [
        ([mailbox("postmaster")], "postmaster", "=postmaster"),
        ([mailbox("postmaster", mailbox="admin")], "Postmaster@second.example", "=admin"),
        ([mailbox("pm", aliases=("postmaster@second.example",))], "postmaster@second.example", "=pm"),
        ([contact("postmaster", "admin@elsewhere.example")], "postmaster@second.example", "admin@elsewhere.example"),
        ([], "postmaster", "=postmaster"),
        ([], "POSTMASTER@contoso.com", "=postmaster"),
        ([], "postmaster@partner.example", "postmaster@partner.example"),
        ([], "postmaster@elsewhere.example", "postmaster@elsewhere.example"),
    ],
)
def test_postmaster_is_always_deliverable(people: list[Recipient], address: str, place: str) -> None:
    resolution = resolved(people, message(address))
    assert (places(resolution), failures(resolution)) == ([place], [])


def test_postmaster_without_any_domain_of_ours() -> None:
    assert places(resolved([], message("postmaster"), domains=[])) == ["=postmaster"]


@pytest.mark.parametrize(("limit", "expected"), [(3, []), (2, ["5.5.3"] * 3)])
def test_the_recipient_limit_counts_before_expansion(limit: int, expected: list[str]) -> None:
    item = message("a@x.example", "b@x.example", "c@x.example")
    resolution = resolved([], item, max_recipient_envelope_limit=limit)
    assert [status for _, status in failures(resolution)] == expected
    assert len(places(resolution)) == (0 if expected else 3)


def test_the_recipient_limit_is_not_asked_again_after_expansion() -> None:
    item = message("a@x.example", "b@x.example", "c@x.example", stage=Stage.CATEGORIZED)
    assert failures(resolved([], item, max_recipient_envelope_limit=2)) == []


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (message("anna@contoso.com", size=101), [("anna@contoso.com", "5.2.3")]),
        (message("x@y.example", size=101), [("x@y.example", "5.2.3")]),
        (message("x@y.example", size=100), []),
        (message("x@y.example", size=200, authenticated=True), []),
        (message("x@y.example", size=201, authenticated=True), [("x@y.example", "5.2.3")]),
        (message("supplier@contoso.com", size=201, authenticated=True), [("orders@supplier.example", "5.2.3")]),
        (message("itself@contoso.com", size=201, authenticated=True), [("itself@contoso.com", "5.2.3")]),
        # between our own users the recipient's limit counts alone
        (message("anna@contoso.com", size=201, authenticated=True), []),
        (message("x@y.example", size=999, is_dsn=True), []),
        (message("x@y.example", size=999, principal="system"), []),
        (message("x@y.example", size=999, stage=Stage.CATEGORIZED), []),
    ],
)
def test_the_organisations_size_limits(item: MailItem, expected: list[tuple[str, str]]) -> None:
    assert failures(resolved(PEOPLE, item, max_receive_size=100, max_send_size=200)) == expected


@pytest.mark.parametrize(("authenticated", "tag"), [(True, "SendSizeLimit.Org"), (False, "RecvSizeLimit.Org")])
def test_the_words_of_the_organisations_limits(authenticated: bool, tag: str) -> None:
    item = message("x@y.example", size=300, authenticated=authenticated)
    ((_, status),) = resolved([], item, max_receive_size=100, max_send_size=200).main.results
    assert tag in status.diagnostic


def test_settled_recipients_are_left_alone() -> None:
    done = EnvelopeRecipient(a("x@y.example"), state=RecipientState.DELIVERED)
    assert places(resolved([], message(done, "z@y.example"))) == ["z@y.example"]
    assert places(resolved([], message(done))) == []


def test_a_recipient_that_moved_away_has_no_mailbox_any_more() -> None:
    stale = EnvelopeRecipient(a("x@y.example"), mailbox="x")
    (pending,) = resolved([], message(stale, stage=Stage.CATEGORIZED)).main.pending
    assert pending.mailbox == ""


def test_a_recipient_named_twice_gets_one_copy() -> None:
    item = message(to("office@contoso.com", Notify.SUCCESS), "anna@contoso.com", "x@y.example", "x@Y.example")
    resolution = resolved(PEOPLE, item)
    assert places(resolution) == ["=anna", "x@y.example"]
    assert [event for event, _, _ in events(resolution)] == ["RESOLVE", "DUPLICATEEXPAND", "DUPLICATEEXPAND"]


@pytest.mark.parametrize(
    "named",
    [
        ["ANNA@contoso.com"],
        ["Anna@Contoso.com", "anna@contoso.com", "OFFICE@contoso.com", "ANNA@contoso.com"],
        ["x@y.example", "x@Y.example", "x@y.example"],
        ["Postmaster@contoso.com", "postmaster", "postmaster@contoso.com"],
        ["Staff@contoso.com", "ANNA@contoso.com"],
        ["all@contoso.com", "staff@contoso.com", "ALL@contoso.com"],
        ["Nobody@contoso.com"],
    ],
)
def test_each_address_is_seen_to_end_however_it_is_spelt(named: list[str]) -> None:
    people = [*PEOPLE, group("staff", "anna", "Anna@contoso.com", aliases=("staff@contoso.com", "all@contoso.com"))]
    resolution = resolved(people, message(*named))
    last = dict.fromkeys(named, "")
    for event, recipients, related in events(resolution):
        if related in last:
            last[related] = event
        last = dict.fromkeys(recipients.split(";"), "") | last
    for copy in resolution.copies():
        last |= {str(one.forward_path): "DELIVER" for one in copy.pending}
        last |= {str(one.forward_path): "FAIL" for one, _ in copy.results}
    assert "" not in last.values(), last


def test_local_parts_elsewhere_differ_by_case() -> None:
    assert len(places(resolved([], message("x@y.example", "X@y.example")))) == 2
