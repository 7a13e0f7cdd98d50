# SPDX-License-Identifier: MIT
"""Messages of LDAP: octets of RFC 4511, and whatever a server may send instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.ldap import ber, messages
from bridgehead.ldap.filters import equals
from bridgehead.ldap.messages import Entry, Result, Scope, Search
from bridgehead.mail.secret import Secret


def test_requests_are_these_octets() -> None:
    assert messages.bind(1, "cn=a", Secret("pw")) == bytes.fromhex("3012020101600d0201030404636e3d6180027077")
    assert messages.start_tls(2) == b"\x30\x1d\x02\x01\x02\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
    wanted = Search(
        base="dc=x", scope=Scope.SUBTREE, filter=equals("uid", "a"), attributes=["mail"], most=2, seconds=5
    )  # fmt: skip
    assert messages.search(4, wanted) == bytes.fromhex(
        "302c020104 6327 040464633d78 0a0102 0a0100 020102 020105 010100 a308 0403756964 040161 3006 04046d61696c".replace(" ", "")
    )  # fmt: skip


@pytest.mark.parametrize(("name", "password"), [("", "x"), ("cn=a", ""), ("", "")])
def test_no_bind_is_anonymous_or_unauthenticated(name: str, password: str) -> None:
    """RFC 4513 §5.1.1, §5.1.2: it would succeed."""
    with pytest.raises(ValueError, match="needs a name and a password"):
        messages.bind(1, name, Secret(password))


def test_responses() -> None:
    assert messages.decode(bytes.fromhex("300c02010161070a010004000400")) == (1, Result(0))
    refused = ber.element(0x61, ber.integer(49, ber.ENUMERATED), ber.octets("dc=x"), ber.octets("no"))
    assert messages.decode(ber.element(0x30, ber.integer(300), refused)) == (300, Result(49, "no"))
    started = ber.element(
        0x78, ber.integer(0, ber.ENUMERATED), ber.octets(""), ber.octets(""), ber.octets("1.3.6.1.4.1.1466.20037", 0x8A)
    )  # fmt: skip
    assert messages.decode(ber.element(0x30, ber.integer(2), started)) == (2, Result(0))
    values = ber.element(ber.SET, ber.octets("a@x"), ber.octets(b"\xff"))
    entry = ber.element(
        0x64, ber.octets("uid=a"), ber.element(0x30, ber.element(0x30, ber.octets("Mail;lang-de"), values))
    )  # fmt: skip
    number, found = messages.decode(ber.element(0x30, ber.integer(7), entry))
    assert (number, found) == (7, Entry("uid=a", {"mail": (b"a@x", b"\xff")}))
    assert isinstance(found, Entry)
    assert found.texts("MAIL") == ["a@x"]
    reference = ber.element(0x73, ber.octets("ldap://elsewhere/"))
    assert messages.decode(ber.element(0x30, ber.integer(7), reference)) == (7, None)


@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_refused(data: bytes) -> None:
    for octets in (data, ber.element(0x30, data), ber.element(0x30, ber.integer(1), ber.element(0x64, data))):
        try:
            length = ber.whole(octets, 1000)
            messages.decode(octets[:length] if length else octets)
        except ber.BerError:
            pass


def test_a_message_is_known_by_its_length_however_it_comes() -> None:
    message = ber.element(0x30, ber.octets("x" * 300))
    for end in range(len(message)):
        assert ber.whole(message[:end], 1000) == 0
    assert ber.whole(message + b"0", 1000) == len(message)


@pytest.mark.parametrize(
    ("data", "fault"),
    [(b"HTTP/1.1 400", "does not speak LDAP"), (b"\x15\x03\x01", "does not speak LDAP"), (b"\x30\x80", "no definite length"),
     (b"\x30\x85\x00\x00\x00\x00\x01", "no definite length"), (b"\x30\x84\x7f\xff\xff\xff", "more than 1000"),
     (b"\x30\x82\x03\xe8", "more than 1000")],
)  # fmt: skip
def test_what_is_too_large_or_no_message_is_known_at_once(data: bytes, fault: str) -> None:
    with pytest.raises(ber.BerError, match=fault):
        ber.whole(data, 1000)
