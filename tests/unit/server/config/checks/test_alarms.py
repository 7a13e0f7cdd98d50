# SPDX-License-Identifier: MIT
"""What the checks of [alarms] and [monitoring] say no to, and where."""

from pathlib import Path

import pytest

from support.checked import CONNECTOR, Found, found

MAIL = 'mail_to = ["ops@fabrikam.test"]\n'


def findings(folder: Path, text: str) -> Found:
    return found(folder, text + CONNECTOR)


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        (MAIL, "alarms.mail_to", "needs a server of its own"),
        ('mail_to = ["nobody"]\nmail_server = "a.test"', "alarms.mail_to[0]", "is no address"),
        (f'{MAIL}mail_server = "a.test"\nmail_from = "me"', "alarms.mail_from", "is no address"),
        (f'{MAIL}mail_server = "[::1"', "alarms.mail_server", "is no server"),
        (f'{MAIL}mail_server = "a.test"\nmail_username = "u"', "alarms.mail_username", "needs mail_username and"),
        (
            f'{MAIL}mail_server = "a.test"\nmail_username = "u"\nmail_password = "env:HOME"\nmail_tls = "None"',
            "alarms.mail_tls", "never sent in clear",
        ),
        ('webhook_url = "ftp://a.test/"', "alarms.webhook_url", "no https"),
        ('webhook_url = "http://a.test/"', "alarms.webhook_url", "under TLS only"),
        ('webhook_url = "https://u:p@a.test/"', "alarms.webhook_url", "no https"),
        ('webhook_url = "https://a.test:x/"', "alarms.webhook_url", "no address"),
        ('webhook_secret = "s3cret"', "alarms.webhook_secret", "does not stand in the configuration"),
        ('command = ["page-me"]', "alarms.command[0]", "no program that can be run"),
        ("certificate_expiry_days = [30, 0]", "alarms.certificate_expiry_days[1]", "out of range"),
        ("aggregate_delivery_queue_length_critical = 10", "alarms.aggregate_delivery_queue_length_critical", "below"),
        ('oldest_message_age = "91d"', "alarms.oldest_message_age", "out of range"),
        ("peer_failure_share = 1.5", "alarms.peer_failure_share", "out of range"),
    ],
)  # fmt: skip
def test_the_check_says_no(tmp_path: Path, settings: str, path: str, message: str) -> None:
    found = findings(tmp_path, f"[alarms]\n{settings}\n")
    assert [(where, error) for where, text, error in found if message in text] == [(path, True)], found
    assert "s3cret" not in str([text for _, text, _ in found])


def test_a_route_through_this_server_is_no_independent_one(tmp_path: Path) -> None:
    [(path, message, error)] = findings(tmp_path, f'[alarms]\n{MAIL}mail_server = "127.0.0.1:25"\n')
    assert (path, error) == ("alarms.mail_server", False)
    assert "would wait in the queue that they are about" in message


@pytest.mark.parametrize(("text", "is_error"), [("nonsense", True), ("0.0.0.0:9464", False)])
def test_where_probes_are_answered(tmp_path: Path, text: str, is_error: bool) -> None:
    [(path, _, error)] = findings(tmp_path, f'[monitoring]\nprobe_listen = "{text}"\n')
    assert (path, error) == ("monitoring.probe_listen", is_error)


def test_sound_settings_pass(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x\n")
    settings = (
        f'[alarms]\n{MAIL}mail_server = "[192.0.2.1]:587"\nmail_username = "u"\n'
        f'mail_password = "file:{tmp_path}/secret"\nwebhook_url = "https://a.test/x"\n'
        f'webhook_secret = "file:{tmp_path}/secret"\ncommand = ["/bin/sh"]\n'
        '[monitoring]\nprobe_listen = "127.0.0.1:9464"\n'
    )
    assert findings(tmp_path, settings) == []
