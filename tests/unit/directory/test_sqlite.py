# SPDX-License-Identifier: MIT
"""The directory database: changes, changes by others, faults and foreign files."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridgehead.directory.keys import DirectoryConflict
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.sqlite import SqliteDirectory
from bridgehead.mail.address import parse_mailbox
from support.clock import JumpingClock


def mailbox(name: str, *aliases: str) -> Recipient:
    return Recipient(
        name=name,
        type=RecipientType.MAILBOX,
        primary_smtp_address=parse_mailbox(f"{name}@contoso.com"),
        email_addresses=tuple(parse_mailbox(f"{alias}@contoso.com") for alias in aliases),
    )


ANNA, BOB = mailbox("anna", "office"), mailbox("bob")
ANNAS = parse_mailbox("anna@contoso.com")
OFFICE = parse_mailbox("office@contoso.com")
BOBS = parse_mailbox("bob@contoso.com")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipients.db"


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def server(path: Path, clock: JumpingClock) -> Iterator[SqliteDirectory]:
    directory = SqliteDirectory(path, monotonic=clock.monotonic)
    yield directory
    directory.close()


@pytest.fixture
def command(path: Path, server: SqliteDirectory) -> Iterator[SqliteDirectory]:
    """The same file, as another process opens it."""
    directory = SqliteDirectory(path)
    yield directory
    directory.close()


def test_what_is_added_stays(server: SqliteDirectory, path: Path) -> None:
    server.add(ANNA)
    server.close()
    again = SqliteDirectory(path)
    assert list(again) == [ANNA]
    again.close()


def test_an_update_replaces_addresses_too(server: SqliteDirectory) -> None:
    server.add(ANNA)
    assert server.find(OFFICE) == ANNA
    without = msgspec.structs.replace(ANNA, email_addresses=())
    server.update(without)
    assert server.find(OFFICE) is None
    assert server.find(ANNAS) == without


def test_what_is_removed_is_gone_with_its_addresses(server: SqliteDirectory) -> None:
    server.add(ANNA)
    server.remove("ANNA")
    assert server.find(OFFICE) is None
    assert len(server) == 0
    server.add(mailbox("office"))


@pytest.mark.parametrize(
    ("second", "words"), [(mailbox("Anna", "x"), 'named "Anna"'), (mailbox("bob", "office"), 'belongs to "anna"')]
)
def test_names_and_addresses_have_one_owner(server: SqliteDirectory, second: Recipient, words: str) -> None:
    server.add(ANNA)
    with pytest.raises(DirectoryConflict) as caught:
        server.add_all((mailbox("carl"), second))
    assert words in str(caught.value)
    assert [each.name for each in server] == ["anna"], "all or nothing"


def test_who_is_not_there_cannot_be_changed(server: SqliteDirectory) -> None:
    with pytest.raises(KeyError):
        server.remove("nobody")
    with pytest.raises(KeyError):
        server.update(ANNA)
    assert len(server) == 0


def test_a_change_by_another_process_is_seen_after_half_a_second(
    server: SqliteDirectory, command: SqliteDirectory, clock: JumpingClock
) -> None:
    assert server.find(ANNAS) is None
    command.add(ANNA)
    clock.advance(0.4)
    assert server.find(ANNAS) is None, "it is not looked for at every look-up"
    clock.advance(0.2)
    assert server.find(ANNAS) == ANNA
    command.remove("anna")
    clock.advance(0.6)
    assert server.find(ANNAS) is None


def test_a_file_in_the_place_of_the_old_one_is_seen(
    server: SqliteDirectory, path: Path, clock: JumpingClock, tmp_path: Path
) -> None:
    server.add(ANNA)
    other = SqliteDirectory(tmp_path / "new.db")
    other.add(BOB)
    other.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    os.replace(tmp_path / "new.db", path)
    clock.advance(0.6)
    assert server.find(ANNAS) is None
    assert server.find(BOBS) == BOB


def test_a_directory_that_is_gone_is_unavailable_and_comes_back(
    server: SqliteDirectory, path: Path, clock: JumpingClock
) -> None:
    server.add(ANNA)
    server.close()
    os.rename(path, f"{path}.away")
    path.mkdir()
    clock.advance(0.6)
    with pytest.raises(DirectoryUnavailable):
        server.find(ANNAS)
    path.rmdir()
    os.rename(f"{path}.away", path)
    assert server.find(ANNAS) == ANNA


@pytest.mark.parametrize("content", [None, b""])
def test_a_file_that_vanishes_while_the_server_runs_is_a_fault_and_not_an_empty_directory(
    server: SqliteDirectory, path: Path, clock: JumpingClock, content: bytes | None
) -> None:
    server.add(ANNA)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    clock.advance(0.6)
    for _ in range(2):
        with pytest.raises(DirectoryUnavailable):
            server.find(ANNAS)


def test_a_damaged_record_is_a_fault_and_not_an_unknown_recipient(
    server: SqliteDirectory, path: Path, clock: JumpingClock
) -> None:
    server.add(ANNA)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE recipients SET record = '{'")
    connection.close()
    clock.advance(0.6)
    with pytest.raises(DirectoryUnavailable):
        server.find(ANNAS)


@pytest.mark.parametrize(
    ("statement", "words"),
    [("CREATE TABLE other (x)", "something else"), ("PRAGMA user_version = 99", "newer version")],
)
def test_a_foreign_database_is_refused(path: Path, statement: str, words: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    with pytest.raises(DirectoryUnavailable) as caught:
        SqliteDirectory(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"recipients:\n" * 500)
    with pytest.raises(DirectoryUnavailable):
        SqliteDirectory(path)


def test_nobody_else_can_read_a_new_directory(server: SqliteDirectory, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
