# SPDX-License-Identifier: MIT
"""Tag lists, DKIM-Signature fields and key records as values (RFC 6376 §3.2, §3.5, §3.6.1)."""

import base64
import binascii
import re
from typing import Final

import msgspec

from bridgehead.mail.limits import DKIM_KEY_BYTES, DKIM_SIGNATURE_BYTES, DKIM_SIGNED_FIELDS

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WHITE: Final = re.compile(r"[ \t\r\n]+")
_DOMAIN: Final = re.compile(r"[^\x00-/:-@\[-^`{-\x7f](?:[^\x00-,/:-@\[-^`{-\x7f]*[^\x00-/:-@\[-`{-\x7f])?")
"""Letters and digits, and all that is not ASCII; within, also dots and hyphens; an underscore not at the end."""
_ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
_SPACE: Final = " \t\r\n"
_REQUIRED: Final = ("v", "a", "b", "bh", "d", "h", "s")


class DkimSyntaxError(Exception):
    """A signature or key record cannot be used; the message says why (permerror)."""


class DkimSignature(msgspec.Struct, frozen=True):
    """A DKIM-Signature field.

    Attributes:
        algorithm: rsa-sha256 or ed25519-sha256.
        signature, body_hash: octets.
        domain, selector, identity: d=, s=, i= ("" where absent).
        headers: names of h= in lower case, as signed.
        relaxed_header, relaxed_body: canonicalization.
        body_length: l=, None where absent.
        signed_at, expires_at: Unix times, None where absent.
    """

    algorithm: str
    signature: bytes
    body_hash: bytes
    domain: str
    selector: str
    headers: tuple[bytes, ...]
    relaxed_header: bool = False
    relaxed_body: bool = False
    body_length: int | None = None
    identity: str = ""
    signed_at: int | None = None
    expires_at: int | None = None


class DkimKey(msgspec.Struct, frozen=True):
    """A key record; `key` is empty where the key was revoked. `strict`: i= may not be a sub-domain (t=s)."""

    kind: str
    key: bytes
    testing: bool = False
    strict: bool = False


def parse_tags(text: str) -> dict[str, str]:
    """A tag list. Raises DkimSyntaxError; a tag that occurs twice spoils the list (§3.2)."""
    tags: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip(_SPACE):
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_SPACE)
        if not equals or _NAME.fullmatch(name) is None:
            raise DkimSyntaxError(f"{part.strip()[:40]!r} is no tag")
        if name in tags:
            raise DkimSyntaxError(f"the tag {name[:20]} occurs twice")
        tags[name] = value.strip(_SPACE)
    return tags


def parse_signature(value: bytes) -> DkimSignature:
    """The value of a DKIM-Signature field. Raises DkimSyntaxError."""
    if len(value) > DKIM_SIGNATURE_BYTES:
        raise DkimSyntaxError(f"the signature is longer than {DKIM_SIGNATURE_BYTES} octets")
    tags = parse_tags(value.decode("utf-8", "replace"))
    for name in _REQUIRED:
        if not tags.get(name):
            raise DkimSyntaxError(f"the tag {name} is missing")
    if tags["v"] != "1":
        raise DkimSyntaxError(f"version {tags['v'][:10]!r} is unknown")
    if tags["a"].lower() not in _ALGORITHMS:
        raise DkimSyntaxError(f"the algorithm {tags['a'][:30]!r} is not trusted")
    headers = tuple(name.strip().lower().encode() for name in tags["h"].split(":"))
    if b"from" not in headers:
        raise DkimSyntaxError("From is not signed")
    if len(headers) > DKIM_SIGNED_FIELDS:
        raise DkimSyntaxError(f"more than {DKIM_SIGNED_FIELDS} fields are named in h=")
    header_form, _, body_form = _WHITE.sub("", tags.get("c", "simple/simple")).lower().partition("/")
    domain = _domain(tags["d"], "d")
    return DkimSignature(
        algorithm=tags["a"].lower(),
        signature=_base64(tags["b"], "b"),
        body_hash=_base64(tags["bh"], "bh"),
        domain=domain,
        selector=_domain(tags["s"], "s"),
        headers=headers,
        relaxed_header=_is_relaxed(header_form),
        relaxed_body=_is_relaxed(body_form or "simple"),
        body_length=_number(tags, "l"),
        identity=_identity(tags.get("i", ""), domain),
        signed_at=_number(tags, "t"),
        expires_at=_expiry(tags),
    )


def parse_key(record: bytes) -> DkimKey:
    """A key record. Raises DkimSyntaxError."""
    if len(record) > DKIM_KEY_BYTES:
        raise DkimSyntaxError(f"the key record is longer than {DKIM_KEY_BYTES} octets")
    tags = parse_tags(record.decode("utf-8", "replace"))
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise DkimSyntaxError("the key record is of an unknown version")
    if "p" not in tags:
        raise DkimSyntaxError("the key record holds no key")
    services = [one.strip() for one in tags.get("s", "*").split(":")]
    if "*" not in services and "email" not in services:
        raise DkimSyntaxError("the key is not for mail")
    hashes = [one.strip() for one in tags.get("h", "sha256").split(":")]
    if "sha256" not in hashes:
        raise DkimSyntaxError("the key does not allow SHA-256")
    flags = [one.strip() for one in tags.get("t", "").split(":")]
    return DkimKey(tags.get("k", "rsa").lower(), _base64(tags["p"], "p"), "y" in flags, "s" in flags)


def _is_relaxed(name: str) -> bool:
    if name not in ("simple", "relaxed"):
        raise DkimSyntaxError(f"the canonicalization {name[:20]!r} is unknown")
    return name == "relaxed"


def _base64(text: str, tag: str) -> bytes:
    try:
        return base64.b64decode(_WHITE.sub("", text), validate=True)
    except (binascii.Error, ValueError):
        raise DkimSyntaxError(f"the tag {tag} is no base64") from None


def _domain(text: str, tag: str) -> str:
    name = text.rstrip(".")
    if len(name) > 253 or ".." in name or _DOMAIN.fullmatch(name) is None:
        raise DkimSyntaxError(f"the tag {tag} is no domain")
    return name.lower()


def _identity(text: str, domain: str) -> str:
    if not text:
        return ""
    host = text.rpartition("@")[2].rstrip(".").lower()
    if "@" not in text or not (host == domain or host.endswith("." + domain)):
        raise DkimSyntaxError("i= is not within d=")
    return text


def _number(tags: dict[str, str], name: str) -> int | None:
    text = tags.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 76:
        raise DkimSyntaxError(f"the tag {name} is no number")
    return int(text)


def _expiry(tags: dict[str, str]) -> int | None:
    signed_at, expires_at = _number(tags, "t"), _number(tags, "x")
    if signed_at is not None and expires_at is not None and expires_at <= signed_at:
        raise DkimSyntaxError("the signature expired before it was made")
    return expires_at
