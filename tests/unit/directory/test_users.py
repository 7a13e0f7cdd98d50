# SPDX-License-Identifier: MIT
import logging
import stat
import threading
from pathlib import Path

import pytest
from scramp import ScramClient

from bridgehead.directory.user_record import UserFileError
from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from bridgehead.smtp.sasl import Challenge, ScramSha256, Success

ROUNDS = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.toml"


@pytest.fixture
def users(path: Path) -> UserFile:
    return UserFile(path, ROUNDS)


def test_a_login_added_by_one_process_is_known_to_another(users: UserFile, path: Path) -> None:
    running = UserFile(path, ROUNDS)
    assert running.find("scanner") is None
    users.add(
        "Scanner", Secret("pass wörd"), addresses=["scanner@contoso.com"], send_as=["*@contoso.com"], comment='a "b" \\'
    )
    user = running.find("SCANNER")
    assert user is not None
    assert (user.name, user.addresses, user.send_as) == ("scanner", ("scanner@contoso.com",), ("*@contoso.com",))
    assert user.comment == 'a "b" \\'
    assert running.verify("scanner", Secret("pass wörd"))
    assert not running.verify("scanner", Secret("pass word"))
    assert not running.verify("nobody", Secret("pass wörd"))


def test_no_password_is_in_the_file_and_nobody_else_reads_it(users: UserFile, path: Path) -> None:
    users.add("ann", Secret("canary-password"))
    assert "canary" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir() if one.suffix == ".tmp"] == []


def test_scram_with_an_independent_client(users: UserFile) -> None:
    users.add("ann", Secret("p\u00aass"))  # SASLprep makes an "a" of the ordinal indicator
    for typed, right in (("p\u00aass", True), ("pass", True), ("wrong", False)):
        client, exchange = ScramClient(["SCRAM-SHA-256"], "Ann", typed), ScramSha256(users.credential, "nonce")
        first = exchange.start(client.get_client_first().encode())
        assert isinstance(first, Challenge)
        client.set_server_first(first.data.decode())
        exchange.step(client.get_client_final().encode())
        assert (exchange.step(b"") == Success("Ann")) is right if right else True
        assert users.verify("ann", Secret(typed)) is right


def test_unknown_names_look_like_wrong_passwords_also_after_a_restart(users: UserFile, path: Path) -> None:
    users.add("ann", Secret("p"))
    users.add("off", Secret("p"))
    users.update("off", enabled=False)
    again = UserFile(path, ROUNDS)
    for name in ("nobody", "off", "ann", "other"):
        assert users.credential(name) == users.credential(name) == again.credential(name)
        assert len(users.credential(name).salt) == len(users.credential("ann").salt)
        assert users.credential(name).iterations == users.credential("ann").iterations
    assert users.credential("nobody").salt != users.credential("other").salt
    assert not users.verify("off", Secret("p"))
    assert users.find("off") is None
    users.update("off", enabled=True)
    assert users.verify("off", Secret("p"))


def test_changes(users: UserFile) -> None:
    users.add("ann", Secret("old"))
    users.set_password("ANN", Secret("new"))
    assert users.verify("ann", Secret("new"))
    assert not users.verify("ann", Secret("old"))
    users.update("ann", addresses=["ann@contoso.com"], comment="c")
    assert users.verify("ann", Secret("new"))
    assert [(one.name, one.comment) for one in users.list_users()] == [("ann", "c")]
    users.remove("Ann")
    assert users.list_users() == []


@pytest.mark.parametrize(
    ("name", "password", "settings", "told"),
    [
        ("", "p", {}, "name"),
        ("a b", "p", {}, "name"),
        ("a\nb", "p", {}, "name"),
        ("x" * 257, "p", {}, "name"),
        ("ann", "", {}, "password"),
        ("ann", "p\0", {}, "SASLprep"),
        ("ann", "p", {"addresses": ["ann"]}, "addresses: 'ann'"),
        ("ann", "p", {"send_as": ["*"], "comment": "a\nb"}, "comment"),
        ("ann", "p", {"send_as": ["*@"]}, "send_as"),
        ("ann", "p", {"send_as": ["@contoso.com"]}, "send_as"),
    ],
)
def test_what_is_malformed_is_refused_and_changes_nothing(
    users: UserFile, path: Path, name: str, password: str, settings: dict[str, list[str]], told: str
) -> None:
    users.add("other", Secret("p"))
    before = path.read_bytes()
    with pytest.raises(UserFileError, match=told):
        users.add(name, Secret(password), **settings)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [one.name for one in users.list_users()] == ["other"]


