# SPDX-License-Identifier: MIT
"""What receive learns of a forward-path at RCPT."""

import pytest

from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.validity import Validity, validity
from bridgehead.mail.address import Mailbox
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain, DomainType

DOMAINS = AcceptedDomains(
    [
        AcceptedDomain(domain_name="contoso.com"),
        AcceptedDomain(domain_name="partner.example", domain_type=DomainType.INTERNAL_RELAY),
        AcceptedDomain(domain_name="away.example", domain_type=DomainType.EXTERNAL_RELAY),
    ]
)
ANNA = Recipient(name="Anna", type=RecipientType.MAILBOX, primary_smtp_address=Mailbox("anna", "contoso.com"))


@pytest.mark.parametrize(
    ("local", "domain", "expected"),
    [
        ("anna", "contoso.com", Validity.KNOWN),
        ("Anna+x", "CONTOSO.com", Validity.KNOWN),
        ("nobody", "contoso.com", Validity.UNKNOWN),
        ("nobody", "partner.example", Validity.KNOWN),
        ("nobody", "away.example", Validity.KNOWN),
        ("anna", "elsewhere.example", Validity.FOREIGN),
        ("anna", "[192.0.2.1]", Validity.FOREIGN),
        ("Postmaster", "contoso.com", Validity.KNOWN),
        ("postmaster", "", Validity.KNOWN),
        ("anna", "", Validity.UNKNOWN),
        ("postmaster", "elsewhere.example", Validity.FOREIGN),
    ],
)
def test_validity(local: str, domain: str, expected: Validity) -> None:
    assert validity(Mailbox(local, domain), MemoryDirectory([ANNA]), DOMAINS) is expected
