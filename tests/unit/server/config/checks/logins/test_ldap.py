# SPDX-License-Identifier: MIT
"""What the check says of [ldap_logins]."""

from pathlib import Path

import pytest

from support.checked import Found, found


def connector(*mechanisms: str) -> str:
    offered = ", ".join(f'"{one}"' for one in mechanisms)
    return (
        '[[receive_connectors]]\nname = "Client"\nbindings = ["0.0.0.0:587"]\npermission_groups = ["ExchangeUsers"]\n'
        f"auth_mechanism = [{offered}]\n"
    )


LOOKUP = {
    "servers": '["ldaps://dc1.contoso.test", "ldap://dc2.contoso.test:3268"]', "lookup_name": '"cn=bridgehead"',
    "lookup_password": '"file:secret"', "search_base": '"dc=contoso,dc=test"',
}  # fmt: skip
BIND = {
    "servers": '["ldap://127.0.0.1"]', "start_tls": "false", "mode": '"Bind"',
    "bind_template": '"uid={name},dc=contoso,dc=test"',
}  # fmt: skip


def findings(folder: Path, settings: dict[str, str], *mechanisms: str) -> Found:
    """Those that are about LDAP."""
    (folder / "secret").write_text("x\n")
    table = "".join(f"{key} = {value}\n" for key, value in settings.items())
    text = f'{connector(*(mechanisms or ("Tls", "BasicAuth")))}[ldap_logins]\n{table}\n[server]\ndata_directory = "{folder}"\n'
    return [one for one in found(folder, text) if "ldap" in one[0] or "Ldap" in one[1] or "LDAP" in one[1]]


@pytest.mark.parametrize("settings", [LOOKUP, BIND])
def test_what_is_well_is_not_complained_about(settings: dict[str, str], tmp_path: Path) -> None:
    assert findings(tmp_path, settings) == []


@pytest.mark.parametrize(
    ("settings", "field", "message", "is_error"),
    [
        (LOOKUP | {"servers": "[]"}, "servers", "no server to ask", True),
        (LOOKUP | {"servers": '["dc1.contoso.test"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"servers": '["https://dc1"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"servers": '["ldap://dc1/dc=contoso"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"servers": '["ldap://u:p@dc1"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"servers": '["ldap://10.1.2"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"servers": '["ldap://dc1:99999"]'}, "servers[0]", "is no LDAP server such as", True),
        (LOOKUP | {"start_tls": "false"}, "servers[1]", "passwords would travel to dc2.contoso.test in clear", True),
        (
            LOOKUP | {"start_tls": "false", "allow_clear_text": "true"},
            "servers[1]",
            "passwords travel to dc2.contoso.test in clear",
            False,
        ),
        (LOOKUP | {"check_server_name": "false"}, "check_server_name", "anybody with a certificate", True),
        (LOOKUP | {"ca_file": '"gone.pem"'}, "ca_file", "gone.pem", True),
        (LOOKUP | {"lookup_name": '""'}, "lookup_name", "needs an account", True),
        (LOOKUP | {"lookup_password": '""'}, "lookup_password", "needs the password", True),
        (LOOKUP | {"lookup_password": '"Pa55word"'}, "lookup_password", "does not stand in the configuration", True),
        (LOOKUP | {"search_base": '""'}, "search_base", "looked for nowhere", True),
        (LOOKUP | {"login_attributes": "[]"}, "login_attributes", "is empty", True),
        (LOOKUP | {"address_attributes": '["mail)"]'}, "address_attributes[0]", '"mail)" is no name', True),
        (LOOKUP | {"user_filter": '"(a=b"'}, "user_filter", 'a ")" is missing', True),
        (LOOKUP | {"required_group": '"mail"'}, "required_group", '"mail" is no distinguished name', True),
        (LOOKUP | {"mode": '"Binding"'}, "mode", "Bind", True),
        (LOOKUP | {"connections": "0"}, "connections", "out of range", True),
        (LOOKUP | {"timeout": '"00:05:00"'}, "timeout", "out of range", True),
        (BIND | {"bind_template": '"uid=ann"'}, "bind_template", 'template with "{name}" once', True),
        (BIND | {"bind_template": '"{name}"'}, "bind_template", 'template with "{name}" once', True),
        (BIND | {"bind_template": '"{name}@contoso.test"'}, "search_base", "looked for nowhere", True),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    settings: dict[str, str], field: str, message: str, is_error: bool, tmp_path: Path
) -> None:
    found = findings(tmp_path, settings)
    told = [one for one in found if one[0] == f"ldap_logins.{field}" and message in one[1]]
    assert told, found
    assert told[0][2] is is_error
    assert "Pa55word" not in str(found)


def test_mechanisms_that_do_not_go_with_a_directory_are_told(tmp_path: Path) -> None:
    told = findings(tmp_path, LOOKUP, "Tls", "BasicAuth", "ScramSha256")
    assert [(path, is_error) for path, _, is_error in told] == [("receive_connectors[0].auth_mechanism", False)]
    told = findings(tmp_path, LOOKUP, "Tls", "ScramSha256")
    assert [(path, is_error) for path, _, is_error in told] == [("ldap_logins.servers", False)]