def test_names_taken_and_names_missing(users: UserFile) -> None:
    users.add("ann", Secret("p"))
    with pytest.raises(UserFileError, match='"ann" already'):
        users.add("ANN", Secret("p"))
    for change in (
        lambda: users.remove("bob"),
        lambda: users.set_password("bob", Secret("p")),
        lambda: users.update("bob"),
    ):
        with pytest.raises(UserFileError, match='no login "bob"'):
            change()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("[users]\nx = = 3\n", "line 2"),
        ("users = 3", "users"),
        ('[users."ann"]\nsalt = "x"\n', "iterations|stored_key"),
        ('[users."ann"]\nsalt = "c2FsdHNhbHRzYWx0"\niterations = 1\nstored_key = "x"\nserver_key = "y"\n', r"line 1, login 'ann'.*iterations"),
        ('\n[users.ann]\nsalt = "c2FsdHNhbHRzYWx0"\niterations = 4096\nstored_key = "x"\nserver_key = "y"\n', r"line 2, login 'ann'.*stored_key"),
        ('[users."ann"]\ncolour = "red"\n', "colour|missing"),
    ],
)  # fmt: skip
def test_a_broken_file_is_explained(path: Path, broken: str, told: str) -> None:
    path.write_text(broken)
    path.chmod(0o600)
    with pytest.raises(UserFileError, match=told) as raised:
        UserFile(path)
    assert "users.toml" in str(raised.value)


def test_a_file_that_breaks_later_keeps_what_was_read(
    users: UserFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users.add("ann", Secret("p"))
    assert users.verify("ann", Secret("p"))
    path.write_text("[users")
    with caplog.at_level(logging.ERROR):
        assert users.verify("ann", Secret("p"))
        assert users.verify("ann", Secret("p"))
    assert caplog.text.count("stay in force") == 1
    with pytest.raises(UserFileError):
        users.add("bob", Secret("p"))
    assert path.read_text() == "[users"


def test_a_file_out_of_reach_is_no_empty_file(users: UserFile, path: Path) -> None:
    users.add("scanner", Secret("pass"))
    running = UserFile(path, ROUNDS)
    path.rename(path.with_name("kept"))
    path.symlink_to(path)  # neither there nor missing, for root as well
    assert running.find("scanner") is not None
    with pytest.raises(UserFileError, match="cannot be read"):
        UserFile(path, ROUNDS)
    path.unlink()
    assert running.find("scanner") is None


def test_a_file_open_to_others_is_pointed_out(users: UserFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    users.add("ann", Secret("p"))
    path.chmod(0o644)
    UserFile(path)
    assert "chmod 600" in caplog.text


def test_writers_at_the_same_time_lose_no_login(path: Path) -> None:
    def add(first: int) -> None:
        mine = UserFile(path, ROUNDS)
        for number in range(first, first + 5):
            mine.add(f"user{number}", Secret("p"))

    threads = [threading.Thread(target=add, args=(number * 5,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(UserFile(path).list_users()) == 20


def test_a_folder_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    users = UserFile(tmp_path / "folder" / "users.toml", ROUNDS)
    (tmp_path / "folder").write_text("a file stands where the folder should be")
    with pytest.raises(UserFileError, match="cannot be"):
        users.add("ann", Secret("p"))
    assert users.list_users() == []


def test_logins_are_found_by_certificate_and_by_address(users: UserFile, path: Path) -> None:
    fingerprint = "sha256:" + "0a" * 32
    users.add("door", Secret("p"), addresses=["Door@contoso.com"], certificates=["Door.contoso.com", fingerprint])
    users.add(
        "gate", Secret("p"), addresses=["door@contoso.com"], certificates=["door.contoso.com", "gate@contoso.com"]
    )
    running = UserFile(path, ROUNDS)

    def by_certificate(*identities: str) -> list[str]:
        return [user.name for user in running.find_by_certificate(identities)]

    assert by_certificate("door.contoso.com") == ["door", "gate"]
    assert by_certificate("other.contoso.com", fingerprint) == ["door"]
    assert by_certificate("gate@contoso.com", "door.contoso.com") == ["gate", "door"]
    assert by_certificate() == by_certificate("*.contoso.com") == []
    assert [user.name for user in running.find_by_address("DOOR@contoso.com")] == ["door", "gate"]
    users.update("door", enabled=False)
    assert by_certificate("door.contoso.com") == ["gate"]
    users.update("gate", certificates=[])
    assert by_certificate("door.contoso.com", fingerprint) == []


@pytest.mark.parametrize("certificate", ["", "sha256:12", "a b", "a\nb", "sha256:" + "g" * 64])
def test_what_names_no_certificate_is_refused(users: UserFile, certificate: str) -> None:
    with pytest.raises(UserFileError, match="certificates"):
        users.add("door", Secret("p"), certificates=[certificate])
