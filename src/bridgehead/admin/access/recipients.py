# SPDX-License-Identifier: MIT
"""Recipients of the embedded directory: add, list, show, remove, import and export as CSV.

Changes go to the database; a directory in a TOML file is shown, but people edit that file themselves. The running
server notices changes by itself.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Protocol, TextIO

import msgspec

from bridgehead.admin.access.outside import OutsideDomain, outside
from bridgehead.admin.access.ownership import keep_owner
from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.directory.csv_import import ImportResult, import_csv
from bridgehead.directory.fields import FieldError, dangling_references, nearest, recipient_from
from bridgehead.directory.file import DirectoryFileError, FileDirectory
from bridgehead.directory.keys import DirectoryConflict
from bridgehead.directory.lookup import Directory, DirectoryUnavailable
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.directory.sqlite import SqliteDirectory
from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.mail.units import UNLIMITED
from bridgehead.routing.accepted_domain import AcceptedDomains

_EXPORTED_TYPE: Final = {
    RecipientType.MAILBOX: "UserMailbox",
    RecipientType.MAIL_USER: "MailUser",
    RecipientType.MAIL_CONTACT: "MailContact",
    RecipientType.GROUP: "MailUniversalDistributionGroup",
}

_LISTED: Final = "bridgehead recipient list shows those there are"
_HINTED: Final = 5_000
"""Directories up to this size are searched for the nearest name."""


class RecipientView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recipient as Get-Recipient shows it. `max_receive_size` 0 stands for no limit; `warnings`: of its addition."""

    name: str
    type: str
    primary_smtp_address: str
    email_addresses: list[str]
    display_name: str = ""
    mailbox: str = ""
    external_email_address: str = ""
    forwarding_address: str = ""
    deliver_to_mailbox_and_forward: bool = False
    members: list[str] = []
    max_receive_size: int = 0
    require_sender_authentication: bool = False
    accept_messages_only_from: list[str] = []
    reject_messages_from: list[str] = []
    report_to_originator: bool = True
    report_to_manager: bool = False
    managed_by: str = ""
    warnings: list[str] = []


class RecipientList(msgspec.Struct, frozen=True, kw_only=True):
    """Recipients by name, and whether there are more than the limit."""

    recipients: list[RecipientView]
    truncated: bool = False


