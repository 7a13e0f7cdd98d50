# SPDX-License-Identifier: MIT
"""The short way of usual messages comes to exactly what the long one does, and leaves alone what is not usual."""

import itertools

import pytest

from bridgehead.delivery.smtp_send.prepare import next_transaction, prepare, usual_transaction
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, RecipientState, Return
from bridgehead.smtp.client_events import Extensions
from support.work_source import queued

_HEADER = b"Subject: x\r\n\r\n"
_SERVERS = (
    Extensions(),
    Extensions(pipelining=True, size=0, eight_bit_mime=True, dsn=True),
    Extensions(size=20, chunking=True, eight_bit_mime=True, binary_mime=True, smtputf8=True),
)
_MESSAGES = {
    "plain": {},
    "eight bit": {"data": _HEADER + b"\xe9\r\n"},
    "large": {"data": _HEADER + b"x" * 70_000},
    "no body": {"data": b"Subject: x\r\n"},
    "no header": {"data": b"\r\nx\r\n"},
    "internal field": {"data": b"X-MS-Exchange-Organization-SCL: 1\r\n" + _HEADER},
    "internal field in the body": {"data": _HEADER + b"X-MS-Exchange-Organization-SCL: 1\r\n\r\n"},
    "UTF-8 header": {"headers_utf8": True},
    "UTF-8 sender": {"sender": "\u00e9@example.com"},
    "UTF-8 recipient": {"recipients": ["\u00e9@example.com"]},
    "null sender": {"sender": ""},
    "binary": {"body_type": BodyType.BINARY_MIME},
    "parameters": {"ret": Return.FULL, "envelope_id": "abc"},
    "two recipients": {"recipients": ["b@example.net", "c@example.net"]},
    "checked": {"strict": True},
}
_USUAL = {"plain", "null sender", "parameters", "internal field in the body", "checked"}


@pytest.mark.parametrize(("name", "server"), list(itertools.product(_MESSAGES, _SERVERS)))
def test_the_short_way_is_the_long_one(name, server):
    message = queued(**_MESSAGES[name])
    short = usual_transaction(message, server)
    if short is None:
        assert name not in _USUAL or server.size == 20
        return
    outgoing = prepare(message, server)
    long = next_transaction(outgoing, server)
    assert short.tag.strict == (name == "checked")
    short.tag.strict = False
    assert short == long
    assert short.tag == long.tag == outgoing


def test_a_recipient_who_is_done_with_is_no_recipient():
    message = queued()
    message.item.envelope.recipients[0].state = RecipientState.RELAYED
    assert usual_transaction(message, _SERVERS[0]) is None


def test_the_one_who_still_waits_beside_others_goes_the_long_way():
    message = queued()
    message.item.envelope.recipients.append(
        EnvelopeRecipient(parse_mailbox("c@example.net"), state=RecipientState.RELAYED)
    )
    assert usual_transaction(message, _SERVERS[0]) is None
    assert next_transaction(prepare(message, _SERVERS[0]), _SERVERS[0]) is not None
