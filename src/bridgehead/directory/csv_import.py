# SPDX-License-Identifier: MIT
"""Recipients from a CSV table with the columns of Exchange's exports (Get-Recipient, Get-Mailbox and the like).

Column names count without regard to case or order; columns that do not matter here are ignored. Cells are parted by
commas, semicolons or tabs; lists stand in one cell, parted by ";". Every row that cannot be used is reported with its
line and reason.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, TextIO

import msgspec

from bridgehead.directory.fields import FieldError, conflicts, dangling_references, nearest, recipient_from
from bridgehead.directory.keys import name_key
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.header import clean_text

_TYPES: Final = {
    "usermailbox": RecipientType.MAILBOX,
    "sharedmailbox": RecipientType.MAILBOX,
    "roommailbox": RecipientType.MAILBOX,
    "equipmentmailbox": RecipientType.MAILBOX,
    "linkedmailbox": RecipientType.MAILBOX,
    "mailbox": RecipientType.MAILBOX,
    "mailuser": RecipientType.MAIL_USER,
    "guestmailuser": RecipientType.MAIL_USER,
    "remoteusermailbox": RecipientType.MAIL_USER,
    "remotesharedmailbox": RecipientType.MAIL_USER,
    "remoteroommailbox": RecipientType.MAIL_USER,
    "remoteequipmentmailbox": RecipientType.MAIL_USER,
    "mailcontact": RecipientType.MAIL_CONTACT,
    "distributiongroup": RecipientType.GROUP,
    "mailuniversaldistributiongroup": RecipientType.GROUP,
    "mailuniversalsecuritygroup": RecipientType.GROUP,
    "mailnonuniversalgroup": RecipientType.GROUP,
    "groupmailbox": RecipientType.GROUP,
    "roomlist": RecipientType.GROUP,
}
_COLUMNS: Final = {
    "name": "name", "alias": "", "displayname": "display_name", "recipienttype": "type",
    "recipienttypedetails": "type", "primarysmtpaddress": "primary_smtp_address", "windowsemailaddress": "",
    "emailaddresses": "email_addresses", "externalemailaddress": "external_email_address",
    "remoteroutingaddress": "external_email_address", "forwardingaddress": "forwarding_address",
    "forwardingsmtpaddress": "forwarding_address", "delivertomailboxandforward": "deliver_to_mailbox_and_forward",
    "members": "members", "maxreceivesize": "max_receive_size",
    "requiresenderauthenticationenabled": "require_sender_authentication",
    "requireallsendersareauthenticated": "require_sender_authentication",
    "acceptmessagesonlyfrom": "accept_messages_only_from",
    "acceptmessagesonlyfromsendersormembers": "accept_messages_only_from",
    "acceptmessagesonlyfromdlmembers": "accept_messages_only_from",
    "rejectmessagesfrom": "reject_messages_from", "rejectmessagesfromsendersormembers": "reject_messages_from",
    "rejectmessagesfromdlmembers": "reject_messages_from", "managedby": "managed_by",
    "reporttooriginatorenabled": "report_to_originator", "reporttomanagerenabled": "report_to_manager",
}  # fmt: skip
_EXACT_SIZE: Final = re.compile(r"\(([\d,.'\s ]+)bytes\)", re.IGNORECASE)
_CELL_CHARACTERS: Final = 16 * 1024 * 1024
"""Longest cell: a list of a hundred thousand members."""


class BadRow(msgspec.Struct, frozen=True):
    """Why a row cannot be used; one that is wrong in several ways has several.

    Attributes:
        line: line of the file on which the row begins, from 1.
        field: column or field that it is about.
        reason: what was wrong and what was expected.
    """

    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.reason}"


class ImportResult(msgspec.Struct):
    """What came of an import.

    Attributes:
        imported: recipients now in the directory because of it.
        bad_rows: what could not be used, by line.
        warnings: about what was imported all the same.
    """

    imported: int
    bad_rows: list[BadRow]
    warnings: list[str] = []


class ImportTarget(Protocol):
    """A directory that can be written."""

    def __iter__(self) -> Iterator[Recipient]: ...

    def add_all(self, recipients: Iterable[Recipient], *, replace: bool = False) -> None: ...


def import_csv(
    path: str | Path, directory: ImportTarget, *, replace: bool = False, skip_bad_rows: bool = False,
) -> ImportResult:  # fmt: skip
    """Read a table into a directory: everything or, where a row is bad, nothing.

    Args:
        replace: recipients that exist already under the same name are replaced; else they are bad rows.
        skip_bad_rows: import the good rows and report the others.

    Raises OSError, DirectoryUnavailable.
    """
    with open(path, encoding="utf-8-sig", errors="strict", newline="") as table:
        try:
            rows, bad = read_table(table)
        except UnicodeDecodeError:
            return ImportResult(0, [BadRow(1, "file", "UTF-8 was expected; export it with -Encoding UTF8")])
    existing = list(directory)
    replaced = {name_key(recipient.name) for _, recipient in rows} if replace else set()
    kept = [recipient for recipient in existing if name_key(recipient.name) not in replaced]
    rows, conflicting = _without_conflicts(rows, kept)
    rows, dangling = _without_dangling(rows, kept, leave_out=skip_bad_rows)
    bad = sorted((*bad, *conflicting, *dangling), key=lambda row: row.line)
    if bad and not skip_bad_rows:
        return ImportResult(0, bad)
    directory.add_all((recipient for _, recipient in rows), replace=replace)
    return ImportResult(len(rows), bad)


def read_table(table: TextIO) -> tuple[list[tuple[int, Recipient]], list[BadRow]]:
    """The recipients in a table with the lines they begin on, and the rows that cannot be used."""
    csv.field_size_limit(_CELL_CHARACTERS)
    lines = list(_without_type_line(table))
    reader = csv.reader(lines, delimiter=_delimiter(lines), strict=True)
    header = next((row for row in reader if row), [])
    fields, problems = _header(header)
    rows: list[tuple[int, list[tuple[str, str]]]] = []
    bad = list(problems)
    line = reader.line_num + 1
    try:
        for cells in reader:
            if len(cells) == len(header):
                rows.append((line, [(field, cell) for field, cell in zip(fields, cells, strict=True) if field]))
            elif cells:
                bad.append(BadRow(line, "row", f"{len(header)} cells were expected, not {len(cells)}"))
            line = reader.line_num + 1
    except csv.Error as error:
        bad.append(BadRow(line, "row", f"the quoting is broken: {error}"))
    recipients: list[tuple[int, Recipient]] = []
    if problems:
        return recipients, bad
    addresses = _addresses_by_name(rows)
    for line, cells_by_field in rows:
        try:
            recipients.append((line, recipient_from(_values(cells_by_field, addresses))))
        except FieldError as error:
            bad += (BadRow(line, one.field, str(one)) for one in error.every)
    return recipients, bad


def _without_type_line(table: TextIO) -> Iterator[str]:
    """Windows PowerShell 5 writes a line "#TYPE ..." above the header; it is kept as an empty line for the count."""
    for number, text in enumerate(table):
        yield "\n" if number == 0 and text.startswith("#TYPE") else text


def _delimiter(lines: list[str]) -> str:
    """What parts the cells: the character that the header has most of. Export-Csv -UseCulture writes semicolons."""
    header = next((line for line in lines if line.strip()), "")
    return max(",;\t", key=header.count)


def _header(header: list[str]) -> tuple[list[str], list[BadRow]]:
    """The field of each column, "" for those that do not matter, and what is missing."""
    fields = [_COLUMNS.get(column.strip().lower(), "") for column in header]
    problems = []
    for field, column in (("type", "RecipientType"), ("primary_smtp_address", "PrimarySmtpAddress")):
        if field not in fields:
            near = next((hint for each in header if (hint := nearest(each, [column]))), "")
            shown = clean_text(", ".join(header), 200)
            problems.append(BadRow(1, column, f"this column is missing; there are: {shown or 'none'}{near}"))
    return fields, problems


def _addresses_by_name(rows: list[tuple[int, list[tuple[str, str]]]]) -> dict[str, str]:
    """Primary addresses by name: ForwardingAddress names a recipient, not an address."""
    addresses: dict[str, str] = {}
    for _, cells in rows:
        values = dict(cells)
        name, address = values.get("name", ""), values.get("primary_smtp_address", "")
        if name and address:
            addresses[name_key(name)] = address
    return addresses


def _values(cells: list[tuple[str, str]], addresses: dict[str, str]) -> dict[str, object]:
    """The values of one row by field name. Raises FieldError."""
    values: dict[str, object] = {}
    for field, cell in cells:
        text = cell.strip()
        if not text or text == "{}":
            continue
        if field in ("members", "accept_messages_only_from", "reject_messages_from"):
            values[field] = [*_as_list(values.get(field)), *(_last_part(each) for each in _entries(field, text))]
        elif field == "email_addresses":
            values[field] = list(_proxies(text))
        else:
            values[field] = _single(field, text, addresses)
    values.setdefault("name", values.get("primary_smtp_address", ""))
    if values.get("type") is RecipientType.GROUP:
        values.pop("external_email_address", None)
    return values


def _single(field: str, text: str, addresses: dict[str, str]) -> object:
    if field == "type":
        return _TYPES.get(text.lower(), text)
    if field == "max_receive_size":
        exact = _EXACT_SIZE.search(text)
        return int(re.sub(r"\D", "", exact[1])) if exact else text
    if field == "forwarding_address":
        return _forwarding(text, addresses)
    if field == "managed_by":
        return _last_part(next(iter(_entries(field, text)), ""))
    if field in ("deliver_to_mailbox_and_forward", "require_sender_authentication") or field.startswith("report_to_"):
        if text.lower() not in ("true", "false"):
            raise FieldError(field, f'True or False was expected, not "{clean_text(text, 64)}"')
        return text.lower() == "true"
    return text


def _forwarding(text: str, addresses: dict[str, str]) -> str:
    """An address; a recipient's name, or path in Active Directory, becomes the primary address of that recipient."""
    if text.lower().startswith("smtp:"):
        return text[5:]
    name = _last_part(text)
    if "@" in name:
        return name
    found = addresses.get(name_key(name))
    if found is None:
        message = f'an address or the name of a recipient in this table was expected, not "{clean_text(name, 64)}"'
        raise FieldError("forwarding_address", message + nearest(name, addresses))
    return found


