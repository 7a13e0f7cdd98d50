# SPDX-License-Identifier: MIT
"""DNS data in memory for message authentication: an `AuthenticationLookup` over a table."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from bridgehead.msgauth.lookup import LookupFailed


class Zone:
    """Answers from {(name, type): records}; "TIMEOUT" among the records fails the look-up.

    `asked` counts the look-ups.
    """

    def __init__(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self._records = {(name.lower(), kind): list(values) for (name, kind), values in records.items()}
        self.asked = 0

    def _find(self, name: str, kind: str) -> list[str]:
        self.asked += 1
        found = self._records.get((name.lower().rstrip("."), kind), [])
        if "TIMEOUT" in found:
            raise LookupFailed(f"no answer for {name}")
        return found

    async def txt(self, name: str) -> Sequence[bytes]:
        return [text.encode("utf-8", "surrogateescape") for text in self._find(name, "TXT")]

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return self._find(name, "AAAA" if ipv6 else "A")

    async def mx(self, name: str) -> Sequence[str]:
        return self._find(name, "MX")

    async def ptr(self, address: str) -> Sequence[str]:
        return self._find(ip_address(address).reverse_pointer, "PTR")
