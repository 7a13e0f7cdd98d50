# SPDX-License-Identifier: MIT
"""One login: what is known of it, what may be wrong with it, and its table in the file of logins."""

import base64
import binascii
import json
import re
from typing import Final

import msgspec
from scramp import ScramException
from scramp.utils import saslprep

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS
from bridgehead.smtp.sasl import ScramCredential

_ITERATIONS_MIN: Final = 4096
_ITERATIONS_MAX: Final = 1_000_000
_CERTIFICATE: Final = re.compile(r"sha256:[0-9a-f]{64}|(?!sha256:)[^\s\x00-\x1f]{1,254}", re.IGNORECASE)


class UserFileError(Exception):
    """The file cannot be used, or a change is refused; the message names file, line, field and what was expected."""


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One login.

    Attributes:
        name: unique without regard to case, prepared by SASLprep (RFC 4013), in lower case.
        addresses: the addresses that are its own.
        send_as: further ones it may send as: addresses, "*@domain", or "*" for any.
        send_on_behalf: in whose name it may write (From), while Sender shows an address of its own; as `send_as`.
        certificates: client certificates that log it in (AUTH EXTERNAL): a DNS name, an IP address or a mail address
            that the certificate carries, or "sha256:HEX" for one certificate.
    """

    name: str = ""
    enabled: bool = True
    comment: str = ""
    addresses: tuple[str, ...] = ()
    send_as: tuple[str, ...] = ()
    send_on_behalf: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()


class UserRecord(User, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A login as the file has it."""

    salt: str
    iterations: int
    stored_key: str
    server_key: str


class UserRecords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as a whole."""

    unknown_user_secret: str = ""
    users: dict[str, UserRecord] = {}


def canonical_name(name: str) -> str:
    """A login's name as it is stored and compared; what SASLprep forbids is left and will match nobody."""
    try:
        return str(saslprep(name)).lower()
    except ScramException:
        return name.lower()


def problem_with(user: User) -> str:
    """What is wrong with a login, "" where nothing is."""
    name = user.name
    if not name or len(name) > LOGIN_NAME_CHARACTERS or not name.isprintable() or " " in name:
        return f"name: 1 to {LOGIN_NAME_CHARACTERS} printable characters without spaces were expected, not {name!r}"
    if not user.comment.isprintable():
        return "comment: one line of printable characters was expected"
    for address in user.addresses:
        try:
            parse_mailbox(address)
        except AddressError as error:
            return f"addresses: {address!r} is no address: {error}"
    for field, grants in (("send_as", user.send_as), ("send_on_behalf", user.send_on_behalf)):
        for grant in grants:
            if fault := _fault_of_grant(grant):
                return f'{field}: an address, "*@domain" or "*" was expected, not {grant!r}: {fault}'
    if user.send_on_behalf and not user.addresses:
        return "send_on_behalf: it needs an address of its own, which Sender shows"
    for certificate in user.certificates:
        if not _CERTIFICATE.fullmatch(certificate):
            return f'certificates: a DNS name, an address or "sha256:" with 64 hex digits, not {certificate!r}'
    return ""


def _fault_of_grant(grant: str) -> str:
    """What is wrong with an address, "*@domain" or "*"; "" for nothing."""
    try:
        if grant.startswith("*@"):
            parse_domain(grant[2:])
        elif grant != "*":
            parse_mailbox(grant)
    except AddressError as error:
        return str(error) or "malformed"
    return ""


def from_record(where: str, name: str, record: UserRecord) -> tuple[User, ScramCredential]:
    user = User(
        name=canonical_name(name), enabled=record.enabled, comment=record.comment,
        addresses=record.addresses, send_as=record.send_as, send_on_behalf=record.send_on_behalf,
        certificates=record.certificates,
    )  # fmt: skip
    if problem := problem_with(user):
        raise UserFileError(f"{where}: {problem}")
    if record.name:
        raise UserFileError(f"{where}: name: it stands in the table's heading, not in a field")
    if not _ITERATIONS_MIN <= record.iterations <= _ITERATIONS_MAX:
        raise UserFileError(f"{where}: iterations: {_ITERATIONS_MIN} to {_ITERATIONS_MAX} were expected")
    keys = []
    for field, size in (("salt", 12), ("stored_key", 32), ("server_key", 32)):
        try:
            key = base64.b64decode(getattr(record, field), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) < size or (field != "salt" and len(key) != size):
            raise UserFileError(f"{where}: {field}: base64 of {size} octets was expected; set the password anew")
        keys.append(key)
    return user, ScramCredential(keys[0], record.iterations, keys[1], keys[2])


def line_of(text: str, name: str) -> int:
    """The line where a login's table begins, 0 where it is written in a way this does not find."""
    headings = (f"[users.{json.dumps(name, ensure_ascii=False)}]", f"[users.{name}]", f"[users.'{name}']")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(headings))
    return next(lines, 0)


def record_table(user: User, credential: ScramCredential) -> str:
    def quoted(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    def encoded(value: bytes) -> str:
        return quoted(base64.b64encode(value).decode())

    return (
        f"\n[users.{quoted(user.name)}]\n"
        f"enabled = {quoted(user.enabled)}\n"
        f"comment = {quoted(user.comment)}\n"
        f"addresses = {quoted(user.addresses)}\n"
        f"send_as = {quoted(user.send_as)}\n"
        f"send_on_behalf = {quoted(user.send_on_behalf)}\n"
        f"certificates = {quoted(user.certificates)}\n"
        f"salt = {encoded(credential.salt)}\n"
        f"iterations = {credential.iterations}\n"
        f"stored_key = {encoded(credential.stored_key)}\n"
        f"server_key = {encoded(credential.server_key)}\n"
    )
