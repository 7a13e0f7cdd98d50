# SPDX-License-Identifier: MIT
from xml.etree import ElementTree

from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, MailboxStore, SendConnector
from bridgehead.routing.snapshot import routing_table

CANARY = "c4nary-credential"


def document(**changes: str) -> ElementTree.Element:
    connector = SendConnector(
        name='To "Fabrikam" <&>', address_spaces=["SMTP:fabrikam.test;5", "*.fabrikam.test"],
        smart_hosts=["mx.fabrikam.test:587"], authentication_username=CANARY, authentication_password=f"env:{CANARY}",
        comment="a\x07bell\nand a line", require_tls=True,
    )  # fmt: skip
    data = routing_table(
        server="mx.contoso.test", time="2026-11-23T09:00:00.000Z",
        accepted_domains=[AcceptedDomain(domain_name="contoso.test")], send_connectors=[connector],
        foreign_connectors=[ForeignConnector(name="Fax", address_spaces=["FAX:*"], drop_directory="/drop")],
        mailbox_store=MailboxStore(),
    )  # fmt: skip
    assert CANARY.encode() not in data
    return ElementTree.fromstring(data)


def test_every_connector_stands_in_it_with_its_address_spaces() -> None:
    root = document()
    assert root.attrib == {"Server": "mx.contoso.test", "WhenCreated": "2026-11-23T09:00:00.000Z"}
    (connector,) = root.findall("SendConnectors/SendConnector")
    assert connector.findtext("Name") == 'To "Fabrikam" <&>'
    assert [one.text for one in connector.findall("AddressSpaces")] == ["SMTP:fabrikam.test;5", "*.fabrikam.test"]
    assert [one.text for one in connector.findall("SmartHosts")] == ["mx.fabrikam.test:587"]
    assert connector.findtext("Enabled") == "true"
    assert connector.findtext("RequireTls") == "true"
    assert root.findtext("ForeignConnectors/ForeignConnector/DropDirectory") == "/drop"
    assert root.findtext("AcceptedDomains/AcceptedDomain/DomainName") == "contoso.test"
    assert root.findtext("MailboxStore/Protocol") == "Maildir"


def test_credentials_are_left_out_and_control_characters_replaced() -> None:
    connector = document().find("SendConnectors/SendConnector")
    assert connector is not None
    assert connector.find("AuthenticationUsername") is None
    assert connector.find("AuthenticationPassword") is None
    assert connector.findtext("Comment") == "a bell and a line"
