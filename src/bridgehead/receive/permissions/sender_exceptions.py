# SPDX-License-Identifier: MIT
"""Named exceptions that let others send in our name: a scanner, a newsletter service (Exchange's allowed spoofs)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bridgehead.mail.address import Mailbox
from bridgehead.net.ip_range import IPRange, parse_ip, parse_range
from bridgehead.receive.settings import SenderException


class SenderExceptions:
    """The exceptions of the configuration in force, ready to be asked."""

    def __init__(self, settings: Sequence[SenderException] = ()) -> None:
        self._exceptions: list[tuple[SenderException, frozenset[str], list[IPRange]]] = [
            (one, frozenset(map(str.lower, one.senders)), [parse_range(text) for text in one.remote_ip_ranges])
            for one in settings
        ]

    def find(self, senders: Sequence[Mailbox], client_ip: str, now: float) -> str:
        """The name of the first exception that covers all of these senders from this client, "" where none does.

        Args:
            now: Unix time; an exception is good until the end of its last day, UTC.
        """
        today, address = datetime.fromtimestamp(now, UTC).date(), parse_ip(client_ip)
        for exception, allowed, ranges in self._exceptions:
            if (
                exception.expires >= today
                and any(one.contains(address) for one in ranges)
                and all(sender.key in allowed or f"*@{sender.domain_key}" in allowed for sender in senders)
            ):
                return exception.name
        return ""
