# SPDX-License-Identifier: MIT
"""A queued message as a file that the replay directory takes back (Export-Message with AssembleMessage). Pure.

The envelope stands above the message's own header, in X-Sender and X-Receiver with the parameters of MAIL and RCPT
(RFC 3461, RFC 6152, RFC 6531). Only recipients that still wait are named: those that have the message are not to get it
again. X-EndOfInjectedXHeaders keeps fields of the message from being taken for envelope.
"""

from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, RecipientState, Return
from bridgehead.mail.item import MailItem
from bridgehead.smtp.client_commands import notify_value, utf8_address_xtext, xtext


def injected_header(item: MailItem) -> bytes:
    """What stands above the content in the file."""
    waiting = [one for one in item.envelope.recipients if one.state is RecipientState.PENDING]
    lines = [f"X-Sender: {_sender(item)}"]
    lines += [f"X-Receiver: {_receiver(recipient)}" for recipient in waiting]
    lines.append("X-CreatedBy: MSExchange15")
    if _is_domain(item.helo):
        lines.append(f"X-HeloDomain: {item.helo}")
    lines.append(f"X-Source: {item.source.value}")
    if item.client_ip:
        lines.append(f"X-SourceIPAddress: {item.client_ip}")
    lines.append(f"X-EndOfInjectedXHeaders: {item.size}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _sender(item: MailItem) -> str:
    envelope = item.envelope
    words = [f"<{envelope.reverse_path}>"]
    if envelope.body_type is not BodyType.SEVEN_BIT:
        words.append(f"BODY={envelope.body_type.value}")
    if envelope.ret is not Return.UNSPECIFIED:
        words.append(f"RET={envelope.ret.value}")
    if envelope.envelope_id:
        words.append(f"ENVID={xtext(envelope.envelope_id)}")
    if envelope.smtputf8:
        words.append("SMTPUTF8")
    return " ".join(words)


def _receiver(recipient: EnvelopeRecipient) -> str:
    words = [f"<{recipient.forward_path}>"]
    if recipient.notify:
        words.append(f"NOTIFY={notify_value(recipient.notify)}")
    kind, semicolon, address = recipient.original_recipient.partition(";")
    if semicolon:
        encode = utf8_address_xtext if kind.lower() == "utf-8" or not address.isascii() else xtext
        words.append(f"ORCPT={kind if address.isascii() else 'utf-8'};{encode(address)}")
    return " ".join(words)


def _is_domain(text: str) -> bool:
    try:
        return bool(text) and bool(parse_domain(text))
    except AddressError:
        return False
