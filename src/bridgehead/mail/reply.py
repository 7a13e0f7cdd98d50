# SPDX-License-Identifier: MIT
"""SMTP replies and enhanced status codes (RFC 5321 §4.2, RFC 3463, RFC 2034).

One constructor keeps the class digits of code and enhanced status equal. The texts we send are in `smtp/replies.py`.
"""

import re

import msgspec

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:[ \t]+|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Reply(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Code, enhanced status ("" where none applies, as in 220, 354 and EHLO) and text, lines parted by LF.

    Raises ValueError when the classes of code and status differ, or a line would break the wire format.
    """

    code: int
    status: str
    text: str

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no SMTP reply code")
        if self.status and self.status[0] != str(self.code)[0]:
            raise ValueError(f"{self.code} and {self.status} are of different classes")
        if "\r" in self.text or "\0" in self.text:
            raise ValueError("a reply's text may hold no CR and no NUL")

    @property
    def is_positive(self) -> bool:
        """2yz, or 3yz which asks to go on."""
        return self.code < 400

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        """One line, as logs and reports quote it."""
        text = self.text.replace("\n", " ")
        return f"{self.code} {self.status} {text}" if self.status else f"{self.code} {text}"

    def to_wire(self, enhanced: bool = True) -> bytes:
        """The reply's lines with CR LF; each carries the enhanced status if there is one and `enhanced` (RFC 2034)."""
        prefix = f"{self.status} " if self.status and enhanced else ""
        lines = self.text.split("\n")
        out = [f"{self.code}-{prefix}{line}\r\n" for line in lines[:-1]]
        out.append(f"{self.code} {prefix}{lines[-1]}\r\n")
        return "".join(out).encode()


def reply_from_wire(code: int, lines: list[str]) -> Reply:
    """A remote server's reply as a value: control characters replaced, the enhanced status split off.

    A status whose class contradicts the code is ignored, the code counts (RFC 2034 §4).
    """
    clean = [_CONTROL.sub(" ", line) for line in lines]
    status = ""
    found = [_ENHANCED.match(line) for line in clean]
    if found and found[0] and found[0][1] == str(code)[0]:
        status = f"{found[0][1]}.{int(found[0][2])}.{int(found[0][3])}"
        clean = [line[m.end() :] if m else line for line, m in zip(clean, found, strict=True)]
    return Reply(code, status, "\n".join(clean))
