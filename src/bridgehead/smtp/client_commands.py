# SPDX-License-Identifier: MIT
"""Commands as a client writes them, and EHLO replies as it reads them (RFC 5321 §4.1.1, RFC 3461 §4, RFC 6531, 6533).

What is not offered is not sent. Text that would break a line cannot come out of here.
"""

import re
from functools import lru_cache
from typing import Final

from bridgehead.mail.address import Mailbox
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, Notify, Return
from bridgehead.smtp.client_events import Extensions, Transaction
from bridgehead.smtp.errors import LocalProtocolError

_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_EIGHT_BIT: Final = BodyType.EIGHT_BIT_MIME
_NO_NOTIFY: Final = Notify.UNSPECIFIED
_NO_RET: Final = Return.UNSPECIFIED
_NOTIFY_WORDS: Final = ((Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))


def xtext(text: str) -> str:
    """ASCII text in xtext (RFC 3461 §4)."""
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text)


def utf8_address_xtext(text: str) -> str:
    """A UTF-8 address in ASCII (utf-8-addr-xtext, RFC 6533 §3)."""
    return _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


def mail_command(transaction: Transaction, extensions: Extensions) -> str:
    """MAIL with the parameters that apply, without its line end."""
    path = transaction.reverse_path
    parts = [f"MAIL FROM:<{_path(path, transaction.smtputf8)}>"]
    if transaction.size and extensions.size is not None:
        parts.append(f"SIZE={transaction.size}")
    if transaction.body is not None:
        parts.append(f"BODY={transaction.body.value}")
    if transaction.smtputf8:
        parts.append("SMTPUTF8")
    if transaction.require_tls:
        parts.append("REQUIRETLS")
    if extensions.dsn:
        if transaction.ret is not Return.UNSPECIFIED:
            parts.append(f"RET={transaction.ret.value}")
        if transaction.envelope_id:
            parts.append(f"ENVID={xtext(transaction.envelope_id)}")
    return " ".join(parts) if len(parts) > 1 else parts[0]


def rcpt_command(recipient: EnvelopeRecipient, transaction: Transaction, extensions: Extensions) -> str:
    """RCPT with NOTIFY and ORCPT where the server offers DSN, without its line end."""
    command = f"RCPT TO:<{_path(recipient.forward_path, transaction.smtputf8)}>"
    if not extensions.dsn:
        return command
    if recipient.notify:
        command += f" NOTIFY={notify_value(recipient.notify)}"
    if recipient.original_recipient:
        kind, _, address = recipient.original_recipient.partition(";")
        encode = utf8_address_xtext if kind.lower() == "utf-8" or not address.isascii() else xtext
        command += f" ORCPT={kind if address.isascii() else 'utf-8'};{encode(address)}"
    return command


def usual_group(transaction: Transaction, extensions: Extensions) -> tuple[bytes, bytes, bytes] | None:
    """The commands for one recipient with DATA and no parameters but SIZE and BODY=8BITMIME; None for others.
    Raises LocalProtocolError where an address would break a line."""
    recipients, body = transaction.recipients, transaction.body
    if len(recipients) != 1 or transaction.smtputf8 or transaction.chunked or transaction.require_tls:
        return None
    recipient = recipients[0]
    if extensions.dsn and (
        recipient.notify is not _NO_NOTIFY
        or recipient.original_recipient
        or transaction.ret is not _NO_RET
        or transaction.envelope_id
    ):
        return None
    if body is None:
        parameters = b"\r\n"
    elif body is _EIGHT_BIT:
        parameters = b" BODY=8BITMIME\r\n"
    else:
        return None
    if extensions.size is not None and transaction.size:
        parameters = b" SIZE=%d%s" % (transaction.size, parameters)
    return _mail_start(transaction.reverse_path), parameters, _rcpt_and_data(recipient.forward_path)


@lru_cache(maxsize=4096)
def _mail_start(reverse_path: Mailbox) -> bytes:
    """MAIL up to its parameters, without SMTPUTF8. Raises LocalProtocolError where the address would break the line."""
    return _whole_line(f"MAIL FROM:<{_path(reverse_path, False)}>")


@lru_cache(maxsize=4096)
def _rcpt_and_data(forward_path: Mailbox) -> bytes:
    """RCPT without parameters or SMTPUTF8, and DATA. Raises LocalProtocolError where the address would break the
    line."""
    return _whole_line(f"RCPT TO:<{_path(forward_path, False)}>") + b"\r\nDATA\r\n"


def _whole_line(command: str) -> bytes:
    if "\r" in command or "\n" in command:
        raise LocalProtocolError("a command would hold a line end")
    return command.encode()


def notify_value(notify: Notify) -> str:
    """NOTIFY's value; NEVER stands alone (RFC 3461 §4.1)."""
    if notify & Notify.NEVER:
        return "NEVER"
    return ",".join(word for flag, word in _NOTIFY_WORDS if notify & flag)


def _path(mailbox: Mailbox, smtputf8: bool) -> str:
    if smtputf8 or mailbox.domain.isascii():
        return str(mailbox)
    return str(mailbox.in_ascii() or mailbox)


def parse_ehlo(lines: list[str]) -> Extensions:
    """The keyword lines of an EHLO reply, first line (the server's name) left out. What is malformed counts as
    not offered; a keyword named twice counts as first named."""
    words: dict[str, list[str]] = {}
    for line in lines[1:]:
        keyword, *parameters = line.upper().split()[:64] or [""]
        if keyword.startswith("AUTH="):  # the form of servers older than RFC 2554
            keyword, parameters = "AUTH", [keyword[5:], *parameters]
        if keyword == "AUTH" and keyword in words:
            words[keyword] += parameters
        words.setdefault(keyword, parameters)
    limits = dict(word.partition("=")[::2] for word in words.get("LIMITS", []))
    return Extensions(
        pipelining="PIPELINING" in words,
        size=_number(*words["SIZE"][:1]) if "SIZE" in words else None,
        eight_bit_mime="8BITMIME" in words,
        binary_mime="BINARYMIME" in words and "CHUNKING" in words,
        chunking="CHUNKING" in words,
        smtputf8="SMTPUTF8" in words,
        dsn="DSN" in words,
        starttls="STARTTLS" in words,
        require_tls="REQUIRETLS" in words,
        auth=tuple(words.get("AUTH", ())),
        mail_max=_number(limits.get("MAILMAX", "")),
        rcpt_max=_number(limits.get("RCPTMAX", "")),
        rcpt_domain_max=_number(limits.get("RCPTDOMAINMAX", "")),
    )


def _number(text: str = "") -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
