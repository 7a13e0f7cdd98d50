# SPDX-License-Identifier: MIT
from collections.abc import Sequence

import pytest

from bridgehead.admin.connector.connectors import list_connectors, match_receive, match_send
from bridgehead.admin.faults import AdminFault
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.user_record import User
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.units import ByteSize
from bridgehead.receive.settings import (
    Device,
    ExtendedRight,
    Grantee,
    PermissionGroup,
    ReceiveConnector,
    Right,
)
from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, SendConnector


class Settings:
    """The connectors' part of a configuration."""

    def __init__(
        self, receive: Sequence[ReceiveConnector] = (), send: Sequence[SendConnector] = (),
        foreign: Sequence[ForeignConnector] = (),
    ) -> None:  # fmt: skip
        self.accepted_domains = [AcceptedDomain(domain_name="contoso.com")]
        self.receive_connectors, self.send_connectors, self.foreign_connectors = receive, send, foreign
        self.devices: list[Device] = []


INTERNET = ReceiveConnector(
    name="Internet", bindings=["0.0.0.0:25"], permission_groups=[PermissionGroup.ANONYMOUS_USERS]
)
PRINTERS = ReceiveConnector(
    name="Printers",
    bindings=["0.0.0.0:25"],
    remote_ip_ranges=["10.2.0.0/24"],
    permission_groups=[PermissionGroup.ANONYMOUS_USERS],
    extended_rights=[ExtendedRight(principal=Grantee.ANONYMOUS, grant=[Right.ACCEPT_ANY_RECIPIENT])],
)
CLIENT = ReceiveConnector(name="Client", bindings=["0.0.0.0:587"], permission_groups=[PermissionGroup.EXCHANGE_USERS])
ANNA = Recipient(name="anna", type=RecipientType.MAILBOX, primary_smtp_address=parse_mailbox("anna@contoso.com"))


def test_the_most_specific_range_wins_and_the_others_are_told_why_not() -> None:
    found = match_receive(Settings([INTERNET, PRINTERS, CLIENT]), client_ip="10.2.0.17", port=25)
    assert found.connector == "Printers"
    assert "10.2.0.0/24" in found.reason
    reasons = {other.connector: other.reason for other in found.others}
    assert "less specific" in reasons["Internet"]
    assert "does not listen" in reasons["Client"]


def test_rights_are_told_with_what_grants_them() -> None:
    found = match_receive(Settings([INTERNET, PRINTERS]), client_ip="10.2.0.17", port=25)
    rights = {right.right: right for right in found.rights}
    assert len(rights) == len(Right)
    assert rights["ms-Exch-SMTP-Submit"].reason == "granted by permission group AnonymousUsers"
    assert rights["ms-Exch-SMTP-Accept-Any-Recipient"].reason == "granted by extended_rights"
    assert not rights["ms-Exch-Accept-Headers-Organization"].held
    assert found.limits["max_message_size"] == "36 MB"
    assert found.principal == "anonymous"
    assert not found.counts_as_inside


def test_relaying_is_tried_as_the_server_would_decide_it() -> None:
    settings, directory = Settings([INTERNET, PRINTERS]), MemoryDirectory([ANNA])
    recipients = ["x@fabrikam.com", "anna@contoso.com", "nobody@contoso.com", "postmaster"]

    def accepted(client_ip: str) -> list[bool]:
        found = match_receive(settings, client_ip=client_ip, port=25, recipients=recipients, directory=directory)
        return [check.accepted for check in found.checks]

    assert accepted("10.2.0.17") == [True, True, False, True]
    assert accepted("203.0.113.9") == [False, True, False, True]


