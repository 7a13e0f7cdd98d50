# SPDX-License-Identifier: MIT
"""Content re-encoded for servers without 8BITMIME or BINARYMIME (RFC 6152 §3, RFC 3030 §3, RFC 2045 §6).

Only parts that need it change, and of those only Content-Transfer-Encoding and the encoded octets; everything else
stays byte for byte. Signed and encrypted content is never touched: it cannot be sent there (RFC 3463 X.6.2).
"""

import binascii
import quopri
import re
from email.message import Message
from typing import Final

from bridgehead.mail.header import HeaderBlock, split_header
from bridgehead.mail.limits import TEXT_LINE_BYTES
from bridgehead.smtp.content import canonical_line_ends, is_strict

_DEPTH: Final = 32
_BASE64_LINE: Final = 57
_OPAQUE: Final = {
    "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime",
    "application/pgp-encrypted",
}  # fmt: skip
_SIGNATURES: Final = (b"dkim-signature", b"arc-seal", b"domainkey-signature")
_NON_ASCII = re.compile(rb"[\x80-\xff]")


class ConversionProhibited(Exception):
    """The content must not or cannot be converted.

    Attributes:
        status: 5.6.2 (prohibited) or 5.6.3 (required but not supported), RFC 3463 §3.7.
    """

    def __init__(self, reason: str, status: str) -> None:
        super().__init__(reason)
        self.status = status


def reencode(data: bytes, *, keep_8bit: bool) -> bytes:
    """The message in 7 bits, or with `keep_8bit` in lines of 8 bits. Raises ConversionProhibited.

    Unchanged where nothing in it needs conversion. A message without MIME-Version gets MIME fields for its text.
    """
    if not _needs(data, keep_8bit):
        return data
    header, _ = split_header(data)
    block = HeaderBlock(header)
    for signature in _SIGNATURES:
        if block.count(signature):
            raise ConversionProhibited("the message is signed and the next server takes no 8-bit content", "5.6.2")
    if not keep_8bit and _NON_ASCII.search(header):
        raise ConversionProhibited("the header holds octets above 127, which cannot be converted", "5.6.3")
    return _entity(data, keep_8bit, 0, is_message=True)


def _needs(data: bytes, keep_8bit: bool) -> bool:
    """Whether these octets may not go as they are."""
    if not keep_8bit and not data.isascii():
        return True
    return not is_strict(data) or _has_long_line(data)


def _has_long_line(data: bytes) -> bool:
    return any(len(line) > TEXT_LINE_BYTES for line in data.split(b"\r\n"))


def _entity(data: bytes, keep_8bit: bool, depth: int, *, is_message: bool = False) -> bytes:
    """One entity, header and body, converted where it needs to be."""
    if not _needs(data, keep_8bit):
        return data
    if depth > _DEPTH:
        raise ConversionProhibited("the parts are nested too deeply to be converted", "5.6.3")
    header, rest = split_header(data)
    block = HeaderBlock(header)
    kind, boundary = _content_type(block)
    if kind in _OPAQUE:
        raise ConversionProhibited(f"the message holds {kind} and the next server takes no 8-bit content", "5.6.2")
    body = rest[2:]
    if is_message and not block.count(b"mime-version"):
        return _text_without_mime(block, body)
    if kind.startswith("multipart/"):
        if not boundary:
            raise ConversionProhibited("a multipart without boundary cannot be converted", "5.6.3")
        return _with_encoding(block, _unencoded(keep_8bit)) + b"\r\n" + _multipart(body, boundary, keep_8bit, depth)
    if kind == "message/rfc822" and _encoding(block) in (b"", b"7bit", b"8bit", b"binary"):
        converted = _entity(body, keep_8bit, depth + 1, is_message=True)
        return _with_encoding(block, _unencoded(keep_8bit)) + b"\r\n" + converted
    return _leaf(block, body, kind)


def _unencoded(keep_8bit: bool) -> bytes:
    return b"8bit" if keep_8bit else b"7bit"


