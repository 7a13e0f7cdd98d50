# SPDX-License-Identifier: MIT
"""As whom a device's message leaves: its sender and author as they are, rewritten, or refused (pure).

What is allowed stays octet for octet. Else the device's `rewrite_sender` takes the place of MAIL and From, and who
stood in From goes to Reply-To unless there is one. A DKIM signature covers From, so that rewriting breaks it: such a
message is refused, or loses its signatures where the device's settings say so.
"""

from typing import Final, NamedTuple

from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.author import MISLEADING, Author, FromFault, read_author
from bridgehead.mail.header import HeaderBlock, clean_text, first_address
from bridgehead.mail.limits import AUTHOR_PHRASE_BYTES, LOGGED_TEXT
from bridgehead.mail.reply import Reply
from bridgehead.receive.content import HeaderDecision
from bridgehead.receive.devices.devices import DeviceIdentity
from bridgehead.receive.permissions.senders import check_faults, fault_field
from bridgehead.receive.settings import NonCompliantSenderPolicy, SignedContent
from bridgehead.smtp import replies

_SIGNATURE: Final = b"dkim-signature"
_NO_SEPARATORS: Final = str.maketrans(',;"', "   ")


class PathDecision(NamedTuple):
    """The reverse-path that takes the place of the one that came; `refusal`: why there is none."""

    path: Mailbox
    refusal: Reply | None = None


def decide_path(device: DeviceIdentity, path: Mailbox) -> PathDecision:
    """What becomes of MAIL. Give the path completed with the default domain; a null path is nobody's and stays."""
    if path.is_null:
        return PathDecision(path)
    if path.domain and device.principal.may_send_as(path):
        return PathDecision(path)
    if device.rewrite_sender is not None:
        return PathDecision(device.rewrite_sender)
    return PathDecision(path, replies.SEND_AS_DENIED if path.domain else replies.BAD_SENDER_SYNTAX)


class DeviceCheck:
    """Checks, and where its settings say so rewrites, the author of one message of a device.

    Args:
        original: the reverse-path as the device gave it.
        path: the one in force.
        default_domain: completes an author without a domain.

    Attributes:
        rewritten: the author or the sender is another than the device wrote.
        original_author: From as the device wrote it, where it is rewritten.
        reason: why the message was refused, in words.
    """

    def __init__(
        self, device: DeviceIdentity, original: Mailbox, path: Mailbox, default_domain: str,
        policy: NonCompliantSenderPolicy,
    ) -> None:  # fmt: skip
        self._device, self._original, self._path = device, original, path
        self._default_domain, self._policy = default_domain, policy
        self.rewritten = original != path
        self.original_author = ""
        self.reason = ""

    @property
    def is_due(self) -> bool:
        """Nothing takes time."""
        return False

    async def verdict(self) -> Reply | None:
        """Never asked."""
        return None

    @property
    def custom_data(self) -> str:
        """Which device it was, and what it had said before it was rewritten."""
        said = [("Device", self._device.settings.name)]
        if self._original != self._path:
            said.append(("OriginalSender", str(self._original)))
        if self.original_author:
            said.append(("RewrittenFrom", self.original_author))
        return ";".join(f"S:{name}={clean_text(value, LOGGED_TEXT).translate(_NO_SEPARATORS)}" for name, value in said)

    def header(self, header: bytes) -> HeaderDecision:
        """Let the section pass, give another for it, or refuse."""
        block = HeaderBlock(header)
        author = read_author(block)
        named = single_label_author(block, author, self._default_domain)
        completed = named if named is not None and self._device.principal.may_send_as(named) else None
        if self._may_stay(block, author):
            return HeaderDecision(fields=fault_field(author.faults, self._policy))
        new = completed or self._device.rewrite_sender
        if FromFault.MISSING in author.faults:
            new = None if self._path.is_null else self._path
            if new is None:
                return HeaderDecision()
        if new is None:
            refusal = check_faults(author.faults, self._policy) or replies.SEND_AS_DENIED
            self.reason = f"{self._shown(block)} is no sender that this device may use"
            return HeaderDecision(refusal)
        if block.count(_SIGNATURE) and self._device.settings.signed_content is SignedContent.REJECT:
            self.reason = f"{self._shown(block)} would have to be rewritten, and the message is signed"
            return HeaderDecision(replies.SIGNED_BY_DEVICE)
        self.rewritten = True
        self.original_author = self._shown(block)
        former = b"" if completed is not None else _former(block, author, named)
        return HeaderDecision(header=rewritten_header(block, author, new, former))

    def _may_stay(self, block: HeaderBlock, author: Author) -> bool:
        """Whether every author that some reader could see, and Sender, is one that the device may use."""
        principal = self._device.principal
        if not author.addresses or check_faults(author.faults, self._policy):
            return False
        senders = []
        for value in block.raw_values(b"sender"):
            try:
                senders.append(parse_mailbox(first_address(value)))
            except AddressError:
                return False
        return all(principal.may_send_as(address) for address in (*author.addresses, *senders))

    def _shown(self, block: HeaderBlock) -> str:
        value = block.first(b"from")
        return first_address(value) or clean_text(value.decode("utf-8", "replace"), LOGGED_TEXT) or "a missing author"


