# SPDX-License-Identifier: MIT
"""When a certificate is renewed, and when a renewal that failed is tried again."""

import random
from typing import Final

from bridgehead.net.certificates.chain import ChainFacts

_FIRST_DELAY: Final = 3600.0
_LONGEST_DELAY: Final = 86400.0
_JITTER: Final = 0.2
_SHARE_OF_LIFE: Final = 3


def renewal_time(facts: ChainFacts, renew_before: float) -> float:
    """Unix time at which a certificate is to be renewed; short-lived ones in the last third of their life."""
    life = facts.leaf.not_after - facts.leaf.not_before
    return facts.leaf.not_after - min(renew_before, life / _SHARE_OF_LIFE)


def delay_after(failures: int, jitter: float) -> float:
    """Seconds until the next attempt: an hour, doubled with each failure, a day at most; `jitter`: a share of it."""
    return float(min(_FIRST_DELAY * 2 ** min(failures - 1, 10), _LONGEST_DELAY)) * (1 + jitter)


def jitter() -> float:
    """So that servers that failed together do not come back together."""
    return random.uniform(-_JITTER, _JITTER)  # noqa: S311 - nobody gains by guessing it
