# SPDX-License-Identifier: MIT
import pytest

from bridgehead.net.ip_range import RangeError, normalise_ip, parse_binding, parse_ip, parse_range


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_one_form_for_each_address(written: str, normal: str) -> None:
    assert normalise_ip(written) == normal


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"], ["9.255.255.255", "11.0.0.0", "::a00:1"]),
        ("10.2.0.1-10.2.0.99", ["10.2.0.1", "10.2.0.99"], ["10.2.0.0", "10.2.0.100"]),
        ("10.2.0.1 - 10.2.0.99", ["10.2.0.50"], ["10.2.0.100"]),
        ("10.2.0.17", ["10.2.0.17"], ["10.2.0.16", "10.2.0.18"]),
        ("0.0.0.0/0", ["255.255.255.255"], ["::1"]),
        ("::/0", ["::1"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        ("2001:db8::/32", ["2001:db8:ffff::1"], ["2001:db9::"]),
        ("::ffff:10.0.0.0/104", ["10.200.0.1"], ["11.0.0.1"]),
        ("::1-::5", ["::3"], ["::6"]),
    ],
)
def test_ranges_as_administrators_write_them(written: str, inside: list[str], outside: list[str]) -> None:
    found = parse_range(written)
    assert all(found.contains(parse_ip(address)) for address in inside)
    assert not any(found.contains(parse_ip(address)) for address in outside)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("10.0.0.1/8", '"10.0.0.0/8" or "10.0.0.1"'),
        ("10.2.0.99-10.2.0.1", '"10.2.0.1-10.2.0.99"'),
        ("10.0.0.1-::5", "family"),
        ("10.0.0.0/33", "expected"),
        ("printer.local", "expected"),
        ("", "expected"),
        ("10.0.0.256", "expected"),
        ("010.0.0.1", "expected"),
    ],
)
def test_what_is_no_range_is_explained(written: str, told: str) -> None:
    with pytest.raises(RangeError, match=".*" + told.replace("(", r"\(")):
        parse_range(written)


@pytest.mark.parametrize(
    ("written", "shown"),
    [("0.0.0.0:25", "0.0.0.0:25"), ("[::]:25", "[::]:25"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:587", "[::1]:587")],
)
def test_bindings(written: str, shown: str) -> None:
    assert str(parse_binding(written)) == shown


@pytest.mark.parametrize(
    "written", ["25", ":25", "::25", "0.0.0.0", "0.0.0.0:65536", "[::]", "[::1:25", "host:25", "1.2.3.4:-1"]
)
def test_what_is_no_binding_is_refused(written: str) -> None:
    with pytest.raises(RangeError, match=r"0\.0\.0\.0:25"):
        parse_binding(written)
