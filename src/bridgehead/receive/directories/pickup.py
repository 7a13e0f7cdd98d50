# SPDX-License-Identifier: MIT
"""Files of the pickup directory: ordinary messages whose header says who they are from and for (Exchange's Pickup).

Recipients come from To, Cc and Bcc, the originator from Sender or From. Bcc goes; so do fields that would claim a
history or a standing the message does not have: Received, Resent-*, X-MS-Exchange-Organization-* and -Forest-*.
"""

from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.units import ByteSize
from bridgehead.receive.directories.file import (
    Arrival,
    BadSubmission,
    Reader,
    Submission,
    address_list,
    make_submission,
    open_file,
    originator,
)
from bridgehead.receive.permissions.header_firewall import strip_header

CONNECTOR = "Pickup"


def pickup_reader(max_header_size: ByteSize, max_recipients: int) -> Reader:
    """Reads files with PickupDirectoryMaxHeaderSize and PickupDirectoryMaxRecipientsPerMessage."""

    def read(data: bytes, arrival: Arrival) -> Submission:
        header, body = open_file(data)
        if len(header.block) > max_header_size:
            raise BadSubmission(f"the header is larger than {max_header_size}")
        sender = originator(header)
        values = [value for name in (b"to", b"cc", b"bcc") for value in header.raw_values(name)]
        recipients = list({mailbox.key: mailbox for mailbox in address_list(values)}.values())
        if not recipients:
            raise BadSubmission("there is no recipient in To, Cc or Bcc")
        if len(recipients) > max_recipients:
            raise BadSubmission(f"there are more than {max_recipients} recipients")
        kept = strip_header(header.without(lambda name: name == b"bcc"), frozenset())
        if not header.count(b"to") and not header.count(b"cc"):
            kept += b"To: Undisclosed recipients:;\r\n"
        envelope = Envelope(sender, [EnvelopeRecipient(mailbox) for mailbox in recipients])
        return make_submission(arrival, envelope, "from localhost by Pickup", kept, body, connector=CONNECTOR)

    return read
