# SPDX-License-Identifier: MIT
import base64
import hashlib
import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import DKIM_SIGNATURES
from bridgehead.msgauth.dkim.canonical import BodyCanonicalizer, relaxed_field
from bridgehead.msgauth.dkim.verify import DkimResult, DkimVerdict, DkimVerifier
from bridgehead.net.signatures import check_signature
from support.auth_zone import Zone

# RFC 8463, appendix A.
FOOTBALL = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
KEYS = {
    ("brisbane._domainkey.football.example.com", "TXT"): [
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    ],
    ("test._domainkey.football.example.com", "TXT"): [
        (
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY"
            "/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kry"
            "OTIKT+l/K4w3QIDAQAB"
        )
    ],
}
NOW = 1528638000.0


async def verify(message: bytes, zone: Zone | None = None, now: float = NOW) -> list[DkimResult]:
    head, _, body = message.partition(b"\r\n\r\n")
    verifier = DkimVerifier(head + b"\r\n", now)
    position, pieces = 0, random.Random(1)
    while position < len(body):
        size = pieces.randint(1, 9)
        verifier.body(body[position : position + size])
        position += size
    return await verifier.verdicts(zone or Zone(KEYS), check_signature)


async def verdicts(message: bytes, zone: Zone | None = None, now: float = NOW) -> list[DkimVerdict]:
    return [result.verdict for result in await verify(message, zone, now)]


PASS, FAIL = DkimVerdict.PASS, DkimVerdict.FAIL


async def test_the_rfcs_message_passes_with_both_algorithms() -> None:
    assert await verdicts(FOOTBALL) == [PASS, PASS]


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"hungry", b"angry"), (b"Is dinner", b"Was dinner"), (b"joe@football", b"jo@football"), (b"Joe.\r\n", b"")],
)
async def test_what_was_altered_fails(old: bytes, new: bytes) -> None:
    assert await verdicts(FOOTBALL.replace(old, new)) == [FAIL, FAIL]


async def test_a_second_from_field_in_front_of_the_signed_one_fails_where_from_is_oversigned() -> None:
    forged = FOOTBALL.replace(b"From: Joe", b"From: Eve <eve@evil.example>\r\nFrom: Joe")
    assert await verdicts(forged) == [FAIL, FAIL]


async def test_white_space_that_relaxed_does_not_see_may_change() -> None:
    changed = FOOTBALL.replace(b"game.  Are", b"game. \t Are  ").replace(b"Subject: Is", b"SUBJECT : \r\n  Is")
    assert await verdicts(changed + b"\r\n\r\n") == [PASS, PASS]


async def test_a_missing_revoked_or_unanswered_key() -> None:
    name = "brisbane._domainkey.football.example.com"
    only = FOOTBALL[: FOOTBALL.index(b"DKIM-Signature", 5)] + FOOTBALL[FOOTBALL.index(b"From:") :]
    assert await verdicts(only, Zone({})) == [DkimVerdict.PERMERROR]
    assert await verdicts(only, Zone({(name, "TXT"): ["v=DKIM1; k=ed25519; p="]})) == [DkimVerdict.PERMERROR]
    assert await verdicts(only, Zone({(name, "TXT"): ["TIMEOUT"]})) == [DkimVerdict.TEMPERROR]


async def test_a_key_in_test_mode_vouches_for_nothing() -> None:
    zone = Zone({name: [record.replace("k=", "t=y; k=") for record in records] for name, records in KEYS.items()})
    assert await verdicts(FOOTBALL, zone) == [DkimVerdict.NEUTRAL] * 2


# --- signatures of our own making -----------------------------------------------------------------------------------

KEY = rsa.generate_private_key(65537, 2048)


def zone_of(key: rsa.RSAPrivateKey = KEY) -> Zone:
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    return Zone({("s._domainkey.contoso.com", "TXT"): [f"v=DKIM1; p={public}"]})