def _proxies(text: str) -> Iterator[str]:
    """The SMTP addresses among proxy addresses; X500, SIP and the like are for others."""
    for entry in _entries("email_addresses", text):
        kind, colon, address = entry.partition(":")
        if not colon or kind.lower() == "smtp":
            yield address if colon else entry


def _entries(field: str, text: str) -> Iterator[str]:
    """The entries of a cell: "a;b", or "{a, b}" as PowerShell shows a list. Raises FieldError."""
    if text.startswith(("Microsoft.Exchange.Data.", "System.Collections.", "System.String[]")):
        message = "the export holds the name of a type instead of the list; export the column with -join ';'"
        raise FieldError(field, message)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].replace(", ", ";")
    for entry in text.split(";"):
        if entry.strip():
            yield entry.strip()


def _last_part(text: str) -> str:
    """The name at the end of a canonical path ("contoso.com/Sales/Anna Weber"); an address as it is."""
    return text if "@" in text else text.rpartition("/")[2].strip()


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _without_conflicts(
    rows: list[tuple[int, Recipient]], existing: list[Recipient],
) -> tuple[list[tuple[int, Recipient]], list[BadRow]]:  # fmt: skip
    """Leave out the rows whose name or address somebody before them has."""
    bad: list[BadRow] = []
    positions = set()
    for position, error in conflicts([*existing, *(recipient for _, recipient in rows)]):
        if position >= len(existing):
            positions.add(position - len(existing))
            bad.append(BadRow(rows[position - len(existing)][0], error.field, str(error)))
    return [row for position, row in enumerate(rows) if position not in positions], bad


def _without_dangling(
    rows: list[tuple[int, Recipient]], existing: list[Recipient], *, leave_out: bool,
) -> tuple[list[tuple[int, Recipient]], list[BadRow]]:  # fmt: skip
    """Report the rows that name somebody who does not exist; where they are left out, who named them follows."""
    bad: list[BadRow] = []
    while True:
        lines = {name_key(recipient.name): line for line, recipient in rows}
        found = list(dangling_references((recipient for _, recipient in rows), existing))
        bad += (BadRow(lines[name_key(name)], error.field, str(error)) for name, error in found)
        if not found or not leave_out:
            return rows, bad
        gone = {name_key(name) for name, _ in found}
        rows = [row for row in rows if name_key(row[1].name) not in gone]
