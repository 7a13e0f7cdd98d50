# SPDX-License-Identifier: MIT
"""`device list`, `show`, `test` and `unknown` over real counts and the configuration."""

from pathlib import Path

from bridgehead.receive.settings import Device, PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import AcceptedDomain
from support.cli import Commands
from support.running_server import NOW, running

PRINTER = Device(
    name="printer-3", remote_ip_ranges=["10.2.0.17"], owner="Anna", rewrite_sender="devices@contoso.com",
    allowed_recipients=["*@fabrikam.com"],
)  # fmt: skip


def test_devices_are_listed_and_shown(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        assert "device unknown" in commands("device", "list").output
        devices = server.server.devices
        devices.reconfigure([PRINTER])
        assert "never" in commands("device", "list").output
        use = devices.book.use("printer-3")
        use.came(NOW, "10.2.0.17", "Default")
        use.spoke("printer", "", "root@localhost")
        use.accepted(NOW, 4096, rewritten=True)
        use.refused(NOW, "550 5.7.1 This device may not send to this recipient")
        [one] = commands.json("device", "list")["devices"]
        assert (one["messages"], one["errors"], one["tls_seen"]) == (1, 1, "")
        output = commands("device", "show", "PRINTER-3").output
        for text in ("Anna", "1 of them rewritten", "This device may not send", "alarm by its habit", "TLS none"):
            assert text in output
        assert 'no device "fax"' in commands("device", "show", "fax", code=1).stderr
        assert "Nobody sends" in commands("device", "unknown").output


def test_a_trial_works_without_a_server(tmp_path: Path) -> None:
    connector = ReceiveConnector(
        name="Default", bindings=["0.0.0.0:25"], permission_groups=[PermissionGroup.ANONYMOUS_USERS]
    )
    commands = Commands(
        tmp_path, devices=[PRINTER], receive_connectors=[connector],
        accepted_domains=[AcceptedDomain(domain_name="contoso.com")],
    )  # fmt: skip
    done = commands("device", "test", "10.2.0.17", "--from", "scanner", "--to", "x@fabrikam.com")
    assert "it becomes <devices@contoso.com>" in done.output
    assert 'From: "scanner" <devices@contoso.com>' in done.output
    found = commands.json("device", "test", "printer-3", "--from", "scanner", "--to", "x@y.test", code=1)
    assert (found["device"], found["accepted"]) == ("printer-3", False)
    match = commands("connector", "match", "--from", "10.2.0.17").output
    assert "the device printer-3" in match
