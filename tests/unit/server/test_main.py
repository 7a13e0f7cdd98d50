# SPDX-License-Identifier: MIT
"""The command line as a shell sees it: where configuration is found, what is printed, exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '[[accepted_domains]]\ndomain_name = "a.test"\n[[receive_connectors]]\nname = "A"\nbindings = ["127.0.0.1:0"]\n'
BAD = GOOD + 'max_hop_count = 900\n[servr]\nfqdn = "x"\n'


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "BRIDGEHEAD_CONFIG"}
    return subprocess.run(
        [sys.executable, "-m", "bridgehead", *arguments],
        cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_check_prints_every_problem_and_fails(tmp_path: Path) -> None:
    (tmp_path / "bridgehead.toml").write_text(BAD)
    done = command(tmp_path, "check")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("bridgehead.toml:6: error: receive_connectors[0].max_hop_count: 900 is out of range")
    assert lines[1].startswith("bridgehead.toml:7: error: servr: ")
    assert lines[-1] == "bridgehead.toml: 2 errors, 1 warning"


def test_check_as_json(tmp_path: Path) -> None:
    (tmp_path / "bridgehead.toml").write_text(BAD)
    done = command(tmp_path, "check", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["ok"] is False
    assert [(one["severity"], one["line"]) for one in said["problems"]] == [("error", 6), ("error", 7), ("warning", 3)]


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    (tmp_path / "bridgehead.toml").write_text(GOOD)
    done = command(tmp_path, "check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "bridgehead.toml: no errors, 1 warning")


def test_configuration_is_found_in_order(tmp_path: Path) -> None:
    (tmp_path / "bridgehead.toml").write_text(GOOD)
    (tmp_path / "variable.toml").write_text(BAD)
    assert command(tmp_path, "check").returncode == 0
    assert "variable.toml:7" in command(tmp_path, "check", BRIDGEHEAD_CONFIG="variable.toml").stdout
    assert command(tmp_path, "-c", "bridgehead.toml", "check", BRIDGEHEAD_CONFIG="variable.toml").returncode == 0
    (tmp_path / "bridgehead.toml").unlink()
    if not Path("/etc/bridgehead/bridgehead.toml").exists():
        assert "the embedded default" in command(tmp_path, "check").stdout


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    for arguments, variable in ((["-c", "none.toml", "check"], ""), (["check"], "none.toml")):
        done = command(tmp_path, *arguments, BRIDGEHEAD_CONFIG=variable)
        assert done.returncode == 1
        assert "none.toml: error: cannot be read: No such file" in done.stdout


def test_run_refuses_a_bad_configuration_before_anything_happens(tmp_path: Path) -> None:
    (tmp_path / "bridgehead.toml").write_text(f'server.data_directory = "{tmp_path}/data"\n' + BAD)
    done = command(tmp_path, "run")
    assert done.returncode == 1
    assert "max_hop_count" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_until_it_is_told_to_stop(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "bridgehead.toml").write_text(f'server.data_directory = "{tmp_path}/data"\n' + GOOD)
    process = subprocess.Popen(
        [sys.executable, "-m", "bridgehead", "-c", str(tmp_path / "bridgehead.toml"), "run"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if " is ready as " in line:
                break
        process.send_signal(how)
        rest = process.stderr.read()
        assert process.wait(30) == 0, "".join(said) + rest
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_version_and_usage_errors(tmp_path: Path) -> None:
    assert command(tmp_path, "--version").stdout == "bridgehead 0.1.0\n"
    assert command(tmp_path, "run", "--no-such-option").returncode == 2
