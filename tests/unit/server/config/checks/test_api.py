# SPDX-License-Identifier: MIT
"""The [api] table: each rule says no, with the place, and what is sound passes."""

from pathlib import Path

import pytest

from bridgehead.server.config.check import check
from bridgehead.server.config.load import read

REST = """
[[accepted_domains]]
domain_name = "contoso.test"
[[receive_connectors]]
name = "Default"
bindings = ["0.0.0.0:25"]
permission_groups = ["AnonymousUsers"]
[[send_connectors]]
name = "Out"
address_spaces = ["*"]
"""


def problems(folder: Path, table: str) -> list[str]:
    path = folder / "bridgehead.toml"
    path.write_text(f"[api]\n{table}\n{REST}")
    return [f"{problem.path}: {problem.message}" for problem in check(read(path))]


@pytest.mark.parametrize(
    "table",
    ["", 'binding = "127.0.0.1:8443"', 'binding = "[::]:8443"', 'local_viewers = ["root", "group:root"]\nlocal_help_desk = ["nobody"]'],
)  # fmt: skip
def test_what_is_sound_passes(tmp_path: Path, table: str) -> None:
    assert problems(tmp_path, table) == []


@pytest.mark.parametrize(
    ("table", "path", "message"),
    [
        ('binding = "8443"', "api.binding", "a binding such as"),
        ('tls_key_file = "api.key"', "api.tls_key_file", "without its certificate"),
        ('tls_certificate_file = "no.crt"\ntls_key_file = "no.key"', "api.tls_certificate_file", "cannot be read"),
        ('local_viewers = ["root", "no-such-account"]', "api.local_viewers[1]", 'no account "no-such-account"'),
        ('local_operators = ["group:no-such-group"]', "api.local_operators[0]", 'no group "no-such-group"'),
        ('local_oprators = ["root"]', "api.local_oprators", "no setting of this name"),
    ],
)
def test_what_is_not_is_named(tmp_path: Path, table: str, path: str, message: str) -> None:
    [problem, *_] = problems(tmp_path, table)
    assert problem.startswith(f"{path}: "), problem
    assert message in problem.lower() or message in problem
