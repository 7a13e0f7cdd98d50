# SPDX-License-Identifier: MIT
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.author import MISLEADING, FromFault, read_author
from bridgehead.mail.header import HeaderBlock


def read(*values: str | bytes, more: bytes = b"") -> tuple[list[str], list[FromFault]]:
    fields = [b"From: " + (value.encode() if isinstance(value, str) else value) + b"\r\n" for value in values]
    author = read_author(HeaderBlock(b"".join(fields) + more))
    return [str(address) for address in author.addresses], list(author.faults)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("anna@contoso.com", "anna@contoso.com"),
        ("<anna@contoso.com>", "anna@contoso.com"),
        ("Anna <anna@contoso.com>", "anna@contoso.com"),
        ("Anna K. Berg <anna@contoso.com>", "anna@contoso.com"),
        ('"Berg, Anna <x@evil.example>" <anna@contoso.com>', "anna@contoso.com"),
        ("anna@contoso.com (Anna, x@evil.example; (nested) )", "anna@contoso.com"),
        ("=?utf-8?q?Ann=C3=A1?= <anna@contoso.com>", "anna@contoso.com"),
        ("Ánna <ánna@contoso.com>", "ánna@contoso.com"),
        ('"anna berg"@contoso.com', '"anna berg"@contoso.com'),
        ("Anna\r\n <anna@[192.0.2.1]>", "anna@[192.0.2.1]"),
        ('"Semi; colon" <anna@contoso.com>', "anna@contoso.com"),
    ],
)
def test_a_field_as_the_rfc_has_it(value: str, address: str) -> None:
    assert read(value) == ([address], [])


@pytest.mark.parametrize(
    ("value", "fault", "seen"),
    [
        ("undisclosed: anna@contoso.com;", FromFault.GROUP, ["anna@contoso.com"]),
        ("eve@evil.example; anna@contoso.com", FromFault.AFTER_SEMICOLON, ["eve@evil.example", "anna@contoso.com"]),
        ("<eve@evil.example>; <anna@contoso.com>", FromFault.AFTER_SEMICOLON, ["eve@evil.example", "anna@contoso.com"]),
        (
            "anna@contoso.com\x01 <eve@evil.example>",
            FromFault.CONTROL_CHARACTER,
            ["anna@contoso.com", "eve@evil.example"],
        ),
        ("<anna@contoso.com> <eve@evil.example>", FromFault.MALFORMED, ["anna@contoso.com", "eve@evil.example"]),
        ("anna@contoso.com <eve@evil.example>", FromFault.MALFORMED, ["anna@contoso.com", "eve@evil.example"]),
        ("<eve@evil.example> anna@contoso.com", FromFault.MALFORMED, ["eve@evil.example", "anna@contoso.com"]),
        ("anna@contoso.com, <eve@evil.example", FromFault.MALFORMED, ["anna@contoso.com", "eve@evil.example"]),
        ("Scanner scanner@contoso.com", FromFault.MALFORMED, ["scanner@contoso.com"]),
        ("anna @contoso.com", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("anna@(x)contoso . com", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("anna(x)@contoso.com", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("anna\uff20contoso.com", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("anna\u200b @\u00ad contoso.com", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("eve@evil.example (x <anna@contoso.com>", FromFault.MALFORMED, ["eve@evil.example", "anna@contoso.com"]),
        ("eve@evil.example ( , anna@contoso.com", FromFault.MALFORMED, ["eve@evil.example", "anna@contoso.com"]),
        ('"<anna@contoso.com>"@evil.example', FromFault.MALFORMED, ["anna@contoso.com"]),
        ('"x\\" <anna@contoso.com>" <eve@evil.example>', FromFault.MALFORMED, ["anna@contoso.com", "eve@evil.example"]),
        ("=?utf-8?b?YW5uYUBjb250b3NvLmNvbQ==?=", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("<=?x?q?anna=40contoso.com?=>", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("=?utf-16?b?YQBuAG4AYQBAAGMAbwBuAHQAbwBzAG8ALgBjAG8AbQA=?=", FromFault.MALFORMED, ["anna@contoso.com"]),
        (
            "=?utf-8?q?anna=40contoso.com=00?=@evil.example",
            FromFault.ENCODED_ADDRESS,
            ["=?utf-8?q?anna=40contoso.com=00?=@evil.example", "anna@contoso.com"],
        ),
        (
            "=?utf-8?q?anna=40contoso.com=00?= <eve@evil.example>",
            FromFault.CONTROL_CHARACTER,
            ["eve@evil.example", "anna@contoso.com"],
        ),
        ("anna@contoso.com;", FromFault.MALFORMED, ["anna@contoso.com"]),
        ("Scanner", FromFault.MALFORMED, []),
        ("", FromFault.MALFORMED, []),
        ('"<anna@contoso.com>', FromFault.MALFORMED, ["anna@contoso.com"]),
    ],
)
def test_d7_an_odd_field_gives_every_author_that_somebody_could_see(
    value: str, fault: FromFault, seen: list[str]
) -> None:
    addresses, faults = read(value)
    assert fault in faults
    assert addresses == seen


@pytest.mark.parametrize("name", [b"\xef\xbb\xbfFrom", b"From\0", b"\0From", b"From\xc2\xa0"])
def test_d7_a_line_that_some_reader_takes_for_the_author_counts(name: bytes) -> None:
    for more in (b"", b"From: eve@evil.example\r\n"):
        author = read_author(HeaderBlock(more + name + b": anna@contoso.com\r\n"))
        assert "anna@contoso.com" in map(str, author.addresses)
        assert FromFault.CONTROL_CHARACTER in author.faults


def test_a_name_with_a_line_end_behind_it_is_a_mistake_and_no_forgery() -> None:
    assert read("=?utf-8?b?Sm9obgo=?= <anna@contoso.com>") == (["anna@contoso.com"], [])


def test_several_fields_several_authors_and_none() -> None:
    assert read("a@x.example", "b@y.example") == (["a@x.example", "b@y.example"], [FromFault.SEVERAL_FIELDS])
    assert read("a@x.example, b@y.example")[1] == [FromFault.SEVERAL_AUTHORS]
    assert read("a@x.example, b@y.example", more=b"Sender: a@x.example\r\n")[1] == []
    assert read() == ([], [FromFault.MISSING])


def test_octets_that_are_no_utf8() -> None:
    assert read(b"J\xf6rg <joerg@contoso.com>") == (["joerg@contoso.com"], [FromFault.RAW_8BIT])


def test_an_endless_field_is_cut() -> None:
    addresses, faults = read("a@x.example," * 2000)
    assert FromFault.TOO_LONG in faults
    assert len(addresses) <= 20


def test_old_devices_are_not_taken_for_forgers() -> None:
    assert not {FromFault.MISSING, FromFault.MALFORMED} & MISLEADING


@given(st.text(max_size=80), st.text(st.sampled_from('a@b.c<>(),:;"\\[] \t'), max_size=60))
def test_no_field_raises_and_one_without_fault_reads_the_same_again(free: str, marks: str) -> None:
    for text in (free.replace("\r", "").replace("\n", ""), marks):
        addresses, faults = read(text.encode("utf-8", "surrogatepass"))
        if not faults:
            assert read(", ".join(f"<{address}>" for address in addresses)) == (addresses, [])


@pytest.mark.parametrize("filler", ["(", '"', "\\", "<", "a@", "[", " ", "(\\"])
def test_d9_no_field_costs_more_than_its_length(filler: str) -> None:
    read(filler * 100_000)
