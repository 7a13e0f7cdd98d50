# SPDX-License-Identifier: MIT
"""Re-encoding for servers without 8BITMIME: what must change does, nothing else, and the reader sees the same."""

import email
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.delivery.smtp_send.downgrade import ConversionProhibited, reencode

TEXT = "Grüße aus Köln\r\n".encode()


def part(kind: str, body: bytes, encoding: str = "8bit", more: bytes = b"") -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n".encode() + more + b"\r\n" + body


def message(entity: bytes) -> bytes:
    return b"From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n" + entity


def multipart(*parts: bytes, kind: str = "multipart/mixed", boundary: str = "b1") -> bytes:
    head = f'Content-Type: {kind}; boundary="{boundary}"\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble'.encode()
    delimiter = f"\r\n--{boundary}".encode()
    return head + b"".join(delimiter + b"\r\n" + one for one in parts) + delimiter + b"--\r\nepilogue\r\n"


def leaves(data: bytes) -> list[bytes]:
    parsed = email.message_from_bytes(data, policy=policy.default)
    return [one.get_payload(decode=True) for one in parsed.walk() if not one.is_multipart()]


def test_seven_bit_content_is_untouched():
    data = message(part("text/plain", b"plain\r\n", "7bit"))
    assert reencode(data, keep_8bit=False) is data


def test_text_becomes_quoted_printable():
    got = reencode(message(part("text/plain; charset=utf-8", TEXT)), keep_8bit=False)
    assert got.isascii()
    assert b"quoted-printable" in got
    assert leaves(got) == [TEXT]


def test_other_types_become_base64():
    got = reencode(message(part("application/octet-stream", TEXT * 50)), keep_8bit=False)
    assert max(len(line) for line in got.split(b"\r\n")) <= 76
    assert leaves(got) == [TEXT * 50]


def test_only_the_parts_that_need_it_change():
    untouched = part("text/plain", b"plain =41 text\r\n", "7bit", b"X-Odd:   spacing\r\n")
    inner = multipart(part("text/html; charset=utf-8", TEXT), untouched, kind="multipart/alternative", boundary="b2")
    data = message(multipart(untouched, inner, part("message/rfc822", message(part("text/plain", TEXT)))))
    got = reencode(data, keep_8bit=False)
    assert got.isascii()
    assert got.count(untouched) == 2
    assert b"preamble\r\n--b1\r\n" in got
    assert got.endswith(b"\r\n--b1--\r\nepilogue\r\n")
    assert leaves(got) == leaves(data)
    assert b"Content-Transfer-Encoding: 8bit" not in got


def test_binary_parts_for_a_server_that_takes_eight_bits():
    binary = b"\0\n\r" + bytes(range(256))
    data = message(multipart(part("text/plain; charset=utf-8", TEXT), part("image/png", binary, "binary")))
    got = reencode(data, keep_8bit=True)
    assert TEXT in got
    assert b"\0" not in got
    assert leaves(got)[1] == binary


def test_text_without_mime_gets_mime_fields():
    got = reencode(b"From: a@example.com\r\nSubject: x\r\n\r\n" + TEXT, keep_8bit=False)
    assert b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" in got
    assert leaves(got) == [TEXT]
    unknown = reencode(b"Subject: x\r\n\r\nGr\xfc\xdfe\r\n", keep_8bit=False)
    assert b"charset=unknown-8bit" in unknown


@pytest.mark.parametrize(
    "data",
    [
        message(multipart(part("text/plain", TEXT), part("application/pgp-signature", b"x"), kind="multipart/signed")),
        message(
            multipart(
                part("text/plain", b"x"), multipart(part("text/plain", TEXT), kind="multipart/signed", boundary="b2")
            )
        ),
        message(part("application/pkcs7-mime; smime-type=signed-data", TEXT)),
        b"DKIM-Signature: v=1; d=example.com\r\n" + message(part("text/plain", TEXT)),
        b"ARC-Seal: i=1\r\n" + message(part("text/plain", TEXT)),
    ],
)
def test_signed_content_is_never_touched(data):
    with pytest.raises(ConversionProhibited) as caught:
        reencode(data, keep_8bit=False)
    assert caught.value.status == "5.6.2"


@pytest.mark.parametrize(
    "data",
    [
        message(b"Content-Type: multipart/mixed\r\n\r\n" + TEXT),
        message(part("text/plain", TEXT, "base64")),
        "Subject: Grüße\r\n\r\nx\r\n".encode() + TEXT,
        message(multipart(part("text/plain", b"x")).replace(b"epilogue", TEXT)),
    ],
)
def test_what_cannot_be_converted_says_so(data):
    with pytest.raises(ConversionProhibited) as caught:
        reencode(data, keep_8bit=False)
    assert caught.value.status == "5.6.3"


def test_deep_nesting_is_bounded():
    data = part("text/plain", TEXT)
    for level in range(100):
        data = multipart(data, boundary=f"x{level}")
    with pytest.raises(ConversionProhibited):
        reencode(message(data), keep_8bit=False)


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "text/html", "application/pdf"]))
def test_any_body_survives(body, kind):
    got = reencode(message(part(kind, body, "binary")), keep_8bit=False)
    assert got.isascii()
    pairs = got.count(b"\r\n")
    assert got.count(b"\r") == pairs == got.count(b"\n")
    if got != message(part(kind, body, "binary")):
        (back,) = leaves(got)
        assert back == body or (kind.startswith("text/") and back.rstrip(b"\r\n") == body.rstrip(b"\r\n"))


@given(st.binary(max_size=400))
def test_any_octets_are_converted_or_refused(data):
    try:
        got = reencode(data, keep_8bit=False)
    except ConversionProhibited:
        return
    assert got.isascii()
