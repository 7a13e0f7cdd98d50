# SPDX-License-Identifier: MIT
"""What the check says of [kerberos], of the library and of keytabs; keys of a real KDC."""

import os
import sys
from pathlib import Path

import pytest

from bridgehead.server.config.check import check
from bridgehead.server.config.load import read
from bridgehead.server.config.problem import Problem, Severity
from support.kdc import REALM, Kdc

SERVICE = f"smtp/mx.contoso.test@{REALM}"


@pytest.fixture(scope="module")
def keytab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kdc = Kdc(tmp_path_factory.mktemp("kerberos") / "kdc")
    kdc.service(SERVICE)
    return kdc.keytab


def connector(*, mechanisms: str = '"Tls", "Integrated"', more: str = "") -> str:
    return (
        '[[receive_connectors]]\nname = "Domain"\nbindings = ["0.0.0.0:587"]\npermission_groups = ["ExchangeUsers"]\n'
        f"auth_mechanism = [{mechanisms}]\n{more}"
    )


def kerberos(keytab: object = "none.keytab", *, service: str = SERVICE, realms: str = '"CONTOSO.TEST"') -> str:
    return f'[kerberos]\nservice_principals = ["{service}"]\nkeytab_file = "{keytab}"\nrealms = [{realms}]\n'


def found(folder: Path, text: str) -> list[Problem]:
    (folder / "bridgehead.toml").write_text(f'[server]\ndata_directory = "{folder}"\n' + text)
    problems = check(read(folder / "bridgehead.toml"))
    return [one for one in problems if "kerberos" in one.path or "auth_mech" in one.path or "protection" in one.path]


def told(folder: Path, text: str, path: str, message: str) -> Problem:
    problems = found(folder, text)
    one = [problem for problem in problems if problem.path == path and message in problem.message]
    assert one, problems
    return one[0]


PRINCIPAL = '[[kerberos.principals]]\nprincipal = "{}"\nlogins = [{}]\n'


@pytest.mark.parametrize(
    ("text", "path", "message", "is_error"),
    [
        (connector(), "kerberos.service_principals", "Integrated takes Kerberos tickets", True),
        (connector(), "kerberos.keytab_file", "Integrated takes Kerberos tickets", True),
        (connector() + kerberos(realms=""), "kerberos.realms", "nobody could log in", True),
        (connector() + kerberos(), "kerberos.keytab_file", "cannot be read", True),
        (kerberos(service="smtp/mx.contoso.test"), "kerberos.service_principals[0]", "no service with its host", True),
        (kerberos(service="mx@CONTOSO.TEST"), "kerberos.service_principals[0]", "no service with its host", True),
        (kerberos(realms='"contoso.test"'), "kerberos.realms[0]", "not in upper case", False),
        (kerberos(realms='"a@b"'), "kerberos.realms[0]", "is no realm", True),
        (PRINCIPAL.format("erp", '"erp"'), "kerberos.principals[0].principal", "no principal with its realm", True),
        (PRINCIPAL.format("erp@X", ""), "kerberos.principals[0].logins", "names no login", True),
        (2 * PRINCIPAL.format("erp@X", '"erp"'), "kerberos.principals[1].principal", "there twice", True),
        (
            connector(mechanisms='"Integrated"', more='extended_protection_policy = "Require"\n') + kerberos(),
            "receive_connectors[0].extended_protection_policy", "there is none", True,
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    text: str, path: str, message: str, is_error: bool, tmp_path: Path
) -> None:
    assert (told(tmp_path, text, path, message).severity is Severity.ERROR) is is_error


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    problem = told(tmp_path, connector() + kerberos(), "receive_connectors[0].auth_mechanism", "not installed")
    assert problem.severity is Severity.ERROR
    assert problem.remedy == "pip install 'bridgehead[kerberos]'"


def test_the_keytab_must_hold_each_services_key_and_be_ours_alone(tmp_path: Path, keytab: Path) -> None:
    assert found(tmp_path, connector() + kerberos(keytab)) == []
    other = connector() + kerberos(keytab, service=f"smtp/other.contoso.test@{REALM}")
    problem = told(tmp_path, other, "kerberos.keytab_file", f"smtp/other.contoso.test@{REALM} cannot log anybody in")
    assert problem.severity is Severity.ERROR
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no keytab")
    os.chmod(garbage, 0o600)
    told(tmp_path, connector() + kerberos(garbage), "kerberos.keytab_file", "Unsupported key table format")
    os.chmod(garbage, 0o640)
    told(tmp_path, connector() + kerberos(garbage), "kerberos.keytab_file", "can be read by others")


def test_without_a_connector_that_takes_tickets_nothing_is_asked_for(tmp_path: Path) -> None:
    assert found(tmp_path, kerberos("none.keytab")) == []
