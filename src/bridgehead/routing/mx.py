# SPDX-License-Identifier: MIT
"""Which hosts take a domain's mail, in which order (RFC 5321 §5.1, RFC 7505 null MX). Pure: DNS is asked elsewhere."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


class MailExchanger(msgspec.Struct, frozen=True):
    """One MX record: preference and host name in lower case without the last dot, "" for the null MX."""

    preference: int
    host: str


def is_null_mx(records: Sequence[MailExchanger]) -> bool:
    """The domain says that it takes no mail (RFC 7505 §3); beside other records a null MX means nothing."""
    return len(records) == 1 and not records[0].host


def in_order(records: Sequence[MailExchanger], random: Callable[[], float]) -> list[MailExchanger]:
    """Hosts by preference, equals in random order; a host named twice counts with its best preference.

    Args:
        random: gives floats from 0 up to 1.
    """
    best: dict[str, int] = {}
    for record in records:
        if record.host and record.preference < best.get(record.host, 65536):
            best[record.host] = record.preference
    ranked = sorted((preference, random(), host) for host, preference in best.items())
    return [MailExchanger(preference, host) for preference, _, host in ranked]


def before_ourselves(records: Sequence[MailExchanger], is_ourselves: Callable[[str], bool]) -> list[MailExchanger]:
    """What is left when our own host and all of equal or worse preference are struck out (RFC 5321 §5.1). Empty:
    we are the best host, and mail would loop back to us."""
    ours = [record.preference for record in records if is_ourselves(record.host)]
    return [record for record in records if record.preference < min(ours)] if ours else list(records)


def shuffled(items: Collection[T], random: Callable[[], float]) -> list[T]:
    """The items in random order."""
    return [item for _, _, item in sorted((random(), index, item) for index, item in enumerate(items))]
