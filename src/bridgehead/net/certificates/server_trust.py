# SPDX-License-Identifier: MIT
"""Whether a certificate that nobody demanded would have passed: issued for the host's name by an authority that is
trusted (RFC 5280 §6.1, RFC 9525).

For what is remembered of hosts, never to refuse one. Each certificate is looked at once a day, in a thread; sessions
that are taken up again show only the server's own, whose chain is known from before.
"""

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bridgehead.mail.limits import CHAIN_CERTIFICATES, JUDGED_CERTIFICATES
from bridgehead.net.certificates.chain import trust_anchors

_SECONDS: Final = 86_400.0
"""How long an answer holds: certificates expire, and trust anchors change."""


class _Judged(msgspec.Struct, frozen=True):
    chain: tuple[bytes, ...]
    vouched: bool
    until: float


class ServerTrust:
    """What was found out, by name and certificate; bounded.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._judged: dict[tuple[str, str, bytes], _Judged] = {}

    async def vouches(
        self, chain: Sequence[bytes], name: str, *, ca_file: str = "", resumed: bool = False
    ) -> bool | None:  # fmt: skip
        """Whether the certificate would have passed; None where that cannot be told.

        Args:
            chain: DER, the server's own first.
            name: of the host.
            ca_file: PEM file of trust anchors, "" for the system's.
            resumed: the session was taken up again, so that its own certificate is all there is.
        """
        if not chain:
            return None
        key = (name, ca_file, hashlib.sha256(chain[0]).digest())
        known = self._judged.get(key)
        if known is not None and known.until > self._monotonic():
            return known.vouched
        if resumed:
            if known is None:
                return None
            chain = known.chain
        whole = tuple(chain[:CHAIN_CERTIFICATES])
        vouched = await asyncio.to_thread(would_pass, whole, name, ca_file)
        self._judged.pop(key, None)
        self._judged[key] = _Judged(whole, vouched, self._monotonic() + _SECONDS)
        if len(self._judged) > JUDGED_CERTIFICATES:
            del self._judged[next(iter(self._judged))]
        return vouched


def would_pass(chain: Sequence[bytes], name: str, ca_file: str = "") -> bool:
    """Whether a chain (DER) leads from a server of this name to a trust anchor. Blocks for the disk."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import verification

    anchors = trust_anchors(ca_file)
    if not anchors:
        return False
    try:
        subject: x509.DNSName | x509.IPAddress = x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        subject = x509.DNSName(name.rstrip("."))
    try:
        leaf, *others = (x509.load_der_x509_certificate(one) for one in chain)
        verifier = verification.PolicyBuilder().store(verification.Store(anchors)).build_server_verifier(subject)
        verifier.verify(leaf, others)
    except (verification.VerificationError, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
