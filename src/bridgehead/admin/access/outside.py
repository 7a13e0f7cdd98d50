# SPDX-License-Identifier: MIT
"""Recipients' addresses in domains that are not accepted: mail for them is another server's, so that only those who may
relay reach them here.
"""

from collections.abc import Iterable

import msgspec

from bridgehead.directory.recipient import Recipient
from bridgehead.routing.accepted_domain import AcceptedDomains


class OutsideDomain(msgspec.Struct):
    """A domain that is not accepted, and how many addresses are in it."""

    domain: str
    example: str
    addresses: int = 0

    def __str__(self) -> str:
        """What is wrong."""
        if self.addresses == 1:
            return f"{self.example} is in no accepted domain: only who may relay reaches it"
        return (
            f"{self.addresses} addresses in {self.domain}, such as {self.example}, are in no accepted domain: "
            "only who may relay reaches them"
        )

    @property
    def remedy(self) -> str:
        """What to do."""
        return f'add [[accepted_domains]] with domain_name = "{self.domain}", and reload'


def outside(recipients: Iterable[Recipient], accepted: AcceptedDomains) -> list[OutsideDomain]:
    """The domains, in the order in which they occur. The place where a contact's or mail user's mail really goes is no
    address that anybody is to reach here."""
    found: dict[str, OutsideDomain] = {}
    covered: dict[str, bool] = {}
    for recipient in recipients:
        elsewhere = recipient.external_email_address
        addresses = {one.key: one for one in (recipient.primary_smtp_address, *recipient.email_addresses)}
        for key, address in addresses.items():
            domain = address.domain_key
            if domain not in covered:
                covered[domain] = accepted.find(domain) is not None
            if covered[domain] or (elsewhere is not None and elsewhere.key == key):
                continue
            found.setdefault(domain, OutsideDomain(address.domain, str(address))).addresses += 1
    return list(found.values())
