# SPDX-License-Identifier: MIT
"""The port through which outbound delivery tells how each session's TLS came out, for TLS reports (RFC 8460 §4).

`delivery/smtp_send/tls_story.py` calls `record` once for each session that was opened or given up under one policy of
one recipient domain; look-ups that failed before any session (a policy host that is down, DNSSEC that is bogus) are
recorded too, at most once for each look-up. `server/rooms.py` hands the port to the couriers. Mail to smart hosts is
not told: reports concern domains found by MX (§1.1).
"""

from typing import Protocol

import msgspec

from bridgehead.routing.tls_result import PolicyType, ResultType

__all__ = ["NoTlsResults", "PolicyType", "ResultType", "TlsResult", "TlsResults"]


class TlsResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one session, or one look-up of a policy, came out.

    Attributes:
        domain: recipient domain, A-labels in lower case: policy-domain of the report, also where hosts are shared.
        policy_type: of the policy that was applied (DANE before MTA-STS).
        policy_strings: the TLSA records in presentation form, or the lines of the MTA-STS policy; bounded.
        mx_patterns: mx of the MTA-STS policy, or the host that the TLSA records are of.
        result: SUCCESS, or what failed. Under a policy in testing mode a failure is told although mail was delivered.
        sending_ip, receiving_host, receiving_helo, receiving_ip: of the session, "" where there was none.
        information: in words, cleaned.
    """

    domain: str
    policy_type: PolicyType
    policy_strings: tuple[str, ...] = ()
    mx_patterns: tuple[str, ...] = ()
    result: ResultType = ResultType.SUCCESS
    sending_ip: str = ""
    receiving_host: str = ""
    receiving_helo: str = ""
    receiving_ip: str = ""
    information: str = ""


class TlsResults(Protocol):
    """Takes results. Called on the event loop; never blocks, never raises."""

    def record(self, result: TlsResult) -> None: ...


class NoTlsResults:
    """A `TlsResults` that forgets."""

    def record(self, result: TlsResult) -> None:
        """Forget it."""
