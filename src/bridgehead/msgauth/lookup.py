# SPDX-License-Identifier: MIT
"""What message authentication needs of DNS: four kinds of look-up. Whoever asks DNS (`net`) satisfies it."""

from collections.abc import Sequence
from typing import Protocol


class LookupFailed(Exception):
    """DNS could not answer now (SERVFAIL, no answer): the verdict is a temporary error, never a pass or a fail."""


class AuthenticationLookup(Protocol):
    """Look-ups by names in A-label form. An empty answer means that there is nothing, for whatever reason."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """TXT records, the strings of each joined without anything between. Raises LookupFailed."""

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        """A or AAAA records in text form. Raises LookupFailed."""

    async def mx(self, name: str) -> Sequence[str]:
        """Exchanges of MX records, by preference. Raises LookupFailed."""

    async def ptr(self, address: str) -> Sequence[str]:
        """Names of an address. Raises LookupFailed."""
