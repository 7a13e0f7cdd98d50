# SPDX-License-Identifier: MIT
"""What people see of devices: counts, what would become of their mail, and proposals for senders that are none."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.connector.connectors import match_receive
from bridgehead.admin.connector.devices import inventory, list_devices, show_device, test_device
from bridgehead.admin.faults import AdminFault
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.user_record import User
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.units import Duration
from bridgehead.receive.settings import Device, DeviceTls, PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import AcceptedDomain, SendConnector
from bridgehead.server.config.check import load_checked
from bridgehead.server.devices import DeviceWatch
from bridgehead.tracking.event_line import FoundEvent
from support.clock import JumpingClock

ANNA = Recipient(name="anna", type=RecipientType.MAILBOX, primary_smtp_address=parse_mailbox("anna@contoso.com"))
PRINTER = Device(
    name="printer-3", remote_ip_ranges=["10.2.0.17"], owner="Anna", allowed_senders=["scanner@contoso.com"],
    rewrite_sender="devices@contoso.com", allowed_recipients=["*@fabrikam.com", "anna@contoso.com"],
    default_domain="contoso.com",
)  # fmt: skip


class Settings:
    """The connectors' part of a configuration."""

    def __init__(self, *devices: Device) -> None:
        self.accepted_domains = [AcceptedDomain(domain_name="contoso.com")]
        self.receive_connectors = [
            ReceiveConnector(
                name="Default", bindings=["0.0.0.0:25"], permission_groups=[PermissionGroup.ANONYMOUS_USERS]
            )
        ]
        self.send_connectors = [SendConnector(name="Internet", address_spaces=["*"])]
        self.foreign_connectors: list[Any] = []
        self.devices = list(devices)


def tried(client: str, sender: str, *recipients: str, author: str = "") -> Any:
    return test_device(
        Settings(PRINTER), MemoryDirectory([ANNA]), client_ip=client, port=25, local_ip="", sender=sender,
        author=author, recipients=recipients,
    )  # fmt: skip


@pytest.mark.parametrize("client", ["10.2.0.17", "PRINTER-3"])
def test_what_would_become_of_a_printers_mail(client: str) -> None:
    found = tried(client, "fax", "x@fabrikam.com", "anna@contoso.com", author="Fax <fax@localhost>")
    assert (found.connector, found.device, found.principal) == ("Default", "printer-3", "device:printer-3")
    assert "10.2.0.17 is the narrowest" in found.reason
    assert found.accepted
    mail, author, *_ = found.checks
    assert (mail.address, mail.reason) == ("<fax>", "it becomes <devices@contoso.com>")
    assert author.reason == "it becomes From: Fax <devices@contoso.com>; Reply-To: Fax <fax@localhost>"
    assert found.routes[0] == 'x@fabrikam.com: x@fabrikam.com by "Internet" to fabrikam.com'


def test_its_own_sender_is_completed_and_stays() -> None:
    mail, author = tried("10.2.0.17", "scanner", author="scanner@contoso.com").checks
    assert (mail.accepted, mail.reason) == (True, "it becomes <scanner@contoso.com>")
    assert author.reason == "it stays as it is"


def test_what_is_refused_says_why() -> None:
    found = tried("10.2.0.17", "scanner", "x@woodgrove.com", "nobody@contoso.com")
    assert not found.accepted
    assert [check.reason for check in found.checks if not check.accepted] == ["not among its allowed_recipients"] * 2
    other = tried("10.2.0.18", "scanner@contoso.com", "x@fabrikam.com")
    assert (other.device, other.principal, other.accepted) == ("", "anonymous", False)
    assert "no range of a device" in other.reason
    with pytest.raises(AdminFault, match="neither an IP address nor a device"):
        tried("printer-9", "a@b.test")


def test_a_connector_is_told_as_it_is_for_the_device() -> None:
    found = match_receive(Settings(PRINTER), client_ip="10.2.0.17", port=25)
    assert found.device == "printer-3"
    rights = {right.right: right for right in found.rights}
    assert rights["ms-Exch-SMTP-Accept-Any-Recipient"].held
    assert "settings of the device" in rights["ms-Exch-SMTP-Submit"].reason
    login = match_receive(Settings(PRINTER), client_ip="10.2.0.17", port=25, login=User(name="ann"))
    assert login.device == ""


# --- counts and silence ---------------------------------------------------------------------------------------------


def test_devices_are_listed_with_what_was_counted(tmp_path: Path) -> None:
    clock = JumpingClock()
    watch = DeviceWatch([PRINTER], tmp_path / "devices.json", clock.now)
    use = watch.book.use("printer-3")
    use.came(clock.now(), "10.2.0.17", "Default")
    use.spoke("printer", "version=TLSv1.0, cipher=X", "fax@localhost")
    use.accepted(clock.now(), 2048, rewritten=True)
    [one] = list_devices(watch, Settings(PRINTER)).devices
    assert (one.messages, one.octets, one.rewritten, one.tls_seen, one.helo) == (1, 2048, 1, "TLSv1.0", "printer")
    assert one.path == ["in: Default", 'out: fabrikam.com by "Internet" to fabrikam.com', one.path[2]]
    assert one.last_seen is not None
    assert one.last_seen.timestamp() == clock.now()
    assert show_device(watch, Settings(PRINTER), "Printer-3") == one
    with pytest.raises(AdminFault, match='there is no device "fax"'):
        show_device(watch, Settings(PRINTER), "fax")


