# SPDX-License-Identifier: MIT
"""What `check` says of recipients: a database, a file, none."""

from pathlib import Path

import pytest

from bridgehead.admin.access.recipients import Source, add_recipient
from bridgehead.server.config.checks.recipients import check_recipients
from bridgehead.server.config.load import Loaded, read


def loaded(folder: Path, file: str) -> Loaded:
    (folder / "bridgehead.toml").write_text(
        f'[server]\ndata_directory = "{folder}"\n[[accepted_domains]]\ndomain_name = "contoso.test"\n'
        f'[directory]\nrecipients_file = "{file}"\n'
    )
    return read(folder / "bridgehead.toml")


@pytest.fixture(params=["recipients.db", "recipients.toml"])
def configured(tmp_path: Path, request: pytest.FixtureRequest) -> Loaded:
    if request.param == "recipients.db":
        for name in ("ida", "eve"):
            values = {"name": name, "type": "Mailbox", "primary_smtp_address": f"{name}@fabrikam.test"}
            add_recipient(Source(tmp_path / request.param), values)
    else:
        text = '[[recipients]]\nname = "{0}"\ntype = "Mailbox"\nprimary_smtp_address = "{0}@fabrikam.test"\n'
        (tmp_path / request.param).write_text(text.format("ida") + text.format("eve"))
    return loaded(tmp_path, request.param)


def test_addresses_in_no_accepted_domain_are_told_where_the_directory_is_named(configured: Loaded) -> None:
    check_recipients(configured)
    [warning] = configured.warnings
    assert str(warning).startswith(
        str(configured.files[0]) + ":6: warning: directory.recipients_file: 2 addresses in fabrikam.test"
    )
    assert warning.remedy == 'add [[accepted_domains]] with domain_name = "fabrikam.test", and reload'


def test_no_database_is_made_and_a_bad_file_is_told(tmp_path: Path) -> None:
    check_recipients(found := loaded(tmp_path, "recipients.db"))
    assert found.warnings == []
    assert not (tmp_path / "recipients.db").exists()
    (tmp_path / "recipients.db").write_text("no database")
    check_recipients(found)
    assert len(found.warnings) == 1