def _leaf(block: HeaderBlock, body: bytes, kind: str) -> bytes:
    """A part without parts: text as quoted-printable, all else as base64."""
    if _encoding(block) not in (b"", b"7bit", b"8bit", b"binary"):
        raise ConversionProhibited("a part holds octets that its own encoding forbids", "5.6.3")
    if kind.startswith("text/") and is_strict(body):
        return _with_encoding(block, b"quoted-printable") + b"\r\n" + _quoted_printable(body)
    return _with_encoding(block, b"base64") + b"\r\n" + _base64(body)


def _text_without_mime(block: HeaderBlock, body: bytes) -> bytes:
    """8-bit text from a sender that knows no MIME; its character set is a guess that loses nothing."""
    charset = b"utf-8"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        charset = b"unknown-8bit"  # RFC 1428 §3
    kept = block.without(lambda name: name in (b"content-type", b"content-transfer-encoding"))
    fields = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=" + charset + b"\r\n"
    fields += b"Content-Transfer-Encoding: quoted-printable\r\n"
    return _ended(kept) + fields + b"\r\n" + _quoted_printable(canonical_line_ends(body))


def _multipart(body: bytes, boundary: bytes, keep_8bit: bool, depth: int) -> bytes:
    """The parts between the delimiters; preamble and epilogue as they are, unless they hold what may not go."""
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    out: list[bytes] = []
    position, inside, closed = 0, False, False
    for match in delimiter.finditer(body):
        if closed:
            break
        out.append(_piece(body[position : match.start()], inside, keep_8bit, depth))
        out.append(match.group())
        position, inside, closed = match.end(), True, bool(match[1])
    out.append(_piece(body[position:], inside and not closed, keep_8bit, depth))
    return b"".join(out)


def _piece(data: bytes, is_part: bool, keep_8bit: bool, depth: int) -> bytes:
    if not _needs(data, keep_8bit):
        return data
    if not is_part:
        raise ConversionProhibited("octets outside the parts of a multipart cannot be converted", "5.6.3")
    if not data.startswith(b"\r\n"):
        raise ConversionProhibited("a part of the multipart is malformed", "5.6.3")
    return b"\r\n" + _entity(data[2:], keep_8bit, depth + 1)


def _content_type(block: HeaderBlock) -> tuple[str, bytes]:
    """Media type in lower case, and the boundary."""
    value = block.first(b"content-type")
    message: Message[str, str] = Message()
    message["content-type"] = value.decode("latin-1") or "text/plain"
    boundary = message.get_boundary() or ""
    return message.get_content_type(), boundary.encode("latin-1", "replace")


def _encoding(block: HeaderBlock) -> bytes:
    return block.first(b"content-transfer-encoding").lower()


def _with_encoding(block: HeaderBlock, encoding: bytes) -> bytes:
    """The header with its Content-Transfer-Encoding set; untouched where it says so or needs none."""
    current = _encoding(block)
    if current == encoding or (not current and encoding in (b"7bit", b"8bit")):
        return block.block
    if current == b"7bit" and encoding == b"8bit":
        return block.block
    kept = block.without(lambda name: name == b"content-transfer-encoding")
    return _ended(kept) + b"Content-Transfer-Encoding: " + encoding + b"\r\n"


def _ended(header: bytes) -> bytes:
    return header if header.endswith(b"\r\n") or not header else header + b"\r\n"


def _quoted_printable(body: bytes) -> bytes:
    """Text with CR LF line ends, in lines of at most 76 (RFC 2045 §6.7)."""
    encoded = quopri.encodestring(body.replace(b"\r\n", b"\n"), quotetabs=False)
    return encoded.replace(b"\n", b"\r\n")


def _base64(body: bytes) -> bytes:
    pieces = (body[at : at + _BASE64_LINE] for at in range(0, len(body), _BASE64_LINE))
    return b"".join(binascii.b2a_base64(piece, newline=False) + b"\r\n" for piece in pieces)
