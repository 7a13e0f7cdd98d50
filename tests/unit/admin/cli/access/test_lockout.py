# SPDX-License-Identifier: MIT
"""`lockout list` and `lockout lift` over the real table."""

import json
from pathlib import Path

from support.cli import Commands
from support.running_server import NOW, running


def test_locks_are_listed_and_lifted(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        assert "Nobody is locked." in commands("lockout", "list").output
        for number in range(30):
            server.server.lockouts.table.failed("ann", "192.0.2.7", NOW)
            server.server.lockouts.table.failed(f"user{number}", "198.51.100.9", NOW)
        output = commands("lockout", "list").output
        assert "ann" in output
        assert "198.51.100.9" in output
        kinds = {one["kind"]: one for one in json.loads(commands("lockout", "list", "--json").output)}
        assert (kinds["account"]["account"], kinds["account"]["failures"]) == ("ann", 10)
        assert (kinds["source"]["source"], kinds["source"]["strikes"]) == ("198.51.100.9", 1)
        assert "Lifted" in commands("lockout", "lift", "ANN").output
        assert json.loads(commands("lockout", "lift", "--source", "198.51.100.9", "--json").output) == {"lifted": 1}
        assert "Nobody is locked." in commands("lockout", "list").output


def test_what_cannot_be_lifted_says_why(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket):
        assert "nothing is held against ann" in commands("lockout", "lift", "ann", code=1).output
        assert "is no IP address" in commands("lockout", "lift", "--source", "nowhere", code=1).output
        assert "one of the three" in commands("lockout", "lift", code=1).output
        assert "one of the three" in commands("lockout", "lift", "ann", "--all", code=1).output
        assert commands("lockout", "lift", "--all").output