class RecipientAction(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a recipient."""

    name: str
    action: str


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    exported: int


class Source(msgspec.Struct, frozen=True):
    """Which directory: the file, whether plus addressing is on, and the domains that are ours where that is to be seen
    to."""

    path: Path
    plus_addressing: bool = True
    accepted: AcceptedDomains | None = None


def add_recipient(source: Source, values: Mapping[str, object]) -> RecipientView:
    """Add a recipient from values by field name. Raises AdminFault."""
    try:
        recipient = recipient_from(values)
    except FieldError as error:
        raise AdminFault(INVALID, "; ".join(f"{one.field}: {one}" for one in error.every)) from None
    with _writable(source) as directory:
        for _, dangling in dangling_references([recipient], directory):
            raise AdminFault(INVALID, str(dangling), "add that recipient first")
        try:
            directory.add(recipient)
        except DirectoryConflict as error:
            raise AdminFault(INVALID, str(error)) from None
    return msgspec.structs.replace(view_recipient(recipient), warnings=_warnings([recipient], source))


def remove_recipient(source: Source, name: str) -> RecipientAction:
    """Remove a recipient by name or address. Raises AdminFault."""
    with _writable(source) as directory:
        recipient = _find(directory, name)
        directory.remove(recipient.name)
    return RecipientAction(name=recipient.name, action="removed")


def list_recipients(source: Source, pattern: str = "", kind: str = "", limit: int = LIST_RESULTS) -> RecipientList:
    """Recipients of which the name or an address fits a `*` pattern. Raises AdminFault."""
    wanted = (pattern or "*").casefold().replace("[", "[[]")
    found: list[RecipientView] = []
    with _readable(source) as directory:
        for recipient in directory:
            if kind and recipient.type.casefold() != kind.casefold():
                continue
            names = (recipient.name, str(recipient.primary_smtp_address), *map(str, recipient.email_addresses))
            if any(fnmatchcase(text.casefold(), wanted) for text in names):
                if len(found) == limit:
                    return RecipientList(recipients=found, truncated=True)
                found.append(view_recipient(recipient))
    return RecipientList(recipients=found)


def show_recipient(source: Source, name: str) -> RecipientView:
    """One recipient by name or any of its addresses. Raises AdminFault."""
    with _readable(source) as directory:
        return view_recipient(_find(directory, name))


def import_recipients(
    source: Source, table: Path, *, replace: bool = False, skip_bad_rows: bool = False,
) -> ImportResult:  # fmt: skip
    """Read a CSV table with Exchange's columns. Bad rows are part of the result, and warnings about the directory as it
    is then. Raises AdminFault."""
    with _writable(source) as directory:
        try:
            result = import_csv(table, directory, replace=replace, skip_bad_rows=skip_bad_rows)
            result.warnings = _warnings(directory, source) if result.imported else []
            return result
        except DirectoryConflict as error:
            raise AdminFault(INVALID, str(error)) from None
        except OSError as error:
            raise AdminFault(
                FAILED, f"{table}: {error.strerror or error}", "name a CSV file that can be read"
            ) from None


def export_recipients(
    source: Source, output: TextIO, progress: Callable[[int], object] = lambda _: None
) -> ExportResult:
    """Write a CSV table that `import_recipients` reads. Raises AdminFault."""
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    count = 0
    with _readable(source) as directory:
        for recipient in directory:
            writer.writerow([read(recipient) for read in _COLUMNS.values()])
            count += 1
            progress(count)
    return ExportResult(exported=count)


def addresses_outside(source: Source) -> list[OutsideDomain]:
    """The directory's addresses in domains that are not accepted. Raises AdminFault."""
    with _readable(source) as directory:
        return outside(directory, source.accepted or AcceptedDomains(()))


def _warnings(recipients: Iterable[Recipient], source: Source) -> list[str]:
    found = outside(recipients, source.accepted) if source.accepted is not None else []
    return [f"{domain}; {domain.remedy}" for domain in found]


def open_directory(source: Source) -> Directory:
    """The directory for look-ups. Raises AdminFault where it cannot be read."""
    try:
        if source.path.suffix.lower() == ".toml":
            return FileDirectory(source.path, plus_addressing=source.plus_addressing)
        if not source.path.exists():
            return MemoryDirectory()
        return SqliteDirectory(source.path, plus_addressing=source.plus_addressing)
    except (DirectoryFileError, DirectoryUnavailable, OSError) as error:
        raise AdminFault(FAILED, str(error), "mend the file, or run the command as the server's account") from None


def view_recipient(recipient: Recipient) -> RecipientView:
    """A recipient as people see it."""
    addresses = dict.fromkeys(map(str, (recipient.primary_smtp_address, *recipient.email_addresses)))
    return RecipientView(
        name=recipient.name,
        type=recipient.type.value,
        primary_smtp_address=str(recipient.primary_smtp_address),
        email_addresses=list(addresses),
        display_name=recipient.display_name,
        mailbox=recipient.mailbox or (recipient.name if recipient.type is RecipientType.MAILBOX else ""),
        external_email_address=str(recipient.external_email_address or ""),
        forwarding_address=str(recipient.forwarding_address or ""),
        deliver_to_mailbox_and_forward=recipient.deliver_to_mailbox_and_forward,
        members=list(recipient.members),
        max_receive_size=0 if recipient.max_receive_size >= UNLIMITED else recipient.max_receive_size,
        require_sender_authentication=recipient.require_sender_authentication,
        accept_messages_only_from=list(recipient.accept_messages_only_from),
        reject_messages_from=list(recipient.reject_messages_from),
        report_to_originator=recipient.report_to_originator,
        report_to_manager=recipient.report_to_manager,
        managed_by=recipient.managed_by,
    )


def _proxies(recipient: Recipient) -> str:
    """ "SMTP:" marks the primary address, as in Exchange."""
    primary = recipient.primary_smtp_address
    others = (f"smtp:{address}" for address in recipient.email_addresses if address.key != primary.key)
    return ";".join((f"SMTP:{primary}", *others))


_COLUMNS: Final[dict[str, Callable[[Recipient], object]]] = {
    "Name": lambda one: one.name,
    "DisplayName": lambda one: one.display_name,
    "RecipientTypeDetails": lambda one: _EXPORTED_TYPE[one.type],
    "PrimarySmtpAddress": lambda one: one.primary_smtp_address,
    "EmailAddresses": _proxies,
    "ExternalEmailAddress": lambda one: one.external_email_address or "",
    "ForwardingSmtpAddress": lambda one: f"smtp:{one.forwarding_address}" if one.forwarding_address else "",
    "DeliverToMailboxAndForward": lambda one: one.deliver_to_mailbox_and_forward,
    "Members": lambda one: ";".join(one.members),
    "MaxReceiveSize": lambda one: "Unlimited" if one.max_receive_size >= UNLIMITED else one.max_receive_size,
    "RequireSenderAuthenticationEnabled": lambda one: one.require_sender_authentication,
    "AcceptMessagesOnlyFrom": lambda one: ";".join(one.accept_messages_only_from),
    "RejectMessagesFrom": lambda one: ";".join(one.reject_messages_from),
    "ReportToOriginatorEnabled": lambda one: one.report_to_originator,
    "ReportToManagerEnabled": lambda one: one.report_to_manager,
    "ManagedBy": lambda one: one.managed_by,
}
"""Exchange's columns; a mailbox's own store name is not among them."""


@contextmanager
def _readable(source: Source) -> Iterator["_Listing"]:
    if source.path.suffix.lower() != ".toml":
        with _writable(source) as directory:
            yield directory
        return
    try:
        yield FileDirectory(source.path, plus_addressing=source.plus_addressing)
    except DirectoryFileError as error:
        raise AdminFault(FAILED, str(error), "mend the file") from None
    except OSError as error:
        raise AdminFault(FAILED, f"{source.path}: {error.strerror or error}") from None


@contextmanager
def _writable(source: Source) -> Iterator[SqliteDirectory]:
    path = source.path
    if path.suffix.lower() == ".toml":
        message = f"{path} is a file that people write; commands do not change it"
        raise AdminFault(INVALID, message, "edit it, or set recipients_file to a database such as recipients.db")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = SqliteDirectory(path, plus_addressing=source.plus_addressing, busy_seconds=10.0)
        try:
            yield directory
        finally:
            directory.close()
            keep_owner(path.parent, path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")))
    except DirectoryUnavailable as error:
        raise AdminFault(FAILED, str(error), "run the command as the server's account or as root") from None
    except PermissionError as error:
        raise AdminFault(FAILED, str(error), "run the command as the server's account or as root") from None


class _Listing(Protocol):
    """A directory that can be gone through."""

    def __iter__(self) -> Iterator[Recipient]: ...
    def __len__(self) -> int: ...
    def find_by_name(self, name: str) -> Recipient | None: ...


def _find(directory: _Listing, name: str) -> Recipient:
    recipient = directory.find_by_name(name)
    if recipient is None:
        few = directory if len(directory) <= _HINTED else ()
        hint = nearest(name, [text for one in few for text in (one.name, str(one.primary_smtp_address))])
        raise AdminFault(NOT_FOUND, f'there is no recipient "{name}"', hint.removeprefix("; ") or _LISTED)
    return recipient
