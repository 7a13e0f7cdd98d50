# SPDX-License-Identifier: MIT
"""Bifurcation: one part for each next hop and reverse-path, none with more recipients than a copy may have. Pure."""

from collections.abc import Generator

import msgspec

from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.refusals import TLS_NOT_ASSURED, TOO_LARGE_FOR_ROUTE
from bridgehead.categorizer.resolution import Copy
from bridgehead.categorizer.route import route
from bridgehead.mail.address import Mailbox
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.item import Handling, TlsRequirement
from bridgehead.routing.connector_selection import Outcome
from bridgehead.routing.next_hop import DeliveryType, NextHop, with_requirement


class Part(msgspec.Struct):
    """Recipients that are treated alike. `next_hop` is None where no connector serves them, `handling` says by which
    standing rule they are held."""

    reverse_path: Mailbox
    next_hop: NextHop | None
    recipients: list[EnvelopeRecipient]
    handling: Handling | None = None


def bifurcate(
    copies: list[Copy], size: int, mail_flow: MailFlow, requirement: TlsRequirement = TlsRequirement.NONE
) -> Generator[None, None, list[Part]]:
    """Split copies by next hop; pauses after each recipient. Recipients that no connector takes at this size, or as
    `requirement` asks, move from pending to results."""
    parts: list[Part] = []
    limit = max(1, mail_flow.settings.expansion_size_limit)
    for copy in copies:
        by_next_hop: dict[NextHop | None, list[EnvelopeRecipient]] = {}
        for recipient in copy.pending:
            yield
            selection = route(recipient, size, mail_flow)
            if selection.outcome is Outcome.TOO_LARGE:
                copy.results.append((recipient, TOO_LARGE_FOR_ROUTE))
                continue
            next_hop = selection.next_hop
            if requirement and next_hop is not None:
                if requirement is TlsRequirement.REQUIRED and next_hop.delivery_type is DeliveryType.NON_SMTP_GATEWAY:
                    copy.results.append((recipient, TLS_NOT_ASSURED))
                    continue
                next_hop = with_requirement(next_hop, requirement)
            by_next_hop.setdefault(next_hop, []).append(recipient)
        for next_hop, recipients in by_next_hop.items():
            parts += (
                Part(copy.reverse_path, next_hop, recipients[start : start + limit])
                for start in range(0, len(recipients), limit)
            )
    return parts
