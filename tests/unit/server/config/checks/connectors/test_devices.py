# SPDX-License-Identifier: MIT
"""What the check says of [[devices]], and where."""

from pathlib import Path

import pytest

from support.checked import Found, found

BASE = (
    '[[accepted_domains]]\ndomain_name = "contoso.test"\n'
    '[[receive_connectors]]\nname = "Default"\nbindings = ["0.0.0.0:25"]\npermission_groups = ["AnonymousUsers"]\n'
    'remote_ip_ranges = ["10.0.0.0/8"]\n'
)
DEVICE = '[[devices]]\nname = "printer-3"\nremote_ip_ranges = ["10.2.0.17"]\n'
BOUND = DEVICE + 'rewrite_sender = "s@contoso.test"\n'


def findings(folder: Path, text: str) -> Found:
    return found(folder, BASE + text)


@pytest.mark.parametrize(
    ("text", "path", "message", "is_error"),
    [
        (DEVICE, "devices[0].allowed_senders", "could send as nobody", True),
        (BOUND + BOUND.replace("printer-3", "b"), "devices[1].remote_ip_ranges[0]", 'is the device "printer-3"', True),
        (
            BOUND + 'receive_connectors = ["Devices"]\n',
            "devices[0].receive_connectors[0]",
            "no receive connector",
            True,
        ),
        (BOUND + 'default_domain = "fabrikam.test"\n', "devices[0].default_domain", "not an accepted domain", True),
        (BOUND + 'max_message_size = "1 KB"\n', "devices[0].max_message_size", "out of range", True),
        (BOUND + "message_rate_limit = 0\n", "devices[0].message_rate_limit", "out of range", True),
        (BOUND + 'allowed_senders = ["x"]\n', "devices[0].allowed_senders[0]", '"x"', True),
        (BOUND + 'tls = "Maybe"\n', "devices[0].tls", "Maybe", True),
        (BOUND + 'tls_minimum_version = "1.0"\n', "devices[0].tls_minimum_version", "can be broken", False),
        (BOUND.replace("10.2.0.17", "192.0.2.1"), "devices[0].remote_ip_ranges", "no receive connector takes", False),
        (BOUND.replace("s@contoso", "s@other"), "devices[0].rewrite_sender", "not an accepted domain", False),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    text: str, path: str, message: str, is_error: bool, tmp_path: Path
) -> None:
    [found] = findings(tmp_path, text)
    assert found[0] == path
    assert message in found[1]
    assert found[2] is is_error


def test_a_sound_device_has_no_problems(tmp_path: Path) -> None:
    assert findings(tmp_path, BOUND + 'silence_after = "3.00:00:00"\nreceive_connectors = ["default"]\n') == []
