# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from bridgehead.admin.access.recipients import (
    Source,
    add_recipient,
    export_recipients,
    import_recipients,
    list_recipients,
    open_directory,
    remove_recipient,
    show_recipient,
)
from bridgehead.admin.faults import AdminFault
from bridgehead.mail.address import parse_mailbox


@pytest.fixture
def source(tmp_path: Path) -> Source:
    source = Source(tmp_path / "data" / "recipients.db")
    add_recipient(
        source,
        {
            "name": "anna",
            "type": "Mailbox",
            "primary_smtp_address": "anna@contoso.com",
            "email_addresses": ["anna@contoso.com", "a.weber@contoso.com"],
            "max_receive_size": "10 MB",
        },
    )
    add_recipient(
        source,
        {
            "name": "bob",
            "type": "MailUser",
            "primary_smtp_address": "bob@contoso.com",
            "external_email_address": "bob@fabrikam.com",
        },
    )
    add_recipient(
        source,
        {
            "name": "sales, all",
            "type": "DistributionGroup",
            "primary_smtp_address": "sales@contoso.com",
            "members": ["anna", "bob", "x@example.net"],
            "require_sender_authentication": True,
        },
    )
    return source


def names(source: Source, *args: str) -> list[str]:
    return [one.name for one in list_recipients(source, *args).recipients]


def test_recipients_are_listed_by_pattern_and_type(source: Source) -> None:
    assert names(source) == ["anna", "bob", "sales, all"]
    assert names(source, "*weber*") == ["anna"]
    assert names(source, "", "distributiongroup") == ["sales, all"]
    assert list_recipients(source, limit=2).truncated


def test_one_is_shown_by_name_or_any_address(source: Source) -> None:
    assert show_recipient(source, "A.Weber@contoso.com").max_receive_size == 10 * 1024**2
    assert show_recipient(source, "bob").external_email_address == "bob@fabrikam.com"


def test_an_unknown_name_brings_the_nearest(source: Source) -> None:
    with pytest.raises(AdminFault) as caught:
        show_recipient(source, "ana@contoso.com")
    assert "anna@contoso.com" in caught.value.remedy


def test_conflicts_dangling_members_and_bad_values_are_refused(source: Source) -> None:
    anna_again = {"name": "x", "type": "Mailbox", "primary_smtp_address": "a.weber@contoso.com"}
    with pytest.raises(AdminFault, match="belongs to"):
        add_recipient(source, anna_again)
    group = {"name": "g", "type": "DistributionGroup", "primary_smtp_address": "g@contoso.com", "members": ["ana"]}
    with pytest.raises(AdminFault, match='"ana"'):
        add_recipient(source, group)
    with pytest.raises(AdminFault, match="primary_smtp_address"):
        add_recipient(source, {"name": "x", "type": "Mailbox", "primary_smtp_address": "no address"})
    assert len(names(source)) == 3


def test_remove_takes_an_address_too(source: Source) -> None:
    assert remove_recipient(source, "bob@contoso.com").name == "bob"
    with pytest.raises(AdminFault):
        remove_recipient(source, "bob")


def test_an_export_imported_elsewhere_is_the_same_directory(source: Source, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        assert export_recipients(source, file).exported == 3
    copy = Source(tmp_path / "copy.db")
    result = import_recipients(copy, table)
    assert (result.imported, result.bad_rows) == (3, [])
    assert list_recipients(copy) == list_recipients(source)


def test_bad_rows_stop_an_import_unless_they_are_skipped(source: Source, tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("Name,RecipientType,PrimarySmtpAddress\nc,UserMailbox,c@contoso.com\nd,UserMailbox,nonsense\n")
    result = import_recipients(source, table)
    assert (result.imported, [row.line for row in result.bad_rows]) == (0, [3])
    assert "c" not in names(source)
    assert import_recipients(source, table, skip_bad_rows=True).imported == 1
    assert "c" in names(source)


def test_a_toml_directory_is_read_but_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "recipients.toml"
    path.write_text('[[recipients]]\nname = "anna"\ntype = "Mailbox"\nprimary_smtp_address = "anna@contoso.com"\n')
    source = Source(path)
    assert names(source) == ["anna"]
    before = path.read_bytes()
    with pytest.raises(AdminFault, match="commands do not change it"):
        remove_recipient(source, "anna")
    assert path.read_bytes() == before


def test_a_look_up_does_not_create_a_database(tmp_path: Path) -> None:
    directory = open_directory(Source(tmp_path / "none.db"))
    assert directory.find(parse_mailbox("a@b.example")) is None
    assert not (tmp_path / "none.db").exists()