def test_a_login_has_its_own_rights_and_sends_as_its_own_addresses_only() -> None:
    user = User(name="scanner", addresses=("scanner@contoso.com",))
    settings = Settings([INTERNET, CLIENT])
    for sender, accepted in (("scanner@contoso.com", True), ("ceo@contoso.com", False), ("<>", True)):
        found = match_receive(settings, client_ip="192.0.2.1", port=587, login=user, sender=sender)
        assert found.principal == "user:scanner"
        assert found.counts_as_inside
        assert [check.accepted for check in found.checks] == [accepted], sender


def test_a_client_that_no_connector_takes_is_told_so() -> None:
    found = match_receive(Settings([PRINTERS]), client_ip="192.0.2.1", port=25)
    assert found.connector == ""
    assert [other.reason for other in found.others] == ["no remote range of it contains 192.0.2.1"]


def test_where_it_depends_on_the_local_address_it_must_be_given() -> None:
    one = ReceiveConnector(name="One", bindings=["10.0.0.1:25"])
    two = ReceiveConnector(name="Two", bindings=["10.0.0.2:25"])
    settings = Settings([one, two])
    with pytest.raises(AdminFault) as caught:
        match_receive(settings, client_ip="192.0.2.1", port=25)
    assert "10.0.0.1, 10.0.0.2" in caught.value.message
    assert "--to-address" in caught.value.remedy
    assert match_receive(settings, client_ip="192.0.2.1", port=25, local_ip="10.0.0.2").connector == "Two"
    assert match_receive(Settings([one]), client_ip="192.0.2.1", port=25).connector == "One"


def test_a_port_on_which_nobody_listens_and_text_that_is_no_address_are_refused() -> None:
    with pytest.raises(AdminFault, match="port 26") as caught:
        match_receive(Settings([INTERNET, CLIENT]), client_ip="192.0.2.1", port=26)
    assert "25, 587" in caught.value.remedy
    with pytest.raises(AdminFault, match="no IP address"):
        match_receive(Settings([INTERNET]), client_ip="printer", port=25)
    with pytest.raises(AdminFault, match="is no address"):
        match_receive(Settings([INTERNET]), client_ip="192.0.2.1", port=25, sender="a b@c")


def test_a_send_connector_is_named_with_next_hop_and_the_reasons_against_the_others() -> None:
    settings = Settings(
        send=[
            SendConnector(name="Internet", address_spaces=["*"]),
            SendConnector(name="Partner", address_spaces=["fabrikam.com"], smart_hosts=["gw.fabrikam.com"]),
            SendConnector(name="Old", address_spaces=["fabrikam.com"], enabled=False),
        ],
        foreign=[ForeignConnector(name="Fax", address_spaces=["fax.local"], drop_directory="fax")],
    )
    found = match_send(settings, "x@fabrikam.com")
    assert (found.connector, found.next_hop, found.delivery_type) == (
        "Partner",
        "gw.fabrikam.com",
        "SmartHostConnectorDelivery",
    )
    assert {other.connector for other in found.others} == {"Internet", "Old", "Fax"}
    assert match_send(settings, "x@anything.example").next_hop == "anything.example"
    assert match_send(settings, "x@fax.local").delivery_type == "NonSmtpGatewayDelivery"
    assert "directory" in match_send(settings, "x@contoso.com").reason


def test_no_route_and_too_large_are_told_apart() -> None:
    settings = Settings(
        send=[SendConnector(name="Small", address_spaces=["a.example"], max_message_size=ByteSize(1000))]
    )
    assert "Unreachable" in match_send(settings, "x@b.example").reason
    assert "more than every connector" in match_send(settings, "x@a.example", 2000).reason


def test_the_list_has_every_connector() -> None:
    found = list_connectors(
        Settings(
            [INTERNET, PRINTERS],
            [SendConnector(name="S", address_spaces=["*"])],
            [ForeignConnector(name="F", address_spaces=["f.local"], drop_directory="d")],
        )
    )
    assert [one.name for one in found.receive] == ["Internet", "Printers"]
    assert [one.name for one in found.send] == ["S"]
    assert [one.name for one in found.foreign] == ["F"]