def single_label_author(block: HeaderBlock, author: Author, default_domain: str) -> Mailbox | None:
    """The one author without a domain, completed with `default_domain`; None where From is anything else."""
    if not default_domain or author.addresses or set(author.faults) != {FromFault.MALFORMED}:
        return None
    value = block.first(b"from").strip()
    if value.endswith(b">") and b"<" in value:
        value = value[value.rindex(b"<") + 1 : -1]
    try:
        return parse_mailbox(f"{value.decode('ascii')}@{default_domain}")
    except (AddressError, UnicodeDecodeError):
        return None


def rewritten_header(block: HeaderBlock, author: Author, new: Mailbox, former: bytes = b"") -> bytes:
    """The section with one From field that holds `new`, without Sender and DKIM signatures, otherwise as it came.

    Args:
        former: the value of Reply-To, with its line end; b"" for no such field. One that came is kept.
    """
    edited = b"From: " + _phrase(block, author) + f"<{new}>\r\n".encode()
    if former and not block.count(b"reply-to"):
        edited += b"Reply-To:" + former
    kept, position, placed = [], 0, False
    for name, start, end in block.fields:
        if name not in (b"from", b"sender", _SIGNATURE):
            continue
        kept.append(block.block[position:start])
        position = end
        if name == b"from" and not placed:
            kept.append(edited)
            placed = True
    kept.append(block.block[position:])
    return b"".join(kept) if placed else edited + b"".join(kept)


def _former(block: HeaderBlock, author: Author, named: Mailbox | None) -> bytes:
    """Who stood in From, as a value: octet for octet where the field was sound; b"" where nobody can be answered."""
    if not author.addresses:
        return f" {named}\r\n".encode() if named is not None else b""
    if not author.faults:
        start, end = next((start, end) for name, start, end in block.fields if name == b"from")
        return block.block[start:end].split(b":", 1)[1]
    return f" {', '.join(map(str, author.addresses))}\r\n".encode()


def _phrase(block: HeaderBlock, author: Author) -> bytes:
    """The display name of the one author, b"" where there is none that is safe to show before another address."""
    value = block.first(b"from")
    if len(author.addresses) > 1 or any(fault in MISLEADING for fault in author.faults):
        return b""
    if author.addresses:
        phrase = value[: value.rindex(b"<")].strip() if value.endswith(b">") and b"<" in value else b""
    elif value.isascii() and value.decode().isprintable() and not set(value) & set(b'<>"\\@'):
        phrase = b'"' + value + b'"' if value else b""
    else:
        phrase = b""
    # A name that looks like an address would stand for the real one in most readers.
    return phrase + b" " if phrase and b"@" not in phrase and len(phrase) <= AUTHOR_PHRASE_BYTES else b""
