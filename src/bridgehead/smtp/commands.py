# SPDX-License-Identifier: MIT
"""Arguments of MAIL, RCPT, AUTH and BDAT into events (RFC 5321 §4.1.1, RFC 1870, 3030, 3461, 4954, 6152, 6531).

Each parser returns the event, or the reply that refuses the command. What a command may do is not decided here.
"""

import base64
import binascii
from functools import lru_cache
from typing import Final

from bridgehead.mail.address import DOT_STRING, NULL, AddressError, Mailbox, parse_mailbox
from bridgehead.mail.envelope import BodyType, Notify, Return
from bridgehead.mail.limits import (
    BDAT_CHUNK_BYTES,
    ENVELOPE_ID_OCTETS,
    LOCAL_PART_OCTETS,
    ORIGINAL_RECIPIENT_OCTETS,
    PARAMETERS_PER_COMMAND,
)
from bridgehead.mail.reply import Reply
from bridgehead.smtp import grammar, replies
from bridgehead.smtp.events import Auth, Bdat, Mail, Rcpt
from bridgehead.smtp.extensions import Features


class BadArgument(Exception):
    """Carries the refusing reply out of a parameter parser."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


CACHED_ARGUMENT_BYTES: Final = 320


@lru_cache(maxsize=4096)
def cached_mail(argument: bytes, features: Features) -> Mail | Reply:
    """`parse_mail` for arguments of ordinary length: applications repeat their senders."""
    return parse_mail(argument, features)


@lru_cache(maxsize=4096)
def cached_rcpt(argument: bytes, features: Features, smtputf8: bool) -> Rcpt | Reply:
    """`parse_rcpt` for arguments of ordinary length."""
    return parse_rcpt(argument, features, smtputf8)


def parse_mail(argument: bytes, features: Features) -> Mail | Reply:
    """`FROM:<reverse-path> [parameters]`."""
    if argument[:5].upper() != b"FROM:":
        return replies.ARGUMENTS
    try:
        path, rest = split_path(argument[5:])
        reverse_path = NULL if path == "" else _mailbox(path)
        if not rest:
            mail = Mail(reverse_path)
        else:
            mail = _mail_with_parameters(reverse_path, parameters(rest), features)
        if not mail.smtputf8 and not reverse_path.is_ascii:
            return replies.SMTPUTF8_REQUIRED_SENDER
        return mail
    except BadArgument as bad:
        return bad.reply
    except (AddressError, UnicodeDecodeError):
        return replies.BAD_SENDER_SYNTAX


def parse_rcpt(argument: bytes, features: Features, smtputf8: bool) -> Rcpt | Reply:
    """`TO:<forward-path> [parameters]`; `smtputf8`: MAIL of this transaction had the parameter."""
    if argument[:3].upper() != b"TO:":
        return replies.ARGUMENTS
    try:
        path, rest = split_path(argument[3:])
        forward_path = _mailbox(path)
        if not smtputf8 and not forward_path.is_ascii:
            return replies.SMTPUTF8_REQUIRED_RECIPIENT
        if not rest:
            return Rcpt(forward_path)
        return _rcpt_with_parameters(forward_path, parameters(rest), features)
    except BadArgument as bad:
        return bad.reply
    except (AddressError, UnicodeDecodeError):
        return replies.BAD_RECIPIENT_SYNTAX


def split_path(text: bytes) -> tuple[str, bytes]:
    """The address within angle brackets, a source route removed (RFC 5321 §4.1.1.3, appendix C), and what follows.

    Spaces before the bracket are tolerated, as every server does. Raises AddressError, UnicodeDecodeError.
    """
    if not text.startswith(b"<"):
        text = text.lstrip(b" ")
        if not text.startswith(b"<"):
            raise AddressError("the path does not begin with <")
    end = text.find(b">")
    if b'"' in text[:end]:
        end = _closing_bracket(text)
    if end < 0:
        raise AddressError("the path does not end with >")
    path, rest = text[1:end].decode("utf-8"), text[end + 1 :]
    if rest and not rest.startswith(b" "):
        raise AddressError("a space must follow the path")
    if path.startswith("@"):
        route, colon, path = path.partition(":")
        if not colon or any(not hop.startswith("@") for hop in route.split(",")):
            raise AddressError("the source route is malformed")
    return path, rest.strip(b" ")


def _closing_bracket(text: bytes) -> int:
    """Where > stands outside a quoted local part, -1 where it does not."""
    quoted, position = False, 1
    while position < len(text):
        octet = text[position : position + 1]
        if quoted and octet == b"\\":
            position += 1
        elif octet == b'"':
            quoted = not quoted
        elif octet == b">" and not quoted:
            return position
        position += 1
    return -1


def _mailbox(path: str) -> Mailbox:
    """The path's mailbox; a bare local part has an empty domain, which policy completes or refuses."""
    if DOT_STRING.fullmatch(path) and len(path) <= LOCAL_PART_OCTETS:
        return Mailbox(path, "")
    if not path:
        raise AddressError("the path is empty")
    return parse_mailbox(path)


def parameters(text: bytes) -> dict[str, str | None]:
    """`KEY=value KEY ...` with the keys in upper case. Raises BadArgument on malformed or repeated ones."""
    words = text.decode("utf-8").split()
    if len(words) > PARAMETERS_PER_COMMAND:
        raise BadArgument(replies.ARGUMENTS)
    found: dict[str, str | None] = {}
    for word in words:
        match = grammar.PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            raise BadArgument(replies.ARGUMENTS)
        found[match[1].upper()] = match[2]
    return found


