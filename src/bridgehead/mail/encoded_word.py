# SPDX-License-Identifier: MIT
"""Encoded words (RFC 2047), as far as what they hide must be found: whatever charset they name, ASCII is read."""

import base64
import binascii
import re
from typing import Final

ENCODED_WORD: Final = re.compile(r"=\?([^\s?]{1,40})\?([bBqQ])\?([^\s?]*)\?=")
_BETWEEN: Final = re.compile(r"(?<=\?=)\s+(?==\?)")
_OCTET: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_WITHOUT_ASCII: Final = frozenset({"utf-7", "utf-16", "utf-16be", "utf-16le", "utf-32", "utf-32be", "utf-32le"})
"""Charsets whose ASCII is not ASCII's octets."""


def decode_words(text: str) -> str:
    """The text with its encoded words decoded; what is none stays as it is."""
    return ENCODED_WORD.sub(_decoded, _BETWEEN.sub("", text))


def _decoded(word: "re.Match[str]") -> str:
    charset, encoding, data = word[1].partition("*")[0].lower(), word[2].lower(), word[3].encode("utf-8", "replace")
    if encoding == "b":
        try:
            octets = base64.b64decode(data + b"==")
        except binascii.Error:
            return word[0]
    else:
        octets = _OCTET.sub(lambda octet: bytes.fromhex(octet[1].decode()), data.replace(b"_", b" "))
    return octets.decode(charset if charset in _WITHOUT_ASCII else "utf-8", "replace")
