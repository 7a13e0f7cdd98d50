# SPDX-License-Identifier: MIT
"""Short ways to write recipients, messages and configurations in the tests of this room."""

from collections.abc import Iterable, Sequence

from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.resolution import Resolution
from bridgehead.categorizer.resolve import resolve
from bridgehead.categorizer.settings import CategorizerSettings
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import Mailbox, parse_mailbox
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem
from bridgehead.mail.units import ByteSize, Count
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection
from bridgehead.routing.settings import AcceptedDomain, DomainType, ForeignConnector, SendConnector

NOW = 1_800_000_000.0
SENDER = "sender@outside.example"
DOMAINS = [
    AcceptedDomain(domain_name="contoso.com"),
    AcceptedDomain(domain_name="second.example"),
    AcceptedDomain(domain_name="partner.example", domain_type=DomainType.INTERNAL_RELAY),
    AcceptedDomain(domain_name="away.example", domain_type=DomainType.EXTERNAL_RELAY),
]


def a(text: str) -> Mailbox:
    """An address; "" is the null reverse-path, "postmaster" the bare one."""
    return parse_mailbox(text) if "@" in text else Mailbox(text, "")


def recipient(name: str, kind: RecipientType = RecipientType.MAILBOX, **settings: object) -> Recipient:
    """A directory object with the address NAME@contoso.com."""
    for field in ("external_email_address", "forwarding_address"):
        if isinstance(text := settings.get(field), str):
            settings[field] = a(text)
    if isinstance(aliases := settings.pop("aliases", None), tuple):
        settings["email_addresses"] = tuple(a(alias) for alias in aliases)
    return Recipient(name=name, type=kind, primary_smtp_address=a(f"{name}@contoso.com"), **settings)  # type: ignore[arg-type]


def mailbox(name: str, **settings: object) -> Recipient:
    return recipient(name, **settings)


def group(name: str, *members: str, **settings: object) -> Recipient:
    return recipient(name, RecipientType.GROUP, members=members, **settings)


def contact(name: str, target: str, **settings: object) -> Recipient:
    return recipient(name, RecipientType.MAIL_CONTACT, external_email_address=target, **settings)


def mail_flow(
    recipients: Iterable[Recipient] = (),
    *,
    connectors: Sequence[SendConnector] = (SendConnector(name="out", address_spaces=["*"]),),
    foreign: Sequence[ForeignConnector] = (),
    domains: Sequence[AcceptedDomain] = tuple(DOMAINS),
    **limits: object,
) -> MailFlow:
    units = {"max_send_size": ByteSize, "max_receive_size": ByteSize, "max_recipient_envelope_limit": Count}
    settings = CategorizerSettings(**{name: units.get(name, int)(value) for name, value in limits.items()})  # type: ignore[arg-type, call-overload]
    accepted = AcceptedDomains(domains)
    return MailFlow(
        directory=MemoryDirectory(recipients),
        accepted_domains=accepted,
        connectors=ConnectorSelection(connectors, foreign, accepted),
        mailbox_store="Mailboxes",
        settings=settings,
    )


def message(*recipients: str | EnvelopeRecipient, sender: str = SENDER, size: int = 1000, **facts: object) -> MailItem:
    """A message to these recipients."""
    return MailItem(
        internal_message_id=1,
        network_message_id="0a0b",
        received_at=NOW,
        size=size,
        envelope=Envelope(
            a(sender),
            [each if isinstance(each, EnvelopeRecipient) else EnvelopeRecipient(a(each)) for each in recipients],
        ),
        **facts,  # type: ignore[arg-type]
    )


def to(address: str, notify: Notify = Notify.UNSPECIFIED, original: str = "") -> EnvelopeRecipient:
    return EnvelopeRecipient(a(address), notify, original)


def resolved(recipients: Iterable[Recipient], item: MailItem, **limits: object) -> Resolution:
    resolution, steps = resolve(item, mail_flow(recipients, **limits), NOW)
    for _ in steps:
        pass
    return resolution


def places(resolution: Resolution) -> list[str]:
    """Where the copies go, in any order: "=NAME" for mailboxes."""
    return sorted(
        f"={each.mailbox}" if each.mailbox else str(each.forward_path)
        for copy in resolution.copies()
        for each in copy.pending
    )


def failures(resolution: Resolution) -> list[tuple[str, str]]:
    """Who fails with which status."""
    return sorted(
        (str(each.forward_path), status.status)
        for copy in resolution.copies()
        for each, status in copy.results
        if status.action == "failed"
    )


def events(resolution: Resolution) -> list[tuple[str, str, str]]:
    """What is tracked: event, recipients, related recipient."""
    return [
        (each.event_id, ";".join(each.recipient_address), each.related_recipient_address) for each in resolution.events
    ]