def signed(
    body: bytes, tags: str = "", key: rsa.RSAPrivateKey = KEY, *, h: str = "from", limit: int | None = None
) -> bytes:
    header = b"From: anna@contoso.com\r\n"
    canonical = BodyCanonicalizer(hashlib.sha256(), relaxed=True, limit=limit)
    canonical.update(body)
    digest = base64.b64encode(canonical.finish()).decode()
    field = f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=contoso.com; s=s; h={h}; {tags}bh={digest}; b="
    data = relaxed_field(header) + relaxed_field(field.encode() + b"\r\n").removesuffix(b"\r\n")
    signature = base64.b64encode(key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    return field.encode() + signature + b"\r\n" + header + b"\r\n" + body


async def test_d10_text_appended_behind_a_length_tag_is_not_vouched_for() -> None:
    message = signed(b"Pay to A.\r\n", "l=11; ", limit=11)
    assert await verdicts(message, zone_of()) == [PASS]
    assert await verdicts(message + b"Pay to B.\r\n", zone_of()) == [DkimVerdict.NEUTRAL]


async def test_a_short_key_is_no_signature() -> None:
    key = rsa.generate_private_key(65537, 1024)
    assert await verdicts(signed(b"x\r\n", key=key), zone_of(key)) == [PASS]
    short = b"v=DKIM1; p=" + base64.b64encode(_short_key())
    (result,) = await verify(signed(b"x\r\n", key=key), Zone({("s._domainkey.contoso.com", "TXT"): [short.decode()]}))
    assert (result.verdict, result.reason) == (FAIL, "an RSA key of 512 bits is not trusted")


def _short_key() -> bytes:
    """The public half of a 512-bit key; today's libraries make none any more."""
    modulus = (1 << 511) + 111
    return (
        rsa.RSAPublicNumbers(65537, modulus).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


async def test_expired_and_future_signatures() -> None:
    assert await verdicts(signed(b"x\r\n", "t=1000; x=2000; "), zone_of(), now=1500) == [PASS]
    assert await verdicts(signed(b"x\r\n", "t=1000; x=2000; "), zone_of(), now=2500) == [DkimVerdict.POLICY]
    assert await verdicts(signed(b"x\r\n", "t=9000; "), zone_of(), now=1500) == [DkimVerdict.POLICY]


@pytest.mark.parametrize(
    ("tags", "h"),
    [("", "to"), ("i=@evil.example; ", "from"), ("l=x; ", "from"), ("l=1; l=1; ", "from"), ("x=1; t=2; ", "from")],
)
async def test_signatures_that_cannot_mean_anything(tags: str, h: str) -> None:
    assert await verdicts(signed(b"x\r\n", tags, h=h), zone_of()) == [DkimVerdict.PERMERROR]


async def test_sha1_is_not_trusted() -> None:
    message = signed(b"x\r\n").replace(b"a=rsa-sha256", b"a=rsa-sha1")
    assert await verdicts(message, zone_of()) == [DkimVerdict.PERMERROR]


async def test_only_so_many_signatures_are_looked_at() -> None:
    field, _, rest = signed(b"x\r\n").partition(b"\r\n")
    zone = zone_of()
    assert len(await verdicts((field + b"\r\n") * 50 + rest, zone)) == DKIM_SIGNATURES
    assert zone.asked == DKIM_SIGNATURES


@given(st.binary(max_size=200), st.binary(max_size=60))
async def test_no_octets_make_anything_but_verdicts(field: bytes, record: bytes) -> None:
    zone = Zone({("s._domainkey.contoso.com", "TXT"): [record.decode("utf-8", "surrogateescape")]})
    await verify(b"DKIM-Signature: " + field + b"\r\n" + signed(b"x\r\n"), zone)


@given(st.lists(st.sampled_from([b"\r\n", b" ", b"a", b"\t", b"b  c", b"\r", b"\n"]), max_size=20), st.booleans())
def test_a_body_in_pieces_is_the_body_in_one(parts: list[bytes], relaxed: bool) -> None:
    whole, pieces = (BodyCanonicalizer(hashlib.sha256(), relaxed=relaxed) for _ in range(2))
    whole.update(b"".join(parts))
    for part in parts:
        pieces.update(part)
    assert whole.finish() == pieces.finish()


@pytest.mark.parametrize("filler", [b"\r\n", b" ", b"\t", b"\r", b" \r\n"])
def test_d9_long_runs_of_white_space_cost_no_more_than_other_text(filler: bytes) -> None:
    """Quadratic work over this would take longer than the test may."""
    canonical = BodyCanonicalizer(hashlib.sha256(), relaxed=True)
    canonical.update(filler * 3_000_000 + b"x\r\n")
    canonical.finish()


async def test_d9_a_signature_of_white_space_costs_no_more_than_its_length() -> None:
    field = b"DKIM-Signature: v=1; x=" + b" \t" * 4_000 + b"x" + b" " * 4_000 + b"\r\n"
    assert await verdicts(field + signed(b"x\r\n"), zone_of()) == [DkimVerdict.PERMERROR, PASS]