def _mail_with_parameters(reverse_path: Mailbox, given: dict[str, str | None], features: Features) -> Mail:
    size, body_type, smtputf8, ret, envelope_id, auth = 0, BodyType.SEVEN_BIT, False, Return.UNSPECIFIED, "", ""
    require_tls = False
    for key, value in given.items():
        if key == "SIZE" and features.max_message_size is not None:
            size = _size(value)
        elif key == "BODY" and (features.eight_bit_mime or features.binary_mime):
            body_type = _body_type(value, features)
        elif key == "SMTPUTF8" and features.smtputf8 and value is None:
            smtputf8 = True
        elif key == "REQUIRETLS" and features.require_tls and value is None:
            require_tls = True
        elif key == "RET" and features.dsn and value and value.upper() in ("FULL", "HDRS"):
            ret = Return(value.upper())
        elif key == "ENVID" and features.dsn and value and len(value) <= ENVELOPE_ID_OCTETS:
            envelope_id = xtext(value)
        elif key == "AUTH" and value:
            auth = xtext(value)
        else:
            offered = {
                "SIZE": features.max_message_size is not None,
                "BODY": features.eight_bit_mime or features.binary_mime,
                "SMTPUTF8": features.smtputf8,
                "REQUIRETLS": features.require_tls,
                "RET": features.dsn,
                "ENVID": features.dsn,
                "AUTH": True,
            }
            raise BadArgument(_refusal(offered.get(key, False)))
    return Mail(reverse_path, size, body_type, smtputf8, ret, envelope_id, auth, require_tls)


def _rcpt_with_parameters(forward_path: Mailbox, given: dict[str, str | None], features: Features) -> Rcpt:
    notify, original_recipient = Notify.UNSPECIFIED, ""
    for key, value in given.items():
        if key == "NOTIFY" and features.dsn and value:
            notify = _notify(value)
        elif key == "ORCPT" and features.dsn and value and len(value.encode()) <= ORIGINAL_RECIPIENT_OCTETS:
            original_recipient = _original_recipient(value)
        else:
            raise BadArgument(_refusal(features.dsn and key in ("NOTIFY", "ORCPT")))
    return Rcpt(forward_path, notify, original_recipient)


def _refusal(offered: bool) -> Reply:
    """501 for a bad value of a parameter that is offered here, 555 for all others (RFC 5321 §4.1.1.11)."""
    return replies.ARGUMENTS if offered else replies.PARAMETER_UNKNOWN


def _size(value: str | None) -> int:
    if value is None or not grammar.SIZE.fullmatch(value):
        raise BadArgument(replies.ARGUMENTS)
    return int(value)


def _body_type(value: str | None, features: Features) -> BodyType:
    word = (value or "").upper()
    if word == "7BIT" or (word == "8BITMIME" and features.eight_bit_mime):
        return BodyType(word)
    if word == "BINARYMIME" and features.binary_mime and features.chunking:
        return BodyType.BINARY_MIME
    raise BadArgument(replies.ARGUMENTS)


def _notify(value: str) -> Notify:
    flags = Notify.UNSPECIFIED
    words = value.upper().split(",")
    for word in words:
        if word not in ("NEVER", "SUCCESS", "FAILURE", "DELAY"):
            raise BadArgument(replies.ARGUMENTS)
        flags |= Notify[word]
    if Notify.NEVER in flags and len(words) > 1:
        raise BadArgument(replies.ARGUMENTS)
    return flags


def _original_recipient(value: str) -> str:
    """`type;xtext` decoded; utf-8 addresses may come as they are or as unitext (RFC 6533 §3)."""
    kind, semicolon, address = value.partition(";")
    if not semicolon or not address or not grammar.ADDRESS_TYPE.fullmatch(kind):
        raise BadArgument(replies.ARGUMENTS)
    if kind.lower() == "utf-8":
        try:
            decoded = grammar.UNITEXT_HEX.sub(lambda match: chr(int(match[1], 16)), address)
        except ValueError:
            raise BadArgument(replies.ARGUMENTS) from None
        decoded = grammar.HEXCHAR.sub(lambda match: chr(int(match[1], 16)), decoded)
        return f"{kind.lower()};{_printable(decoded)}"
    return f"{kind.lower()};{xtext(address)}"


def xtext(value: str) -> str:
    """Decode xtext (RFC 3461 §4). Raises BadArgument; the result holds no controls."""
    if not grammar.XTEXT.fullmatch(value):
        raise BadArgument(replies.ARGUMENTS)
    return _printable(grammar.HEXCHAR.sub(lambda match: chr(int(match[1], 16)), value))


def _printable(text: str) -> str:
    if not text.isprintable():
        raise BadArgument(replies.ARGUMENTS)
    return text


def parse_bdat(argument: bytes) -> Bdat | Reply:
    """`chunk-size [LAST]`."""
    match = grammar.CHUNK.fullmatch(argument)
    if match is None or (match[2] is not None and match[2].upper() != b"LAST"):
        return replies.ARGUMENTS
    size = int(match[1])
    return Bdat(size, match[2] is not None) if size <= BDAT_CHUNK_BYTES else replies.MESSAGE_TOO_LARGE


def parse_auth(argument: bytes) -> Auth | Reply:
    """`mechanism [initial-response]`."""
    words = argument.split()
    if not 1 <= len(words) <= 2:
        return replies.ARGUMENTS
    mechanism = words[0].decode("ascii", "replace").upper()
    if len(words) == 1:
        return Auth(mechanism, None)
    initial = decode_base64(b"" if words[1] == b"=" else words[1])
    return replies.BAD_BASE64 if initial is None else Auth(mechanism, initial)


def decode_base64(text: bytes) -> bytes | None:
    """Strict base64 (RFC 4648 §4), None where it is none."""
    if not grammar.BASE64.fullmatch(text):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
