# SPDX-License-Identifier: MIT
"""One message made fit for one server: which parameters, which conversion, and who cannot be served (RFC 5321, 6152,
6531, 3030; header firewall of Send connectors). Pure but for content that is already in memory.
"""

from typing import Final

import msgspec

from bridgehead.delivery.ports import pending_recipients
from bridgehead.delivery.smtp_send.downgrade import ConversionProhibited, reencode
from bridgehead.mail.content import BytesContent
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient
from bridgehead.mail.header import INTERNAL_FIELDS, split_header, without_fields
from bridgehead.mail.item import TlsRequirement
from bridgehead.mail.units import ByteSize
from bridgehead.queues.store import QueuedItem
from bridgehead.smtp.client_events import Extensions, Transaction

RECIPIENTS_PER_TRANSACTION: Final = 100
"""What every server must take (RFC 5321 §4.5.3.1.8)."""
CHUNKED_FROM_BYTES: Final = 64 * 1024
"""Content from this size goes by BDAT where the server offers CHUNKING."""
_BINARY: Final = BodyType.BINARY_MIME
_EIGHT_BIT: Final = BodyType.EIGHT_BIT_MIME
_KEYWORD: Final = (TlsRequirement.REQUIRED, TlsRequirement.REPORT)
_WITHOUT_TRACE: Final = (*INTERNAL_FIELDS, b"received")


class Outgoing(msgspec.Struct):
    """One message on its way over one connection.

    Attributes:
        entry: the message.
        recipients: those the attempt is about.
        statuses: their outcomes as far as known, in the same order.
        waiting: positions in `recipients` that are not yet part of a transaction.
        current: positions in the transaction under way.
        data: content as it goes to the engine; None where it is streamed.
        strict: `data` is known to have no bare CR or LF.
        conversion: content must be re-encoded before it is sent: "" no, "7bit" or "8bit" what the server takes.
        body, smtputf8, chunked, size: of the transactions.
        reply: the last reply, for the tracking log.
        streamed: octets of content handed to the connection piece by piece.
    """

    entry: QueuedItem
    recipients: list[EnvelopeRecipient]
    statuses: list[DeliveryStatus | None]
    waiting: list[int]
    current: list[int] = []
    data: bytes | None = None
    conversion: str = ""
    body: BodyType | None = None
    smtputf8: bool = False
    chunked: bool = False
    size: int = 0
    reply: str = ""
    strict: bool = False
    streamed: int = 0

    def fail_waiting(self, status: DeliveryStatus) -> None:
        """Give all who wait the same outcome."""
        for index in self.waiting:
            self.statuses[index] = status
        self.waiting = []


def prepare(
    entry: QueuedItem, extensions: Extensions, *, preserve_routing_headers: bool = True, tls_assured: bool = False
) -> Outgoing:
    """Decide how `entry` goes to a server with these extensions. Recipients that it cannot be sent to have their
    status already; content in memory is edited and converted already, other content says in `conversion` what it needs.

    Args:
        tls_assured: the connection was opened for messages that ask for REQUIRETLS.
    """
    recipients = pending_recipients(entry)
    outgoing = Outgoing(entry, recipients, [None] * len(recipients), list(range(len(recipients))))
    if entry.item.tls_requirement is TlsRequirement.REQUIRED and not (tls_assured and extensions.require_tls):
        outgoing.fail_waiting(_failure("4.7.30", "REQUIRETLS needed, and this connection does not give it"))
    _settle_smtputf8(outgoing, extensions)
    if outgoing.waiting:
        _settle_body(outgoing, extensions)
    content = entry.content
    if content is None:
        outgoing.fail_waiting(_failure("4.3.0", "the content is not at hand"))
    elif content.data is not None and outgoing.waiting:
        load(outgoing, content.data, preserve_routing_headers=preserve_routing_headers)
    elif content.data is None:
        outgoing.size = content.size
    _settle_size(outgoing, extensions)
    return outgoing


def usual_transaction(entry: QueuedItem, extensions: Extensions) -> Transaction | None:
    """What `prepare` and `next_transaction` come to for the usual message, in one step: one recipient, content in
    memory that goes as it is, Received fields and all. None for every other message."""
    item, content = entry.item, entry.content
    envelope = item.envelope
    recipients = envelope.recipients
    if len(recipients) != 1 or type(content) is not BytesContent or item.headers_utf8 or item.tls_requirement:
        return None
    recipient, reverse_path, data = recipients[0], envelope.reverse_path, content.data
    size = len(data)
    body = None
    if item.has_8bit:
        if not extensions.eight_bit_mime:
            return None
        body = _EIGHT_BIT
    if (
        recipient.state
        or not recipient.forward_path.local_part.isascii()
        or not reverse_path.local_part.isascii()
        or envelope.body_type is _BINARY
        or (extensions.size and size > extensions.size)
        or (extensions.chunking and item.size >= CHUNKED_FROM_BYTES)
    ):
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0 or b"x-ms-exchange-" in data[:end].lower():
        return None
    return Transaction(
        reverse_path=reverse_path,
        recipients=recipients,
        size=size,
        body=body,
        ret=envelope.ret,
        envelope_id=envelope.envelope_id,
        tag=Outgoing(entry, recipients, [None], [], [0], data, "", body, False, False, size, "", item.strict),
    )


def load(outgoing: Outgoing, data: bytes, *, preserve_routing_headers: bool) -> None:
    """Put content into `outgoing`, edited and converted; recipients fail where conversion is impossible."""
    data = outbound_header(data, preserve_routing_headers=preserve_routing_headers)
    if outgoing.conversion:
        try:
            data = reencode(data, keep_8bit=outgoing.conversion == "8bit")
        except ConversionProhibited as error:
            outgoing.fail_waiting(_failure(error.status, str(error)))
            return
        outgoing.conversion = ""
    outgoing.data = data
    outgoing.size = len(data)


