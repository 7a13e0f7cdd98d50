# SPDX-License-Identifier: MIT
"""MTA-STS policies of recipient domains: announced in DNS, fetched from policy hosts, kept for their max_age (RFC 8461
§3.1, §3.3, §5.1, §10.2).

A policy that was fetched holds until it ends, whatever DNS or the policy host say or fail to say meanwhile. What fails
with nothing known leaves no policy, as the RFC has it - except after the file of known policies could not be read:
then nobody can tell, and the domain's mail waits.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from bridgehead.mail.limits import POLICY_DOMAINS
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import DnsLookup, Outcome, TextAnswer
from bridgehead.net.sts.policy_file import PolicyFile
from bridgehead.net.sts.policy_host import FetchError, PolicyHosts
from bridgehead.routing.domain_tls import StsAnswer
from bridgehead.routing.mta_sts import StsError, StsPolicy, parse_policy, policy_id, record_problem
from bridgehead.routing.tls_result import ResultType

_KIND: Final = "sts"
AGAIN_SECONDS: Final = 300.0
"""How long a policy that could not be fetched is not asked for again (RFC 8461 §3.3 asks for restraint)."""
LONGEST_SECONDS: Final = 3600.0
"""For how long at most a session opened under an answer takes further messages."""
REFRESH_SECONDS: Final = 86_400.0
"""A policy is fetched anew once a day, so that it does not end while it is in use (RFC 8461 §10.2)."""
_REFRESHED_AT_ONCE: Final = 100


class StsDns(DnsLookup, Protocol):
    """What is asked of DNS."""

    async def txt(self, name: str) -> TextAnswer: ...


class KeptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with where it stands. Times are Unix seconds."""

    policy: StsPolicy
    id: str
    fetched_at: float
    expires_at: float


class StsPolicies:
    """All that are known.

    Args:
        failed: told of a policy that cannot be fetched: domain, how reports name it, and why.
    """

    def __init__(
        self, file: PolicyFile, hosts: PolicyHosts, failed: Callable[[str, ResultType, str], None], clock: Clock
    ) -> None:  # fmt: skip
        self._file = file
        self.hosts = hosts
        self._tell = failed
        self._clock = clock
        self._kept: dict[str, KeptPolicy] = {}
        self._failed: dict[str, tuple[float, str, str]] = {}
        self._under_way: dict[str, asyncio.Task[KeptPolicy | str]] = {}
        self._used: dict[str, StsDns] = {}

    def load(self) -> None:
        """Read what was known before. Blocks."""
        now = self._clock.now()
        for domain, value in self._file.load(_KIND).items():
            try:
                kept = msgspec.json.decode(value, type=KeptPolicy)
            except (msgspec.MsgspecError, UnicodeError):
                continue
            if kept.expires_at > now:
                self._kept[domain] = kept

    def known(self, domain: str) -> KeptPolicy | None:
        """The policy that holds for a domain now, without asking anybody."""
        kept = self._kept.get(domain)
        return kept if kept is not None and kept.expires_at > self._clock.now() else None

    async def policy(self, domain: str, dns: StsDns) -> StsAnswer:
        """What holds for a domain (A-labels, lower case). Never raises."""
        kept = self.known(domain)
        if kept is not None:
            self._used[domain] = dns
        announced = await dns.txt(f"_mta-sts.{domain}")
        if announced.outcome is Outcome.TEMPORARY_FAILURE:
            return self._without_news(kept, announced.reason)
        wanted = policy_id(announced.values)
        if not wanted or (kept is not None and kept.id == wanted):
            return msgspec.structs.replace(self._without_news(kept, ""), failure=record_problem(announced.values))
        fetched = await self._fetch_once(domain, wanted, dns)
        if isinstance(fetched, str):
            return self._without_news(self.known(domain), fetched)
        return self._answer(fetched)

    async def refresh(self) -> None:
        """Fetch anew what is in use and was fetched a day ago, or ends soon. Never raises."""
        now = self._clock.now()
        due = [
            domain for domain, kept in self._kept.items()
            if domain in self._used and kept.expires_at > now
            and now - kept.fetched_at > min(REFRESH_SECONDS, kept.policy.max_age / 2)
        ][:_REFRESHED_AT_ONCE]  # fmt: skip
        for domain in due:
            dns = self._used.pop(domain)
            announced = await dns.txt(f"_mta-sts.{domain}")
            if wanted := policy_id(announced.values):
                await self._fetch_once(domain, wanted, dns)

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- fetching ---------------------------------------------------------------------------------------------------

    def _without_news(self, kept: KeptPolicy | None, failure: str) -> StsAnswer:
        if kept is not None:
            return self._answer(kept, failure)
        if failure and not self._file.is_whole:
            return StsAnswer(unknown=f"{failure}; and the policies known before could not be read", failure=failure)
        return StsAnswer(failure=failure, expires=self._clock.now() + AGAIN_SECONDS)

    def _answer(self, kept: KeptPolicy, failure: str = "") -> StsAnswer:
        expires = min(kept.expires_at, self._clock.now() + LONGEST_SECONDS)
        return StsAnswer(kept.policy, kept.id, expires, failure=failure)

    async def _fetch_once(self, domain: str, wanted: str, dns: StsDns) -> KeptPolicy | str:
        """The policy, or why not. Who asks while it is being fetched shares the answer; a failure is not repeated for a
        while."""
        failed = self._failed.get(domain)
        if failed is not None and failed[1] == wanted and self._clock.monotonic() < failed[0]:
            return failed[2]
        task = self._under_way.get(domain)
        if task is None:
            task = self._under_way[domain] = asyncio.ensure_future(self._fetch(domain, wanted, dns))
            task.add_done_callback(lambda _: self._under_way.pop(domain, None))
        return await asyncio.shield(task)

    async def _fetch(self, domain: str, wanted: str, dns: StsDns) -> KeptPolicy | str:
        try:
            policy = parse_policy(await self.hosts.fetch(domain, dns))
        except FetchError as error:
            return self._give_up(domain, wanted, str(error), error.result)
        except StsError as error:
            return self._give_up(domain, wanted, str(error), ResultType.STS_POLICY_INVALID)
        now = self._clock.now()
        kept = KeptPolicy(policy=policy, id=wanted, fetched_at=now, expires_at=now + policy.max_age)
        self._failed.pop(domain, None)
        self._keep(domain, kept)
        return kept

    def _give_up(self, domain: str, wanted: str, reason: str, result: ResultType) -> str:
        if len(self._failed) >= POLICY_DOMAINS:
            self._failed.clear()
        self._failed[domain] = (self._clock.monotonic() + AGAIN_SECONDS, wanted, reason)
        self._tell(domain, result, reason)
        return reason

    def _keep(self, domain: str, kept: KeptPolicy) -> None:
        self._kept.pop(domain, None)
        self._kept[domain] = kept
        self._file.put(_KIND, domain, msgspec.json.encode(kept))
        if len(self._kept) > POLICY_DOMAINS:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._used.pop(oldest, None)
            self._file.put(_KIND, oldest, None)
