# SPDX-License-Identifier: MIT
"""DNS as message authentication asks it: what is not there is empty, what cannot be known now raises.

Implements `msgauth.lookup.AuthenticationLookup` on the resolver and its cache.
"""

from collections.abc import Callable, Sequence

from bridgehead.msgauth.lookup import LookupFailed
from bridgehead.net.dns.resolver import MxAnswer, NameAnswer, Outcome, Resolver, TextAnswer


class ResolverLookup:
    """Asks the resolver in force.

    Args:
        resolver: gives it; a reload exchanges it.
    """

    def __init__(self, resolver: Callable[[], Resolver]) -> None:
        self._resolver = resolver

    async def txt(self, name: str) -> Sequence[bytes]:
        """See the port."""
        answer = await self._resolver().txt(name)
        return answer.values if _is_answered(answer) else ()

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        """See the port."""
        answer = await self._resolver().of_type(name, "AAAA" if ipv6 else "A")
        return answer.values if _is_answered(answer) else ()

    async def mx(self, name: str) -> Sequence[str]:
        """See the port."""
        answer = await self._resolver().mx(name)
        return [record.exchange for record in sorted(answer.records)] if _is_answered(answer) else ()

    async def ptr(self, address: str) -> Sequence[str]:
        """See the port."""
        answer = await self._resolver().ptr(address)
        return answer.values if _is_answered(answer) else ()


def _is_answered(answer: TextAnswer | NameAnswer | MxAnswer) -> bool:
    """Whether there are records. Raises LookupFailed where nobody can say."""
    if answer.outcome is Outcome.TEMPORARY_FAILURE:
        raise LookupFailed(answer.reason)
    return answer.outcome is Outcome.FOUND
