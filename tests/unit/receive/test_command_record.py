# SPDX-License-Identifier: MIT
import pytest

from bridgehead.receive.command_record import mechanism, shown


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"MAIL FROM:<a@b.test> SIZE=9\r\n", "MAIL FROM:<a@b.test> SIZE=9"),
        (b"rcpt to: <no path\r\n", "rcpt to: <no path"),
        (b"EHLO printer.contoso.test", "EHLO printer.contoso.test"),
        (b"QUIT", "QUIT"),
        (b"NOOP hunter2", "NOOP <7 characters>"),
        (b"AUTH PLAIN AGEAaHVudGVyMg== more", "AUTH <authentication data>"),
        (b"XCLIENT ADDR=192.0.2.1", "XCLIENT <14 characters>"),
        (b"hunter2", "<7 characters that are no command>"),
        (b"aHVudGVyMg==", "<12 characters that are no command>"),
        (b"PASS hunter2", "<12 characters that are no command>"),
        (b"\xff\xfe", "<2 characters that are no command>"),
    ],
)
def test_of_what_is_no_command_only_the_length_is_shown(line: bytes, text: str) -> None:
    assert shown(line) == text


def test_a_mechanism_that_does_not_exist_may_be_a_password() -> None:
    assert mechanism("scram-sha-256") == "scram-sha-256"
    assert mechanism("hunter2") == "<7 characters that are no mechanism>"
