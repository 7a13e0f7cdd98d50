# SPDX-License-Identifier: MIT
"""Trace fields that the transport writes: Received and Return-Path (RFC 5321 §4.4, RFC 3848, RFC 6531 §3.7.3)."""

import re
from email.utils import formatdate
from functools import lru_cache

from bridgehead.mail.address import Mailbox

_UNSAFE = re.compile(r"[\x00-\x20()\\\x7f-\xa0]+")


def date_time(when: float) -> str:
    """Unix time as an RFC 5322 date-time in UTC."""
    return _date_time(int(when))


@lru_cache(maxsize=64)
def _date_time(second: int) -> str:
    return formatdate(second).replace("-0000", "+0000")


def protocol_name(*, esmtp: bool, tls: bool, authenticated: bool, utf8: bool, lmtp: bool = False) -> str:
    """The `with` word of Received: SMTP, ESMTPS, UTF8SMTPSA, LMTP ... (RFC 3848, RFC 6531 §4.3)."""
    if not esmtp and not lmtp:
        return "SMTP"
    base = "LMTP" if lmtp else "SMTP"
    prefix = "UTF8" if utf8 else "" if lmtp else "E"
    return prefix + base + ("S" if tls else "") + ("A" if authenticated else "")


def received_field(
    *, helo: str, client_hostname: str, client_ip: str, fqdn: str, server_ip: str, protocol: str, queue_id: str,
    when: float, tls: str = "", recipient: str = "",
) -> bytes:  # fmt: skip
    """A Received field with its CR LF, folded.

    Args:
        helo: what the client called itself; anything that could break the field is replaced.
        client_hostname: its name in DNS, "" where unknown.
        tls: protocol and cipher, "" for plain text.
        recipient: the only recipient; "" with several, so that none learns of the others.
        when: Unix time.
    """
    security = f" ({tls})" if tls else ""
    wanted = f"\r\n for <{recipient}>" if recipient else ""
    return (
        f"Received: {_from_and_by(helo, client_hostname, client_ip, fqdn, server_ip)} with {protocol}{security}"
        f"\r\n id {queue_id}{wanted}; {date_time(when)}\r\n"
    ).encode()


@lru_cache(maxsize=1024)
def _from_and_by(helo: str, client_hostname: str, client_ip: str, fqdn: str, server_ip: str) -> str:
    """The clauses that are the same for all messages of a session."""
    client = f"[{'IPv6:' if ':' in client_ip else ''}{client_ip}]"
    name = f"{client_hostname} {client}" if client_hostname else client
    server = f" ([{'IPv6:' if ':' in server_ip else ''}{server_ip}])" if server_ip else ""
    return f"from {_UNSAFE.sub('?', helo) or 'unknown'} ({name})\r\n by {fqdn}{server}"


def return_path_field(reverse_path: Mailbox) -> bytes:
    """The Return-Path field that final delivery puts on top (RFC 5321 §4.4)."""
    return f"Return-Path: <{reverse_path}>\r\n".encode()
