# SPDX-License-Identifier: MIT
import pytest

from bridgehead.receive.directories.file import BadSubmission, address_list, open_file


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("a@x.com", ["a@x.com"]),
        ("a@x.com, b@y.com", ["a@x.com", "b@y.com"]),
        ("Ann <a@x.com>,\r\n Bob <b@y.com>", ["a@x.com", "b@y.com"]),
        ('"A, b <c@z.com>" <a@x.com>', ["a@x.com"]),
        ("Team: a@x.com, Bob <b@y.com>;, c@z.com", ["a@x.com", "b@y.com", "c@z.com"]),
        ("Undisclosed recipients:;", []),
        ("(c@z.com) a@x.com (d@z.com (e@z.com))", ["a@x.com"]),
        ("(\\) c@z.com) a@x.com", ["a@x.com"]),
        ('"q u"@x.com', ['"q u"@x.com']),
        ("a@[IPv6:::1], b@[192.0.2.1]", ["a@[IPv6:::1]", "b@[192.0.2.1]"]),
        ("=?utf-8?Q?A=2C_b?= <a@x.com>", ["a@x.com"]),
        ("ä@x.com", ["ä@x.com"]),
        ("a@x.com,, ,", ["a@x.com"]),
    ],
)
def test_address_lists(value: str, addresses: list[str]) -> None:
    assert [str(one) for one in address_list([value.encode()])] == addresses


@pytest.mark.parametrize(
    "value",
    [
        "ann", "a@x.com b@y.com", "a@x.com <b@y.com> c@z.com", "<a@x.com", "<a@x.com> <b@y.com>", '"open <a@x.com>', "(open a@x.com",
        "<@r.com:a@x.com>", "a@@x.com", "a@x..com", "<>", "a@x.com\x00", "a b@x.com",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(value: str) -> None:
    with pytest.raises(BadSubmission):
        address_list([value.encode()])


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(BadSubmission, match="UTF-8"):
        address_list([b"\xff@x.com"])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"From: a@x.com\nTo: b@y.com\n", "blank line"),
        (b"\nbody\n", "blank line"),
        (b"", "blank line"),
        (b" From: a@x.com\n\nb\n", "no field"),
        (b"From: a@x.com\nno field\n\nb\n", "line 2 of the header is no field"),
        (b"From a@x.com Mon\nFrom: a@x.com\n\nb\n", "no field"),
        (b"From: a@x.com\n\nb\0\n", "NUL"),
    ],
)
def test_malformed_files_are_explained(data: bytes, told: str) -> None:
    with pytest.raises(BadSubmission, match=told):
        open_file(data)


def test_line_ends_of_any_system() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        header, body = open_file(end.join([b"From: a@x.com", b"Subject: x", b"", b"one", b"two", b""]))
        assert header.block == b"From: a@x.com\r\nSubject: x\r\n"
        assert body == b"\r\none\r\ntwo\r\n"