def _settle_smtputf8(outgoing: Outgoing, extensions: Extensions) -> None:
    """SMTPUTF8 is asked for only where an address or the header needs it (RFC 6531 §3.2)."""
    item = outgoing.entry.item
    by_message = item.headers_utf8 or not item.envelope.reverse_path.local_part.isascii()
    needy = [i for i in outgoing.waiting if not outgoing.recipients[i].forward_path.local_part.isascii()]
    if not (by_message or needy):
        return
    if extensions.smtputf8:
        outgoing.smtputf8 = True
        return
    if by_message:
        what, status = ("header", "5.6.9") if item.headers_utf8 else ("sender's address", "5.6.7")
        outgoing.fail_waiting(_failure(status, f"the {what} needs SMTPUTF8, which the next server does not offer"))
        return
    for index in needy:
        outgoing.statuses[index] = _failure("5.6.7", "the address needs SMTPUTF8, which the next server does not offer")
    outgoing.waiting = [index for index in outgoing.waiting if outgoing.statuses[index] is None]


def _settle_body(outgoing: Outgoing, extensions: Extensions) -> None:
    """BODY=, BDAT, and whether content must be converted (RFC 6152 §3, RFC 3030 §3)."""
    item = outgoing.entry.item
    if item.envelope.body_type is BodyType.BINARY_MIME:
        if extensions.binary_mime:
            outgoing.body, outgoing.chunked = BodyType.BINARY_MIME, True
            return
        outgoing.conversion = "8bit" if extensions.eight_bit_mime else "7bit"
    elif item.has_8bit and not extensions.eight_bit_mime:
        outgoing.conversion = "7bit"
    if extensions.eight_bit_mime and (item.has_8bit or outgoing.smtputf8 or outgoing.conversion):
        outgoing.body = BodyType.EIGHT_BIT_MIME
    outgoing.chunked = extensions.chunking and item.size >= CHUNKED_FROM_BYTES


def _settle_size(outgoing: Outgoing, extensions: Extensions) -> None:
    if extensions.size and outgoing.size > extensions.size:
        limit = ByteSize(extensions.size)
        outgoing.fail_waiting(
            _failure("5.3.4", f"the message has {outgoing.size} octets, the next server takes {limit}")
        )


def next_transaction(outgoing: Outgoing, extensions: Extensions) -> Transaction | None:
    """A transaction for recipients that wait, as many as the server takes at once (LIMITS, RFC 9422); None when none
    waits."""
    if not outgoing.waiting:
        return None
    limit = min(extensions.rcpt_max or RECIPIENTS_PER_TRANSACTION, RECIPIENTS_PER_TRANSACTION)
    if len(outgoing.waiting) <= limit and not extensions.rcpt_domain_max:
        outgoing.current, outgoing.waiting = outgoing.waiting, []
    else:
        outgoing.current, outgoing.waiting = _share(outgoing, limit, extensions.rcpt_domain_max)
    envelope = outgoing.entry.item.envelope
    return Transaction(
        reverse_path=envelope.reverse_path,
        recipients=[outgoing.recipients[index] for index in outgoing.current],
        size=outgoing.size,
        body=outgoing.body,
        smtputf8=outgoing.smtputf8,
        require_tls=extensions.require_tls and outgoing.entry.item.tls_requirement in _KEYWORD,
        ret=envelope.ret,
        envelope_id=envelope.envelope_id,
        chunked=outgoing.chunked,
        tag=outgoing,
    )


def _share(outgoing: Outgoing, limit: int, domain_limit: int) -> tuple[list[int], list[int]]:
    """Who goes now and who later."""
    now: list[int] = []
    later: list[int] = []
    domains: set[str] = set()
    for index in outgoing.waiting:
        domain = outgoing.recipients[index].forward_path.domain_key
        fits = not domain_limit or domain in domains or len(domains) < domain_limit
        if fits and len(now) < limit:
            now.append(index)
            domains.add(domain)
        else:
            later.append(index)
    return now, later


def settle(outgoing: Outgoing, transaction: Transaction) -> None:
    """Enter a finished transaction's outcomes. Recipients refused with 452 beside accepted ones were merely too many at
    once: they wait for another transaction (RFC 5321 §4.5.3.1.10)."""
    outgoing.reply = transaction.reply or outgoing.reply
    for index, status in zip(outgoing.current, transaction.statuses, strict=True):
        outgoing.statuses[index] = status
    accepted = transaction.accepted
    if 0 < len(accepted) < len(outgoing.current):
        # A 452 to the content, which recipients that were accepted share, is no such thing and waits for its time.
        again = [
            index
            for position, (index, status) in enumerate(zip(outgoing.current, transaction.statuses, strict=True))
            if position not in accepted and status and status.remote_mta and status.diagnostic.startswith("452 ")
        ]
        outgoing.waiting = again + outgoing.waiting
    outgoing.current = []


def outbound_header(data: bytes, *, preserve_routing_headers: bool) -> bytes:
    """Content without the fields that stay in the house: X-MS-Exchange-Organization-* and -Forest-* always, Received
    unless the connector preserves routing headers (ms-Exch-Send-Headers-Routing)."""
    header, rest = split_header(data)
    kept = without_fields(header, INTERNAL_FIELDS if preserve_routing_headers else _WITHOUT_TRACE)
    return data if kept is header else kept + rest


def _failure(status: str, words: str) -> DeliveryStatus:
    action = Action.FAILED if status.startswith("5") else Action.DELAYED
    return DeliveryStatus(action=action, status=status, diagnostic=words)
