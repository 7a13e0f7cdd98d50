# SPDX-License-Identifier: MIT
"""The routing table in force as XML: domains, connectors with their address spaces, mailbox store (pure).

What Exchange's routing table log (`RoutingConfig#…xml`) is for: to see later by which table a message was routed, and
what two tables differ in. Element names are Exchange's parameter names. Credentials are left out.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree

import msgspec

from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, MailboxStore, SendConnector

_SECRET: Final = ("authentication_", "password", "secret", "token")
"""Parts of names of settings that hold or name credentials."""


def routing_table(
    *, server: str, time: str, accepted_domains: Sequence[AcceptedDomain], send_connectors: Sequence[SendConnector],
    foreign_connectors: Sequence[ForeignConnector], mailbox_store: MailboxStore,
) -> bytes:  # fmt: skip
    """The document, UTF-8.

    Args:
        time: when it came into force, ISO 8601.
    """
    root = ElementTree.Element("RoutingTables", {"Server": server, "WhenCreated": time})
    _add_all(root, "AcceptedDomains", "AcceptedDomain", accepted_domains)
    _add_all(root, "SendConnectors", "SendConnector", send_connectors)
    _add_all(root, "ForeignConnectors", "ForeignConnector", foreign_connectors)
    _add(root, "MailboxStore", mailbox_store)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_all(root: ElementTree.Element, plural: str, tag: str, settings: Iterable[msgspec.Struct]) -> None:
    group = ElementTree.SubElement(root, plural)
    for one in settings:
        _add(group, tag, one)


def _add(parent: ElementTree.Element, tag: str, settings: msgspec.Struct) -> None:
    element = ElementTree.SubElement(parent, tag)
    for field in msgspec.structs.fields(settings):
        if any(part in field.name for part in _SECRET):
            continue
        value = getattr(settings, field.name)
        name = "".join(part.capitalize() for part in field.name.split("_"))
        for one in value if isinstance(value, list) else [value]:
            ElementTree.SubElement(element, name).text = _text(one)


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    text = str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
