# SPDX-License-Identifier: MIT
"""The directory in a TOML file: what it reads, and what it says of mistakes."""

from pathlib import Path

import pytest

from bridgehead.directory.file import DirectoryFileError, FileDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.units import UNLIMITED


def read(folder: Path, text: str) -> FileDirectory:
    path = folder / "recipients.toml"
    path.write_text(text, encoding="utf-8")
    return FileDirectory(path)


def test_a_file_with_everything(tmp_path: Path) -> None:
    directory = read(
        tmp_path,
        """\ufeff
# people
[[recipients]]
name = "Anna"
type = "mailbox"
primary_smtp_address = "anna@contoso.com"
email_addresses = ["SMTP:anna@contoso.com", "smtp:office@contoso.com"]
max_receive_size = "36 MB"
forwarding_address = "anna@private.example"
deliver_to_mailbox_and_forward = true

[[recipients]]
name = "Team"
type = "DistributionGroup"
primary_smtp_address = "team@contoso.com"
members = ["Anna", "outside@elsewhere.example"]
managed_by = "Anna"
report_to_manager = true
""",
    )
    assert directory.find_by_name("anna") == Recipient(
        name="Anna",
        type=RecipientType.MAILBOX,
        primary_smtp_address=parse_mailbox("anna@contoso.com"),
        email_addresses=(parse_mailbox("anna@contoso.com"), parse_mailbox("office@contoso.com")),
        max_receive_size=36 * 1024**2,
        forwarding_address=parse_mailbox("anna@private.example"),
        deliver_to_mailbox_and_forward=True,
    )
    team = directory.find(parse_mailbox("team@contoso.com"))
    assert team is not None
    assert (team.members, team.max_receive_size) == (("Anna", "outside@elsewhere.example"), UNLIMITED)


ANNA = """[[recipients]]
name = "Anna"
type = "Mailbox"
primary_smtp_address = "anna@contoso.com"
"""


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        (ANNA + 'primary_smtp_addres = "x"', 5, "primary_smtp_addres", 'did you mean "primary_smtp_address"?'),
        (ANNA + 'email_addresses = ["anna"]', 5, "email_addresses", "no @"),
        (ANNA + 'email_addresses = "a@b.example"', 5, "email_addresses", "a list such as"),
        (ANNA + "max_receive_size = true", 5, "max_receive_size", '"36 MB"'),
        (ANNA + 'deliver_to_mailbox_and_forward = "yes"', 5, "deliver_to_mailbox_and_forward", "true or false"),
        (ANNA + 'members = ["Bob"]', 5, "members", "only a DistributionGroup has members"),
        (ANNA + 'external_email_address = "a@b.example"', 5, "external_email_address", "keeps its mail here"),
        (ANNA + 'accept_messages_only_from = ["Ann"]', 5, "accept_messages_only_from", 'did you mean "anna"?'),
        (ANNA + 'display_name = "a\\nb"', 5, "display_name", "control characters"),
        (ANNA.replace("Mailbox", "Mailboks"), 3, "type", 'did you mean "Mailbox"?'),
        (ANNA.replace("Mailbox", "MailContact"), 1, "external_email_address", "needs an external_email_address"),
        (ANNA.replace('name = "Anna"\n', ""), 1, "name", 'missing; a name such as "Anna Meier" was expected'),
        (ANNA + "\n" + ANNA, 7, "name", "already"),
        (ANNA + "\n" + ANNA.replace('"Anna"', '"Bob"'), 6, "email_addresses", 'belongs to "Anna" already'),
        (ANNA + "report_to_manager = true", 1, "managed_by", "needs managed_by"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, field: str, words: str) -> None:
    with pytest.raises(DirectoryFileError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path}/recipients.toml:{line}: {field}: ")
    assert words in problem


def test_every_mistake_of_a_recipient_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DirectoryFileError) as caught:
        read(tmp_path, '[[recipients]]\nkind = "mailbox"\nemail_addresses = ["anna"]\n')
    assert [
        problem.removeprefix(f"{tmp_path}/recipients.toml:").split(";")[0] for problem in caught.value.problems
    ] == [
        '2: kind: "kind" is no field of a recipient',
        '3: email_addresses: an address such as "anna@contoso.com" was expected, not "anna": there is no @ after the local part',
        "1: name: missing",
        "1: type: missing",
        "1: primary_smtp_address: missing",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[recipient]]\n", 'did you mean "recipients"?'),
        ("recipients = 1", "[[recipients]] tables were expected"),
        ("[[recipients]\n", "line 1"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DirectoryFileError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipients.toml"
    path.write_bytes(ANNA.encode() + b'display_name = "\xfc"')
    with pytest.raises(DirectoryFileError, match="UTF-8 was expected"):
        FileDirectory(path)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DirectoryFileError) as caught:
        read(tmp_path, ANNA + "colour = 1\n\n" + ANNA.replace("Mailbox", "Post"))
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["5", "9"]
