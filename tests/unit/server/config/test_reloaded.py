# SPDX-License-Identifier: MIT
"""What a reload exchanges, keeps and tells."""

import tomllib
from pathlib import Path

import pytest

from bridgehead.server.config.load import Loaded, assemble
from bridgehead.server.config.reloaded import AT_START, refused, reloaded
from bridgehead.server.config.schema import Configuration


def _loaded(text: str, folder: Path) -> Loaded:
    text = f'server.data_directory = "{folder}"\n{text}'
    return assemble([(folder / "bridgehead.toml", text, tomllib.loads(text))])


def test_every_setting_that_needs_a_restart_exists() -> None:
    for table, names in AT_START.items():
        assert names <= set(getattr(Configuration(), table).__struct_fields__), table


def test_tables_without_such_settings_are_told_as_changed(tmp_path: Path) -> None:
    found = reloaded(
        _loaded("", tmp_path), _loaded('kerberos.keytab_file = "a"\ntls_reports.contact_info = "x"', tmp_path)
    )
    assert found.outcome.changes == ["kerberos changed", "tls_reports changed"]
    assert found.outcome.needs_restart == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            OSError(98, "api.binding: 127.0.0.1:1: Address already in use"),
            "api.binding: 127.0.0.1:1: Address already in use",
        ),
        (
            PermissionError(13, "cannot listen on 0.0.0.0:25: Permission denied"),
            "cannot listen on 0.0.0.0:25: Permission denied; what needs privileges, as ports below 1024 do, is opened when the server starts",
        ),
        (FileNotFoundError(2, "No such file", "/x"), "[Errno 2] No such file: '/x'"),
        ("a mistake", "a mistake"),
    ],
)
def test_what_was_refused_says_why(fault: object, told: str) -> None:
    assert refused(fault).problems == [told]


def test_what_needs_a_restart_stays_as_it_runs_and_is_told_until_then(tmp_path: Path) -> None:
    running = _loaded("", tmp_path)
    read = _loaded('logs.json_log_enabled = true\nlogs.agent_log_max_age = "1d"\nqueues.poison_threshold = 5', tmp_path)
    for _ in range(2):
        found = reloaded(running, read)
        assert found.outcome.needs_restart == ["[logs] json_log_enabled (bridgehead.toml:2)"]
        running = found.loaded
        assert not running.configuration.logs.json_log_enabled
        assert running.configuration.logs.agent_log_max_age.days == 1
        assert running.configuration.queues.poison_threshold == 5
    assert found.outcome.changes == ["nothing changed"]
