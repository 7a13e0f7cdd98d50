# SPDX-License-Identifier: MIT
"""Configurations of the past: kept without secrets, found by name and time, bounded."""

import os
from pathlib import Path

import pytest

from bridgehead.admin.connector.connectors import match_receive, match_send
from bridgehead.admin.trace import revisions
from bridgehead.admin.trace.revisions import Revisions
from bridgehead.mail.units import ByteSize, Duration
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.routing.settings import SendConnector
from bridgehead.server.config.schema import Configuration

ONE, TWO = "0123456789ab", "ba9876543210"


def configuration(space: str = "*") -> Configuration:
    return Configuration(
        receive_connectors=[
            ReceiveConnector(
                name="Default", bindings=["127.0.0.1:25"], connection_timeout=Duration(minutes=7),
                max_message_size=ByteSize(2**20),
            )
        ],
        send_connectors=[
            SendConnector(
                name="Partner", address_spaces=[space], smart_hosts=["relay.example"],
                authentication_username="canary-user", authentication_password="env:CANARY",
            )
        ],
    )  # fmt: skip


def test_what_was_decided_then_is_decided_by_what_is_kept(tmp_path: Path) -> None:
    kept = Revisions(tmp_path / "configurations")
    kept.note(ONE, configuration(), 1000.0)
    past = Revisions(tmp_path / "configurations").connectors(ONE)
    assert past is not None
    assert past.receive_connectors == configuration().receive_connectors
    assert match_send(past, "x@adatum.test").connector == "Partner"
    assert match_receive(past, client_ip="127.0.0.1", port=25).connector == "Default"


def test_nothing_that_holds_or_names_a_credential_is_kept(tmp_path: Path) -> None:
    Revisions(tmp_path).note(ONE, configuration(), 1000.0)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == 2
    assert not any(b"canary" in path.read_bytes().lower() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_which_one_was_in_force_when(tmp_path: Path) -> None:
    kept = Revisions(tmp_path)
    assert kept.in_force(1000.0) == ""
    kept.note(ONE, configuration(), 1000.0)
    kept.note(TWO, configuration("adatum.test"), 2000.0)
    kept.note(TWO, configuration("adatum.test"), 2500.0)
    kept.note(ONE, configuration(), 3000.0)
    assert [kept.in_force(when) for when in (999.0, 1000.0, 1999.9, 2600.0, 9000.0)] == ["", ONE, ONE, TWO, ONE]
    assert (tmp_path / "history").read_text().count("\n") == 3


def test_the_oldest_go_and_wrong_names_reach_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "CONFIGURATIONS_KEPT", 2)
    monkeypatch.setattr(revisions, "CONFIGURATION_CHANGES_KEPT", 2)
    kept = Revisions(tmp_path)
    for number in range(4):
        kept.note(f"{number:012x}", configuration(), 1000.0 + number)
        os.utime(tmp_path / f"{number:012x}.json", (number, number))
    assert [kept.connectors(f"{number:012x}") is None for number in range(4)] == [True, True, False, False]
    assert (kept.in_force(1001.5), kept.in_force(1002.5)) == ("", f"{2:012x}")
    assert kept.connectors("../history") is None
    kept.note("../../escape", configuration(), 1.0)
    assert not list(tmp_path.parent.glob("escape*"))


def test_what_cannot_be_read_is_as_if_it_were_gone(tmp_path: Path) -> None:
    kept = Revisions(tmp_path)
    kept.note(ONE, configuration(), 1000.0)
    (tmp_path / f"{ONE}.json").write_text('{"send_connectors": [{"name": 7}]}')
    assert kept.connectors(ONE) is None
    (tmp_path / "history").write_text("nonsense\n1.5 ../x\n")
    assert kept.in_force(5.0) == ""
