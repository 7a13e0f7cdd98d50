# SPDX-License-Identifier: MIT
"""A recipient from the values that people write: in a TOML file, a table of an export, or on the command line.

Field names are those of `Recipient`. Every value is checked, and an error names the field, what was expected and the
nearest right word.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from bridgehead.directory.keys import address_keys, as_address, name_key
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.header import clean_text
from bridgehead.mail.units import ByteSize

NAME_CHARACTERS: Final = 256
"""Longest name of a recipient."""


class FieldError(ValueError):
    """A value that cannot be used; `field` is its name, the message says what was expected. `every`: whatever is wrong
    with the same recipient, this first."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.every: list[FieldError] = [self]


def recipient_from(values: Mapping[str, object]) -> Recipient:
    """Build a recipient from values by field name. Raises FieldError."""
    read: dict[str, object] = {}
    errors: list[FieldError] = []
    for field, value in values.items():
        try:
            read[field] = _READERS.get(field, _unknown)(field, value)
        except FieldError as error:
            errors.append(error)
    errors += [
        FieldError(field, f"missing; {expected} was expected")
        for field, expected in _REQUIRED.items()
        if field not in values
    ]
    if errors:
        errors[0].every = errors
        raise errors[0]
    recipient = Recipient(**read)  # type: ignore[arg-type]
    _check(recipient, values)
    return recipient


def nearest(word: str, choices: Iterable[str]) -> str:
    """A question that names the nearest right word, "" where none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def dangling_references(
    recipients: Iterable[Recipient], known: Iterable[Recipient] = ()
) -> Iterator[tuple[str, FieldError]]:
    """Names in members, lists and managed_by that nobody has, as (name of the recipient, error).

    An address of somebody outside is no error: groups may have members elsewhere, lists may name outside senders.
    """
    recipients = list(recipients)
    names = {name_key(each.name) for each in (*known, *recipients)}
    for recipient in recipients:
        for field in ("members", "accept_messages_only_from", "reject_messages_from", "managed_by"):
            value = getattr(recipient, field)
            for entry in (value,) if isinstance(value, str) else value:
                if entry and name_key(entry) not in names and as_address(entry) is None:
                    shown = clean_text(entry, 64)
                    message = f'{field} names "{shown}", but no recipient has this name{nearest(entry, names)}'
                    yield recipient.name, FieldError(field, message)


def conflicts(recipients: Iterable[Recipient]) -> Iterator[tuple[int, FieldError]]:
    """Names and addresses that two recipients share, as (position of the later one, error)."""
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for position, recipient in enumerate(recipients):
        key = name_key(recipient.name)
        if key in names:
            yield position, FieldError("name", f'there is a recipient named "{recipient.name}" already')
            continue
        names[key] = recipient.name
        for address in address_keys(recipient):
            owner = addresses.setdefault(address, recipient.name)
            if owner != recipient.name:
                yield position, FieldError("email_addresses", f'the address {address} belongs to "{owner}" already')


def _check(recipient: Recipient, values: Mapping[str, object]) -> None:
    """What the fields demand of each other."""
    kind = recipient.type
    if kind in (RecipientType.MAIL_USER, RecipientType.MAIL_CONTACT) and recipient.external_email_address is None:
        raise FieldError("external_email_address", f"a {kind} needs an external_email_address, where its mail goes")
    if kind is not RecipientType.GROUP and values.get("members"):
        raise FieldError("members", f"only a {RecipientType.GROUP} has members, not a {kind}")
    if kind is RecipientType.GROUP and recipient.forwarding_address is not None:
        raise FieldError("forwarding_address", "a group does not forward; make the address its member")
    if kind is RecipientType.MAILBOX and recipient.external_email_address is not None:
        message = "a Mailbox keeps its mail here; use forwarding_address, or the type MailUser"
        raise FieldError("external_email_address", message)
    if recipient.report_to_manager and not recipient.managed_by:
        raise FieldError("managed_by", "report_to_manager needs managed_by, who gets the reports")


def _unknown(field: str, value: object) -> object:
    raise FieldError(field, f'"{clean_text(field, 64)}" is no field of a recipient{nearest(field, _READERS)}')


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise FieldError(field, f"a text was expected, not {clean_text(repr(value), 64)}")
    text = value.strip()
    if not text.isprintable() and text != clean_text(text, len(text) + 1):
        raise FieldError(field, "control characters are not allowed")
    return text


def _name(field: str, value: object) -> str:
    text = _text(field, value)
    if not 0 < len(text) <= NAME_CHARACTERS:
        raise FieldError(field, f"1 to {NAME_CHARACTERS} characters were expected")
    return text


def _type(field: str, value: object) -> RecipientType:
    text = _text(field, value)
    for kind in RecipientType:
        if text.lower() == kind.lower():
            return kind
    choices = ", ".join(RecipientType)
    shown = clean_text(text, 64)
    raise FieldError(field, f'one of {choices} was expected, not "{shown}"{nearest(text, RecipientType)}')


def _address(field: str, value: object) -> Mailbox:
    text = _text(field, value)
    text = text[5:] if text[:5].lower() == "smtp:" else text
    try:
        return parse_mailbox(text)
    except AddressError as error:
        shown = clean_text(text, 128)
        raise FieldError(field, f'an address such as "anna@contoso.com" was expected, not "{shown}": {error}') from None


def _optional_address(field: str, value: object) -> Mailbox | None:
    return None if value in (None, "") else _address(field, value)


def _addresses(field: str, value: object) -> tuple[Mailbox, ...]:
    return tuple(_address(field, each) for each in _list(field, value))


def _names(field: str, value: object) -> tuple[str, ...]:
    return tuple(_name(field, each) for each in _list(field, value))


def _list(field: str, value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise FieldError(field, f'a list such as ["anna@contoso.com"] was expected, not {clean_text(repr(value), 64)}')
    return list(value)


def _size(field: str, value: object) -> int:
    try:
        return int(ByteSize.parse(value))
    except ValueError as error:
        raise FieldError(field, str(error)) from None


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError(field, f"true or false was expected, not {clean_text(repr(value), 64)}")
    return value


_REQUIRED: Final = {
    "name": 'a name such as "Anna Meier"',
    "type": f"one of {', '.join(RecipientType)}",
    "primary_smtp_address": 'an address such as "anna@contoso.com"',
}
_READERS: Final[dict[str, Callable[[str, object], object]]] = {
    "name": _name,
    "type": _type,
    "primary_smtp_address": _address,
    "email_addresses": _addresses,
    "display_name": _text,
    "mailbox": _text,
    "external_email_address": _optional_address,
    "forwarding_address": _optional_address,
    "deliver_to_mailbox_and_forward": _flag,
    "members": _names,
    "max_receive_size": _size,
    "require_sender_authentication": _flag,
    "accept_messages_only_from": _names,
    "reject_messages_from": _names,
    "report_to_originator": _flag,
    "report_to_manager": _flag,
    "managed_by": _text,
}
