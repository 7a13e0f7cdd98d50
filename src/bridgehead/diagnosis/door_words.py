# SPDX-License-Identifier: MIT
"""Sentences about what our own door refused, and what helps; the table that uses them is `door_rules.py`."""

import re
import shlex
from typing import Final

from bridgehead.diagnosis.facts import RefusalFacts

DEVICE_LIMITS: Final = ("message_rate_limit", "max_message_size", "max_recipients_per_message")
"""Settings that each device has for itself, whatever its connector says."""
_SIZE: Final = re.compile(r"SIZE=(\d{1,15})", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"<([^<>]*)>")


def who(one: RefusalFacts) -> str:
    """The client, with the name it gave."""
    return f"{one.source} ({one.helo})" if one.helo and one.helo.strip("[]") != one.source else one.source


def address_in(one: RefusalFacts) -> str:
    found = _ADDRESS.search(one.command)
    return found[1] if found else "the recipient"


def device_of(one: RefusalFacts) -> str:
    """Name of the device that the client is known as, "" for none."""
    return one.principal.removeprefix("device:") if one.principal.startswith("device:") else ""


def holder_of(one: RefusalFacts) -> str:
    """Who has the setting of a limit: devices have limits of their own."""
    device = device_of(one)
    return f'the device "{device}"' if device and one.setting in DEVICE_LIMITS else f'"{one.connector}"'


def limit_of(one: RefusalFacts, unit: str = "") -> str:
    place = f" ({one.origin})" if one.origin else ""
    return f"{one.setting} of {holder_of(one)} is {one.limit:,}{unit}{place}".replace(",", " ")


def other_connector(one: RefusalFacts) -> str:
    """The connector that would have allowed it, and why it was not chosen."""
    if not one.others:
        return ""
    name, _, why = one.others[0].partition(": ")
    return f' because "{name}" did not take it ({why})'


def relay_denied(one: RefusalFacts) -> str:
    return (
        f'{who(one)} fell to "{one.connector}"{other_connector(one)}, which does not relay: {address_in(one)} is '
        f"in no accepted domain, and this takes the right {one.right or 'ms-Exch-SMTP-Accept-Any-Recipient'}."
    )


def let_relay(one: RefusalFacts) -> str:
    name, _, why = one.others[0].partition(": ") if one.others else ("", "", "")
    if "does not listen" in why:
        return f'let the client connect to the address and port of "{name}": bridgehead connector list'
    if name:
        return f'add "{one.source}" to remote_ip_ranges of "{name}", then: bridgehead reload'
    return (
        f"see what decides: bridgehead connector match --from {one.source} --port {one.local_port}; make a connector "
        f"for "
        "this address that may relay"
    )


def login_needed(one: RefusalFacts) -> str:
    tried = "the login it tried failed" if one.auth_tried else "it never tried one"
    return f'"{one.connector}" needs a login, and {who(one)} has none: {tried}.'


def other_sender(one: RefusalFacts) -> str:
    sender = address_in(one) if one.command.upper().startswith("MAIL") else one.detail or "somebody else in From"
    if device := device_of(one):
        return f'{who(one)} is the device "{device}" and sends as {sender}, which is none of its own senders.'
    return f"{who(one)} signs in as {one.principal.removeprefix('user:')} but sends as {sender}."


def allow_sender(one: RefusalFacts) -> str:
    if device := device_of(one):
        return (
            f'add it to allowed_senders of the device "{device}", or set its rewrite_sender, which any other sender '
            "becomes; then: bridgehead reload"
        )
    return "grant the login that address (bridgehead user add --address), or let the device send as its own"


def spoofed(one: RefusalFacts) -> str:
    return (
        f'{who(one)} is a stranger to "{one.connector}" and writes in the name of one of our own domains, and neither '
        f"SPF nor DKIM vouches for it ({one.detail or one.sender}): a forgery, or a service of yours that "
        "nobody told of."
    )


def too_large(one: RefusalFacts) -> str:
    declared = _SIZE.search(one.command)
    size = int(declared[1]) if declared else one.size
    had = f"of {size:,} bytes".replace(",", " ") if declared else f"of more than {size:,} bytes".replace(",", " ")
    raw = f" (a file of about {size * 3 // 4 / 1e6:.1f} MB before base64)" if declared else ""
    return f"{who(one)} sends a message {had}{raw}; {limit_of(one, ' bytes')}."


def too_many_connections(one: RefusalFacts) -> str:
    if one.setting == "max_inbound_connection":
        return f'All {one.used} connections of "{one.connector}" are taken; {limit_of(one)}.'
    if one.setting == "max_inbound_connection_percentage_per_source":
        return f"{who(one)} has {one.used} of the last free connections and asks for more; {limit_of(one, ' %')}."
    return f"{who(one)} has {one.used} connections open and asks for one more; {limit_of(one)}."


def raise_limit(one: RefusalFacts) -> str:
    where = one.origin or f"the receive connector {holder_of(one)}"
    if device_of(one) and one.setting in DEVICE_LIMITS:
        where = f"{holder_of(one)}, {one.origin or '[[devices]]'}"
    return f"raise {one.setting} ({where}) where this client is meant to need more, then: bridgehead reload"


def make_room(one: RefusalFacts) -> str:
    if one.detail.startswith("the disk of the queue is full"):
        return "make room on that drive, or move queue_database_path to a larger one"
    return "see which resource and since when: bridgehead back-pressure; then make room"


def recipient_unknown(one: RefusalFacts) -> str:
    address = address_in(one)
    if one.nearest.casefold() == address.casefold():
        return f"There was no {address} in the directory then; now there is."
    nearest = f" Nearest: {one.nearest}." if one.nearest else ""
    return f"There is no {address} in the directory, and its domain is Authoritative, so it is refused.{nearest}"


def add_recipient(one: RefusalFacts) -> str:
    address = address_in(one)
    if one.nearest.casefold() == address.casefold():
        return "nothing, or ask the sender to send it again"
    name = address.rpartition("@")[0] or address
    command = f"bridgehead recipient add {shlex.quote(name)} --address {shlex.quote(address)}"
    return f"add it ({command}), or correct the address in the sender's list"


def line_end(one: RefusalFacts) -> str:
    if "carriage" in one.text:
        return "CR alone"
    return "a NUL octet within" if "NUL" in one.text else "LF alone"
