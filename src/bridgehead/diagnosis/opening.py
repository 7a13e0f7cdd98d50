# SPDX-License-Identifier: MIT
"""What a server said at the beginning of a session: banner and EHLO keywords out of the octets that came."""

from collections.abc import Iterable
from typing import NamedTuple

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT


class Said(NamedTuple):
    """`keywords` are those of the last EHLO answer, `in_clear` those of the first; equal where TLS never began."""

    banner: str
    keywords: tuple[str, ...]
    in_clear: tuple[str, ...]


def said_in(heard: bytes) -> Said:
    """Take a server's lines apart; what is no reply is passed over."""
    lines = lines_of(heard)
    answers: list[tuple[str, ...]] = []
    answer: list[str] = []
    for line in lines[1:]:
        if line[:3] != "250":
            continue
        answer.append(line[4:])
        if line[3:4] != "-":
            answers.append(tuple(answer[1:]))
            answer = []
    banner = lines[0][4:] if lines else ""
    return Said(banner, answers[-1], answers[0]) if answers else Said(banner, (), ())


def opening_lines(pieces: Iterable[tuple[bool, bytes]], tls: str) -> list[str]:
    """A session's beginning, as lines of the protocol log.

    Args:
        pieces: what was said, in order, each with whether we said it; without secrets.
        tls: protocol and cipher, "" for a session in clear.
    """
    lines: list[str] = []
    secure = False
    for ours, data in pieces:
        lines += [f"{'>' if ours else '<'} {text}" for text in lines_of(data)]
        if ours and data.upper().startswith(b"STARTTLS"):
            secure = True
        elif not ours and secure and data.startswith(b"220") and tls:
            lines.append(f"* TLS negotiated: {tls}")
            secure = False
    return lines


def lines_of(data: bytes) -> list[str]:
    """Lines as text that is safe to show."""
    return [clean_text(line.decode("utf-8", "replace"), LOGGED_TEXT) for line in data.split(b"\r\n") if line]
