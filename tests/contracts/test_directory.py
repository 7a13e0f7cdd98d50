# SPDX-License-Identifier: MIT
"""The contract of `Directory`, run on every implementation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from bridgehead.directory.file import FileDirectory
from bridgehead.directory.lookup import Directory
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.sqlite import SqliteDirectory
from bridgehead.mail.address import Mailbox, parse_mailbox

Make = Callable[..., Directory]


def a(text: str) -> Mailbox:
    return parse_mailbox(text)


BOB = Recipient(
    name="Bob Weber",
    type=RecipientType.MAILBOX,
    primary_smtp_address=a("bob@contoso.com"),
    email_addresses=(a("bob@contoso.com"), a("Robert.Weber@contoso.com"), a("info+sales@contoso.com")),
    max_receive_size=1_000_000,
)
INFO = Recipient(name="Info", type=RecipientType.MAILBOX, primary_smtp_address=a("info@contoso.com"))
IDN = Recipient(name="Büro", type=RecipientType.MAILBOX, primary_smtp_address=a("post@bücher.example"))
CONTACT = Recipient(
    name="Supplier",
    type=RecipientType.MAIL_CONTACT,
    primary_smtp_address=a("supplier@contoso.com"),
    external_email_address=a("orders@supplier.example"),
)
GROUP = Recipient(
    name="Everybody",
    type=RecipientType.GROUP,
    primary_smtp_address=a("all@contoso.com"),
    members=("Bob Weber", "info@contoso.com", "someone@elsewhere.example"),
    require_sender_authentication=True,
    accept_messages_only_from=("Bob Weber",),
    report_to_originator=False,
    report_to_manager=True,
    managed_by="Bob Weber",
)
EVERYBODY = (BOB, INFO, IDN, CONTACT, GROUP)


def make_memory(folder: Path, recipients: Sequence[Recipient], plus_addressing: bool) -> Directory:
    return MemoryDirectory(recipients, plus_addressing=plus_addressing)


def make_sqlite(folder: Path, recipients: Sequence[Recipient], plus_addressing: bool) -> Directory:
    directory = SqliteDirectory(folder / "recipients.db", plus_addressing=plus_addressing)
    directory.add_all(recipients)
    return directory


def make_file(folder: Path, recipients: Sequence[Recipient], plus_addressing: bool) -> Directory:
    path = folder / "recipients.toml"
    tables = []
    for recipient in recipients:
        lines = ["[[recipients]]"]
        for field, value in msgspec.structs.asdict(recipient).items():
            match value:
                case None:
                    continue
                case Mailbox():
                    value = str(value)
                case tuple():
                    value = [str(each) for each in value]
            lines.append(f"{field} = {msgspec.json.encode(value).decode()}")
        tables.append("\n".join(lines))
    path.write_text("\n\n".join(tables), encoding="utf-8")
    return FileDirectory(path, plus_addressing=plus_addressing)


@pytest.fixture(params=[make_memory, make_sqlite, make_file], ids=["memory", "sqlite", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def build(recipients: Sequence[Recipient] = EVERYBODY, plus_addressing: bool = True) -> Directory:
        built: Directory = request.param(tmp_path, recipients, plus_addressing)
        if isinstance(built, SqliteDirectory):
            request.addfinalizer(built.close)
        return built

    return build


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob@contoso.com", BOB),
        ("BOB@Contoso.COM", BOB),
        ("robert.weber@contoso.com", BOB),
        ("nobody@contoso.com", None),
        ("bob@elsewhere.example", None),
        ("post@bücher.example", IDN),
        ("POST@xn--bcher-kva.example", IDN),
        ("all@contoso.com", GROUP),
        ("orders@supplier.example", None),
    ],
)
def test_a_recipient_is_found_by_each_of_its_addresses(make: Make, address: str, expected: Recipient | None) -> None:
    directory = make()
    for _ in range(2):  # the second time from a cache
        assert directory.find(a(address)) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob+list@contoso.com", BOB),
        ("bob+a+b@contoso.com", BOB),
        ("bob+@contoso.com", BOB),
        ("info+sales@contoso.com", BOB),
        ("info+other@contoso.com", INFO),
        ("+bob@contoso.com", None),
        ("nobody+x@contoso.com", None),
    ],
)
def test_plus_addressing(make: Make, address: str, expected: Recipient | None) -> None:
    assert make(plus_addressing=True).find(a(address)) == expected


@pytest.mark.parametrize(("address", "expected"), [("bob+list@contoso.com", None), ("info+sales@contoso.com", BOB)])
def test_plus_addressing_can_be_off(make: Make, address: str, expected: Recipient | None) -> None:
    assert make(plus_addressing=False).find(a(address)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Bob Weber", BOB),
        ("bob weber", BOB),
        (" Bob Weber ", BOB),
        ("BÜRO", IDN),
        ("Robert.Weber@contoso.com", BOB),
        ("Nobody", None),
        ("not an @ address", None),
        ("", None),
    ],
)
def test_a_recipient_is_found_by_name_or_address(make: Make, name: str, expected: Recipient | None) -> None:
    directory = make()
    for _ in range(2):
        assert directory.find_by_name(name) == expected


def test_it_knows_how_many_there_are(make: Make) -> None:
    assert len(make()) == len(EVERYBODY)


def test_bare_postmaster_can_be_asked_for(make: Make) -> None:
    assert make().find(Mailbox("postmaster", "")) is None
