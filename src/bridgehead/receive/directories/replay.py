# SPDX-License-Identifier: MIT
"""Files of the replay directory: messages with their envelope in X- fields on top (Exchange's Replay).

For exported messages and foreign gateways. `X-Sender` and `X-Receiver` carry an address and the parameters that MAIL
and RCPT would (RFC 3461, RFC 6152). Whoever can write here is trusted, so trace fields stay; fields of organization and
forest stay where `X-CreatedBy: MSExchange15` says that a server wrote the file.
"""

from typing import Final

from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.header import HeaderBlock, clean_text
from bridgehead.mail.reply import Reply
from bridgehead.net.ip_range import normalise_ip
from bridgehead.receive.directories.file import Arrival, BadSubmission, Submission, make_submission, open_file
from bridgehead.receive.permissions.header_firewall import strip_for_sending
from bridgehead.smtp import replies
from bridgehead.smtp.commands import parse_mail, parse_rcpt
from bridgehead.smtp.events import Mail, Rcpt
from bridgehead.smtp.extensions import Features

CONNECTOR = "Replay"

_END: Final = b"x-endofinjectedxheaders"
_INJECTED: Final = frozenset({
    b"x-sender", b"x-receiver", b"x-createdby", b"x-extendedmessageprops", b"x-helodomain", b"x-source",
    b"x-sourceipaddress", _END,
})  # fmt: skip


def read_replay(data: bytes, arrival: Arrival) -> Submission:
    """The message of a file. Raises BadSubmission."""
    header, body = open_file(data)
    injected, rest = _split(header)
    mail = _sender(injected)
    recipients = _recipients(injected, mail.smtputf8)
    kept = HeaderBlock(rest).without(lambda name: name == b"bcc")
    if injected.first(b"x-createdby").lower() != b"msexchange15":
        kept = strip_for_sending(kept, preserve_routing_headers=True)
    helo, client_ip = _helo(injected), _source_ip(injected)
    literal = f"[IPv6:{client_ip}]" if ":" in client_ip else f"[{client_ip}]"
    envelope = Envelope(mail.reverse_path, recipients, mail.body_type, mail.smtputf8, mail.ret, mail.envelope_id)
    received = f"from {helo or 'unknown'} ({literal}) by Replay"
    return make_submission(
        arrival, envelope, received, kept, body, connector=CONNECTOR, client_ip=client_ip, helo=helo
    )  # fmt: skip


def _split(header: HeaderBlock) -> tuple[HeaderBlock, bytes]:
    """The injected fields on top, and the message's own header. Raises BadSubmission where one comes too late; after
    the end that a file declares itself such fields are the message's own."""
    end, open_ = 0, True
    for name, _, field_end in header.fields:
        if not open_ or name not in _INJECTED:
            open_ = False
            if name in (b"x-sender", b"x-receiver"):
                raise BadSubmission(f"{name.decode().title()} must stand above the message's own header")
            continue
        end = field_end
        if name == _END:
            break
    return HeaderBlock(header.block[:end]), header.block[end:]


def _argument(value: bytes) -> bytes:
    """An address with parameters in the form of MAIL and RCPT; angle brackets are added where they are missing."""
    if value.startswith(b"<"):
        return value
    address, space, parameters = value.partition(b" ")
    return b"<" + address + b">" + space + parameters


def _sender(injected: HeaderBlock) -> Mail:
    values = list(injected.raw_values(b"x-sender"))
    if len(values) != 1:
        raise BadSubmission(f"one X-Sender was expected, not {len(values)}")
    mail = parse_mail(b"FROM:" + _argument(values[0]), Features())
    if isinstance(mail, Mail) and mail.reverse_path.local_part and not mail.reverse_path.domain:
        mail = replies.BAD_SENDER_SYNTAX
    if isinstance(mail, Reply):
        raise BadSubmission(f"X-Sender: {mail.text}: {clean_text(values[0].decode('utf-8', 'replace'), 80)}")
    return mail


def _recipients(injected: HeaderBlock, smtputf8: bool) -> list[EnvelopeRecipient]:
    recipients = []
    for value in injected.raw_values(b"x-receiver"):
        rcpt = parse_rcpt(b"TO:" + _argument(value), Features(), smtputf8)
        if isinstance(rcpt, Rcpt) and not rcpt.forward_path.domain:
            rcpt = replies.BAD_RECIPIENT_SYNTAX
        if isinstance(rcpt, Reply):
            raise BadSubmission(f"X-Receiver: {rcpt.text}: {clean_text(value.decode('utf-8', 'replace'), 80)}")
        recipients.append(EnvelopeRecipient(rcpt.forward_path, rcpt.notify, rcpt.original_recipient))
    if not recipients:
        raise BadSubmission("there is no X-Receiver")
    return recipients


def _helo(injected: HeaderBlock) -> str:
    value = injected.first(b"x-helodomain").decode("utf-8", "replace")
    try:
        return parse_domain(value) if value else ""
    except AddressError as error:
        raise BadSubmission(f"X-HeloDomain: {error}") from None


def _source_ip(injected: HeaderBlock) -> str:
    value = injected.first(b"x-sourceipaddress").decode("ascii", "replace")
    try:
        return normalise_ip(value) if value else "0.0.0.0"
    except ValueError:
        raise BadSubmission("X-SourceIPAddress: an IP address was expected") from None
