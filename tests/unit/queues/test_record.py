# SPDX-License-Identifier: MIT
"""The column of the next hop: what older versions wrote stays as it is."""

import pytest

from bridgehead.mail.item import TlsRequirement
from bridgehead.queues.changes import ChangeKind, ItemChange, Unchanged, changed, former, restored
from bridgehead.queues.record import next_hop_key, next_hop_of
from bridgehead.routing.next_hop import DeliveryType, NextHop
from support.work_source import queued

HOP = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "Internet")


def test_a_next_hop_without_a_requirement_is_written_as_ever():
    assert next_hop_key(HOP) == '["DnsConnectorDelivery","contoso.test","Internet"]'
    assert next_hop_of(next_hop_key(HOP)) == HOP


def test_one_with_a_requirement_is_read_back():
    asking = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "Internet", TlsRequirement.REQUIRED)
    assert next_hop_key(asking) == '["DnsConnectorDelivery","contoso.test","Internet","RequireTLS"]'
    assert next_hop_of(next_hop_key(asking)) == asking
    assert asking != HOP


def test_a_redirected_message_keeps_what_its_sender_asked_of_tls():
    """An administrator's other way is no way around REQUIRETLS."""
    entry = queued(tls_requirement=TlsRequirement.REQUIRED)
    entry.next_hop = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "Internet", TlsRequirement.REQUIRED)
    change = ItemChange(kind=ChangeKind.REDIRECT, next_hop=NextHop(DeliveryType.SMART_HOST, "hub.test", "Hub"))
    there = changed(entry, change)
    assert there.next_hop == NextHop(DeliveryType.SMART_HOST, "hub.test", "Hub", TlsRequirement.REQUIRED)
    assert restored(there, former(entry), change).next_hop == entry.next_hop
    gateway = NextHop(DeliveryType.NON_SMTP_GATEWAY, "fax", "fax")
    with pytest.raises(Unchanged, match="REQUIRETLS"):
        changed(entry, ItemChange(kind=ChangeKind.REDIRECT, next_hop=gateway))
