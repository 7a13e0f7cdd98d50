# SPDX-License-Identifier: MIT
"""Taking over recipients from Exchange's exports."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.directory.csv_import import ImportResult, import_csv
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.sqlite import SqliteDirectory
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.units import UNLIMITED


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[SqliteDirectory]:
    opened = SqliteDirectory(tmp_path / "recipients.db")
    yield opened
    opened.close()


def load(directory: SqliteDirectory, folder: Path, text: str, **options: bool) -> ImportResult:
    path = folder / "export.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return import_csv(path, directory, **options)


HEADER = "Name,RecipientTypeDetails,PrimarySmtpAddress\n"


def test_an_export_with_everything(directory: SqliteDirectory, tmp_path: Path) -> None:
    result = load(
        directory,
        tmp_path,
        "\ufeff#TYPE Selected.Microsoft.Exchange.Data.Directory.Management.Mailbox\r\n"
        '"Name","RecipientType","PrimarySmtpAddress","EmailAddresses","ExternalEmailAddress","ForwardingSmtpAddress",'
        '"ForwardingAddress","DeliverToMailboxAndForward","Members","MaxReceiveSize",'
        '"RequireSenderAuthenticationEnabled","AcceptMessagesOnlyFrom","RejectMessagesFrom","ManagedBy",'
        '"ReportToOriginatorEnabled","ReportToManagerEnabled","OrganizationalUnit"\r\n'
        '"Weber, Anna","UserMailbox","anna@contoso.com","SMTP:anna@contoso.com;smtp:aw@contoso.com;X500:/o=x/cn=a",'
        '"","smtp:anna@private.example","","True","","36 MB (37,748,736 bytes)","False","","","","","","contoso.com/Users"\r\n'
        '"Bob","UserMailbox","bob@contoso.com","","","","contoso.com/Users/Weber, Anna","False","","Unlimited","","","","",'
        '"","",""\r\n'
        '"Supplier","MailContact","supplier@contoso.com","","SMTP:orders@supplier.example","","","","","","","","","","","",""\r\n'
        '"Team","MailUniversalDistributionGroup","team@contoso.com","","","","","","contoso.com/Users/Bob;Supplier",'
        '"10MB","True","Bob","{Supplier, Bob}","contoso.com/Users/Bob","False","True",""\r\n',
    )
    assert result == ImportResult(4, [])
    a = parse_mailbox
    assert {each.name: each for each in directory} == {
        "Weber, Anna": Recipient(
            name="Weber, Anna",
            type=RecipientType.MAILBOX,
            primary_smtp_address=a("anna@contoso.com"),
            email_addresses=(a("anna@contoso.com"), a("aw@contoso.com")),
            forwarding_address=a("anna@private.example"),
            deliver_to_mailbox_and_forward=True,
            max_receive_size=37_748_736,
        ),
        "Bob": Recipient(
            name="Bob",
            type=RecipientType.MAILBOX,
            primary_smtp_address=a("bob@contoso.com"),
            forwarding_address=a("anna@contoso.com"),
            max_receive_size=UNLIMITED,
        ),
        "Supplier": Recipient(
            name="Supplier",
            type=RecipientType.MAIL_CONTACT,
            primary_smtp_address=a("supplier@contoso.com"),
            external_email_address=a("orders@supplier.example"),
        ),
        "Team": Recipient(
            name="Team",
            type=RecipientType.GROUP,
            primary_smtp_address=a("team@contoso.com"),
            members=("Bob", "Supplier"),
            max_receive_size=10 * 1024**2,
            require_sender_authentication=True,
            accept_messages_only_from=("Bob",),
            reject_messages_from=("Supplier", "Bob"),
            managed_by="Bob",
            report_to_originator=False,
            report_to_manager=True,
        ),
    }


def test_a_row_with_too_few_cells_hides_no_other_and_stops_no_other(directory: SqliteDirectory, tmp_path: Path) -> None:
    text = HEADER + "Anna,UserMailbox,anna@a.example\nBob,UserMailbox\nEve,Foo,eve@a.example\n"
    result = load(directory, tmp_path, text)
    assert (result.imported, [row.line for row in result.bad_rows]) == (0, [3, 4])
    result = load(directory, tmp_path, text, skip_bad_rows=True)
    assert (result.imported, [row.line for row in result.bad_rows]) == (1, [3, 4])
    assert [recipient.name for recipient in directory] == ["Anna"]


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        (HEADER + "Anna,UserMailbox,anna\n", 2, "primary_smtp_address", "no @"),
        (HEADER + "Anna,DynamicDistributionGroup,anna@a.example\n", 2, "type", "was expected"),
        (HEADER + "Anna,UserMailbox\n", 2, "row", "3 cells were expected, not 2"),
        (HEADER + "Anna,MailContact,anna@a.example\n", 2, "external_email_address", "needs an external"),
        (HEADER + "\nAnna,UserMailbox,a@a.example\n\nAnna,UserMailbox,b@a.example\n", 5, "name", "already"),
        (HEADER + "Anna,UserMailbox,a@a.example\nBob,UserMailbox,A@A.example\n", 3, "email_addresses", 'belongs to "Anna"'),
        (HEADER + '"Anna\nB",UserMailbox,a@a.example\n', 2, "name", "control characters"),
        (HEADER + '"Anna,UserMailbox,a@a.example\n', 2, "row", "quoting"),
        ("Name,RecipientType\nAnna,UserMailbox\n", 1, "PrimarySmtpAddress", "missing"),
        ("Name,RecipientType,PrimarySmtpAdress\n", 1, "PrimarySmtpAddress", 'did you mean "PrimarySmtpAddress"?'),
        ("", 1, "RecipientType", "missing"),
        (
            "RecipientType,PrimarySmtpAddress,EmailAddresses\nUserMailbox,a@a.example,Microsoft.Exchange.Data.ProxyAddress\n",
            2, "email_addresses", "-join ';'",
        ),
        (
            "RecipientType,PrimarySmtpAddress,DeliverToMailboxAndForward\nUserMailbox,a@a.example,maybe\n",
            2, "deliver_to_mailbox_and_forward", "True or False",
        ),
        (
            "Name,RecipientType,PrimarySmtpAddress,ForwardingAddress\nAnna,UserMailbox,a@a.example,contoso.com/Ana\n",
            2, "forwarding_address", 'did you mean "anna"?',
        ),
        (
            "Name,RecipientType,PrimarySmtpAddress,Members\nTeam,DistributionGroup,t@a.example,Nobody\n",
            2, "members", '"Nobody", but no recipient has this name',
        ),
        ("RecipientType,PrimarySmtpAddress,MaxReceiveSize\nUserMailbox,a@a.example,big\n", 2, "max_receive_size", "36 MB"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_nothing_is_imported(
    directory: SqliteDirectory, tmp_path: Path, text: str, line: int, field: str, words: str
) -> None:
    result = load(directory, tmp_path, text)
    assert result.imported == 0
    assert (result.bad_rows[0].line, result.bad_rows[0].field) == (line, field)
    assert words in result.bad_rows[0].reason
    assert len(directory) == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_told_from_the_header(directory: SqliteDirectory, tmp_path: Path, delimiter: str) -> None:
    header = ["Name", "RecipientType", "PrimarySmtpAddress", "EmailAddresses"]
    row = ["Anna", "UserMailbox", "anna@a.example", '"SMTP:anna@a.example;smtp:b@a.example"']
    text = f"{delimiter.join(header)}\r\n{delimiter.join(row)}\r\n"
    assert load(directory, tmp_path, text) == ImportResult(1, [])
    assert directory.find(parse_mailbox("b@a.example")) is not None


def test_good_rows_can_be_imported_beside_bad_ones(directory: SqliteDirectory, tmp_path: Path) -> None:
    text = (
        "Name,RecipientType,PrimarySmtpAddress,Members\nAnna,UserMailbox,anna@a.example,\nBad,UserMailbox,bad,\n"
        "Team,DistributionGroup,team@a.example,Bad\nTeams,DistributionGroup,teams@a.example,Team;Anna\n"
    )
    result = load(directory, tmp_path, text, skip_bad_rows=True)
    assert [row.line for row in result.bad_rows] == [3, 4, 5], "who names somebody left out is left out"
    assert [each.name for each in directory] == ["Anna"]


def test_who_is_there_already_is_kept_or_replaced_as_asked(directory: SqliteDirectory, tmp_path: Path) -> None:
    text = HEADER + "Anna,UserMailbox,anna@a.example\n"
    assert load(directory, tmp_path, text).imported == 1
    again = text.replace("anna@", "anna.weber@")
    assert load(directory, tmp_path, again).bad_rows[0].field == "name"
    assert load(directory, tmp_path, again, replace=True) == ImportResult(1, [])
    assert directory.find(parse_mailbox("anna@a.example")) is None
    assert directory.find(parse_mailbox("anna.weber@a.example")) is not None


def test_two_rows_may_swap_their_addresses(directory: SqliteDirectory, tmp_path: Path) -> None:
    load(directory, tmp_path, HEADER + "Anna,UserMailbox,a@a.example\nBob,UserMailbox,b@a.example\n")
    swapped = HEADER + "Anna,UserMailbox,b@a.example\nBob,UserMailbox,a@a.example\n"
    assert load(directory, tmp_path, swapped, replace=True) == ImportResult(2, [])
    found = directory.find(parse_mailbox("a@a.example"))
    assert found is not None
    assert found.name == "Bob"


def test_an_export_in_another_encoding_is_refused(directory: SqliteDirectory, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(HEADER, encoding="utf-16")
    (row,) = import_csv(path, directory).bad_rows
    assert "-Encoding UTF8" in row.reason
