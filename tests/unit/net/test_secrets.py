# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from bridgehead.mail.limits import SECRET_BYTES
from bridgehead.net.secrets import read_secret


def test_secrets_come_from_a_file_the_environment_or_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").write_text("s3cret\nsecond line\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "smarthost").write_text("from-systemd")
    monkeypatch.setenv("P", "from-env")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert read_secret(f"file:{tmp_path}/p").reveal() == "s3cret"
    assert read_secret("file:p", tmp_path).reveal() == "s3cret"
    assert read_secret("env:P").reveal() == "from-env"
    assert read_secret("credential:smarthost").reveal() == "from-systemd"


def test_an_exchanged_secret_counts_at_once(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("old")
    assert read_secret("file:p", tmp_path).reveal() == "old"
    (tmp_path / "p").write_text("new")
    assert read_secret("file:p", tmp_path).reveal() == "new"


@pytest.mark.parametrize(
    "bad",
    [
        "s3cret-in-clear", "file:", "env:", "file:/nowhere/at/all", "env:NOT_SET_ANYWHERE", "credential:", "credential:x",
        "credential:../../etc/passwd",
    ],
)  # fmt: skip
def test_errors_never_hold_a_secret(bad: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ValueError, match=r"secret|credential") as caught:
        read_secret(bad)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_holds_more_than_a_secret_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x" * (SECRET_BYTES + 1))
    with pytest.raises(ValueError, match="no secret of one line"):
        read_secret("file:p", tmp_path)
