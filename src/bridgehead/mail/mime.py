# SPDX-License-Identifier: MIT
"""What a MIME message is made of (RFC 2045, 2046), read from messages of others: its type and its parts (pure)."""

import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

from bridgehead.mail.header import HeaderBlock, clean_text, split_header

BOUNDARY_CHARACTERS: Final = 70
"""RFC 2046 §5.1.1."""
_FIELD_BYTES: Final = 2000
_PARTS: Final = 20


def content_type(block: HeaderBlock) -> tuple[str, dict[str, str]]:
    """Media type in lower case, and the parameters."""
    message = Message()
    value = block.first(b"content-type")[:_FIELD_BYTES].decode("utf-8", "replace")
    message["Content-Type"] = clean_text(value, _FIELD_BYTES)
    found = message.get_params(failobj=[])
    parameters = {name.lower(): value for name, value in found[1:] if isinstance(value, str)}
    return message.get_content_type(), parameters


def parts_of(body: bytes, boundary: str) -> Iterator[tuple[HeaderBlock, bytes]]:
    """Header and content, encoded as it came, of the first parts at the top level of a multipart."""
    mark = rb"\r?\n--" + re.escape(boundary.encode("utf-8", "replace")) + rb"(?=[-\s]|$)"
    for chunk in re.split(mark, b"\r\n" + body, maxsplit=_PARTS)[1:]:
        if chunk.startswith(b"--"):
            break
        header, content = split_header(chunk.lstrip(b" \t").removeprefix(b"\r\n"))
        yield HeaderBlock(header), content.removeprefix(b"\r\n")