def test_silence_is_alarmed_after_its_time_and_ends_with_mail(tmp_path: Path) -> None:
    clock, file = JumpingClock(), tmp_path / "devices.json"
    timed = msgspec.structs.replace(PRINTER, silence_after=Duration(days=3))
    watch = DeviceWatch([timed], file, clock.now)
    assert list(watch.conditions()) == []
    clock.advance(3 * 86_400 + 1)
    [silent] = watch.conditions()
    assert silent.id == "device_silent/printer-3"
    assert silent.severity is not None
    assert silent.text == (
        "the device printer-3 has sent nothing for 3 d, at least every 3 d is expected; Anna answers for it"
    )
    watch.book.use("printer-3").accepted(clock.now(), 1, rewritten=False)
    [over] = watch.conditions()
    assert (over.id, over.severity) == ("device_silent/printer-3", None)
    assert list(watch.conditions()) == []
    clock.advance(2 * 86_400)
    watch.save()
    clock.advance(30 * 86_400)
    again = DeviceWatch([timed], file, clock.now)
    assert list(again.conditions()) == [], "time without a server is nobody's silence"
    clock.advance(86_401)
    assert [one.id for one in again.conditions()] == ["device_silent/printer-3"]
    again.reconfigure([])
    assert [one.severity for one in again.conditions()] == [None]


def test_the_wall_clock_may_jump(tmp_path: Path) -> None:
    clock = JumpingClock()
    timed = msgspec.structs.replace(PRINTER, silence_after=Duration(hours=1))
    watch = DeviceWatch([timed], tmp_path / "devices.json", clock.now)
    clock.set_wall_clock(clock.now() - 400 * 86_400)
    assert list(watch.conditions()) == []


def test_a_device_with_a_time_of_its_own_is_not_judged_by_habit(tmp_path: Path) -> None:
    timed = msgspec.structs.replace(PRINTER, name="timed", silence_after=Duration(days=3))
    watch = DeviceWatch([PRINTER, timed], tmp_path / "devices.json", JumpingClock().now)
    assert watch.is_timed("device:timed")
    assert not watch.is_timed("device:printer-3")
    assert not watch.is_timed("timed")


def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "devices.json"
    file.write_text("{")
    assert DeviceWatch([PRINTER], file, JumpingClock().now).book.known("printer-3") is not None


# --- senders that are no device ---------------------------------------------------------------------------------------


def received(client: str, sender: str, *recipients: str, data: str = "S:Principal=anonymous", helo: str = "fax") -> Any:
    return FoundEvent(
        date_time="2026-11-23T09:00:00.000Z", client_ip=client, client_hostname=helo, connector_id="mx\\Default",
        source="SMTP", event_id="RECEIVE", recipient_address=list(recipients), return_path=sender, custom_data=data,
    )  # fmt: skip


def test_unknown_senders_are_listed_with_a_table_to_paste(tmp_path: Path) -> None:
    events = [
        received("10.2.0.30", "fax@contoso.com", "x@fabrikam.com", data="S:TlsVersion=TLSv1.0;S:Principal=anonymous"),
        received("10.2.0.30", "root@localhost", "anna@contoso.com"),
        received("10.2.0.31", "<>", "anna@contoso.com", helo='x"\nname = "forged'),
        received("10.2.0.17", "scanner@contoso.com", "x@y.test", data="S:Principal=device:printer-3"),
        received("10.2.0.40", "ann@contoso.com", "x@y.test", data="S:Principal=user:ann"),
    ]
    found = inventory(events, Settings(PRINTER), complete=True)
    assert found.messages == 5
    fax, other = found.senders
    assert (fax.client_ip, fax.messages, fax.outside, fax.tls) == ("10.2.0.30", 2, 1, ["TLSv1.0", "none"])
    [table] = tomllib.loads(fax.proposal)["devices"]
    assert table["allowed_senders"] == ["fax@contoso.com"]
    assert table["rewrite_sender"] == "fax@contoso.com"
    assert table["allowed_recipients"] == ["*@contoso.com", "*@fabrikam.com"]
    assert table["tls_minimum_version"] == "1.0"
    [second] = tomllib.loads(other.proposal)["devices"]
    assert (second["name"], second["tls"], second["rewrite_sender"]) == (
        "device-10.2.0.31",
        "Off",
        "devices@contoso.com",
    )
    file = tmp_path / "bridgehead.toml"
    own = '[[accepted_domains]]\ndomain_name = "contoso.com"\n'
    own += '[[receive_connectors]]\nname = "D"\nbindings = ["0.0.0.0:25"]\n'
    file.write_text(own + fax.proposal + other.proposal)
    assert [one.tls for one in load_checked(file).configuration.devices] == [DeviceTls.CONNECTOR, DeviceTls.OFF]


def test_the_inventory_says_where_it_is_not_whole() -> None:
    events = [received(f"10.3.{number // 250}.{number % 250}", "a@b.test", "anna@contoso.com") for number in range(201)]
    found = inventory(events, Settings(), complete=True)
    assert len(found.senders) == 200
    assert not found.complete
