# SPDX-License-Identifier: MIT
"""Verification of DKIM signatures (RFC 6376 §6). Keys come by a look-up, the arithmetic by a function passed in.

A signature that covers only a part of the body (`l=`) and finds more of it counts as neutral: whatever was appended
would pass as signed. Signatures in test mode and by short keys never pass.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.limits import DKIM_SIGNATURES
from bridgehead.msgauth.dkim.canonical import BodyCanonicalizer, relaxed_field, simple_field
from bridgehead.msgauth.dkim.tags import DkimKey, DkimSignature, DkimSyntaxError, parse_key, parse_signature
from bridgehead.msgauth.lookup import AuthenticationLookup, LookupFailed

_SIGNATURE_VALUE: Final = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_CLOCK_SKEW_SECONDS: Final = 300

CheckSignature = Callable[[str, bytes, bytes, bytes], str]
"""(algorithm, key as in p=, signed octets, signature) → "" where it is valid, else what is wrong."""


class DkimVerdict(StrEnum):
    """Results of RFC 8601 §2.7.1."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimResult(msgspec.Struct, frozen=True):
    """One signature's verdict; `domain` and `selector` are "" where the field could not be read."""

    verdict: DkimVerdict
    domain: str = ""
    selector: str = ""
    identity: str = ""
    reason: str = ""


class _Pending(msgspec.Struct):
    """A signature with its body hash under way."""

    field: tuple[int, int]
    signature: DkimSignature
    body: BodyCanonicalizer


class DkimVerifier:
    """Checks all signatures of one message: the header first, the body as it comes, then the verdicts.

    Args:
        header: the header section, every octet before the empty line.
        now: Unix time.
    """

    def __init__(self, header: bytes, now: float) -> None:
        self._header = HeaderBlock(header)
        self._now = now
        self._broken: list[DkimResult] = []
        self._pending: list[_Pending] = []
        found = [(start, end) for name, start, end in self._header.fields if name == b"dkim-signature"]
        for start, end in found[:DKIM_SIGNATURES]:
            value = header[start:end].partition(b":")[2]
            try:
                signature = parse_signature(value)
            except DkimSyntaxError as error:
                self._broken.append(DkimResult(DkimVerdict.PERMERROR, reason=str(error)))
                continue
            body = BodyCanonicalizer(
                hashlib.sha256(), relaxed=signature.relaxed_body, limit=signature.body_length
            )  # fmt: skip
            self._pending.append(_Pending((start, end), signature, body))

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature worth reading the body for."""
        return bool(self._pending)

    def body(self, data: bytes) -> None:
        """Take a piece of the body: what follows the empty line."""
        for one in self._pending:
            one.body.update(data)

    async def verdicts(self, lookup: AuthenticationLookup, check: CheckSignature) -> list[DkimResult]:
        """The verdict of each signature, in order of the fields, unreadable ones first."""
        return self._broken + [await self._verdict(one, lookup, check) for one in self._pending]

    async def _verdict(self, one: _Pending, lookup: AuthenticationLookup, check: CheckSignature) -> DkimResult:
        signature = one.signature

        def result(verdict: DkimVerdict, reason: str = "") -> DkimResult:
            return DkimResult(verdict, signature.domain, signature.selector, signature.identity, reason)

        if signature.expires_at is not None and signature.expires_at < self._now:
            return result(DkimVerdict.POLICY, "the signature has expired")
        if signature.signed_at is not None and signature.signed_at > self._now + _CLOCK_SKEW_SECONDS:
            return result(DkimVerdict.POLICY, "the signature is from the future")
        if one.body.finish() != signature.body_hash:
            return result(DkimVerdict.FAIL, "the body was altered")
        try:
            key = await _key(signature, lookup)
        except LookupFailed as error:
            return result(DkimVerdict.TEMPERROR, str(error))
        except DkimSyntaxError as error:
            return result(DkimVerdict.PERMERROR, str(error))
        if fault := check(signature.algorithm, key.key, self._signed(one), signature.signature):
            return result(DkimVerdict.FAIL, fault)
        if key.testing:
            return result(DkimVerdict.NEUTRAL, "the key is in test mode")
        if signature.body_length is not None and one.body.size > signature.body_length:
            return result(DkimVerdict.NEUTRAL, "the signature covers only a part of the body")
        return result(DkimVerdict.PASS)

    def _signed(self, one: _Pending) -> bytes:
        """What the signature is over (§3.7): the named fields from the bottom up, then its own without `b=`."""
        canonical = relaxed_field if one.signature.relaxed_header else simple_field
        block = self._header.block
        start, end = one.field
        own = _SIGNATURE_VALUE.sub(rb"\1", block[start:end].partition(b":")[2], count=1)
        own = block[start : block.index(b":", start) + 1] + own
        parts = [canonical(field) for field in _named(self._header, one.signature.headers)]
        return b"".join(parts) + canonical(own.rstrip(b"\r\n") + b"\r\n").removesuffix(b"\r\n")


async def _key(signature: DkimSignature, lookup: AuthenticationLookup) -> DkimKey:
    """The signature's key (§6.1.2). Raises LookupFailed, DkimSyntaxError."""
    name = f"{signature.selector}._domainkey.{signature.domain}"
    records = await lookup.txt(name)
    if not records:
        raise DkimSyntaxError(f"there is no key at {name}")
    key = parse_key(records[0])
    if not key.key:
        raise DkimSyntaxError(f"the key at {name} was revoked")
    if not signature.algorithm.startswith(key.kind + "-"):
        raise DkimSyntaxError(f"the key at {name} is not for {signature.algorithm}")
    if key.strict and signature.identity and signature.identity.rpartition("@")[2].lower() != signature.domain:
        raise DkimSyntaxError("the key does not allow i= in a sub-domain")
    return key


def _named(header: HeaderBlock, names: Sequence[bytes]) -> Iterable[bytes]:
    """The fields that h= names, the last of a name first (§5.4.2); names without a field stand for nothing."""
    left: dict[bytes, list[bytes]] = {}
    for name, start, end in header.fields:
        left.setdefault(name, []).append(header.block[start:end])
    for name in names:
        fields = left.get(name)
        if fields:
            yield fields.pop()
