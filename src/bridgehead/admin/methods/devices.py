# SPDX-License-Identifier: MIT
"""Methods of devices: list, show, test, and the senders that are no device yet."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from bridgehead.admin.connector.devices import (
    DeviceList,
    DeviceTest,
    DeviceView,
    Inventory,
    inventory,
    list_devices,
    show_device,
    test_device,
    together,
)
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.mail.limits import TRACE_RESULTS
from bridgehead.tracking.trace.criteria import Criteria

_ADDRESSES: Final = 100


class DeviceName(msgspec.Struct, forbid_unknown_fields=True):
    """A device by name."""

    name: str


class DeviceTrial(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Mail to try: `client_ip` an address or a device's name; `sender` as in MAIL, "" for the null one; `author` as in
    From, "" for the sender; `port`, `local_ip`: what it connects to."""

    client_ip: str
    sender: str = ""
    author: str = ""
    recipients: list[str] = []
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 25
    local_ip: str = ""


class InventoryWanted(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`days`: how far back to look."""

    days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 7


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> DeviceList:
    """All devices, with what each may do and what was counted of it."""
    return list_devices(server.devices, server.traces.connectors)


async def show(server: RunningServer, params: DeviceName, _: Caller) -> DeviceView:
    """One device."""
    return show_device(server.devices, server.traces.connectors, params.name)


async def test(server: RunningServer, params: DeviceTrial, _: Caller) -> DeviceTest:
    """What would become of a client's mail and why: connector, device, sender, author, recipients, route."""
    if len(params.recipients) > _ADDRESSES:
        raise AdminFault(INVALID, f"more than {_ADDRESSES} recipients are not tried at once", "give fewer")
    return test_device(
        server.traces.connectors, server.connector_tests.site().directory, client_ip=params.client_ip,
        port=params.port, local_ip=params.local_ip, sender=params.sender, author=params.author,
        recipients=params.recipients,
    )  # fmt: skip


async def unknown(server: RunningServer, params: InventoryWanted, _: Caller) -> Inventory:
    """Clients that send without a login and are no device, with a table for each to paste into the configuration."""
    start = datetime.fromtimestamp(server.now(), UTC) - timedelta(days=params.days)
    wanted = Criteria(event_id="RECEIVE", source="SMTP", start=start, limit=TRACE_RESULTS)
    found = await server.traces.search(wanted)
    events = (event for message in found.messages for event in message.fitting)
    return inventory(events, server.traces.connectors, complete=not found.next)


def _one_device(answers: Sequence[DeviceView], _: DeviceName) -> DeviceView:
    return together(answers)


def _all_devices(answers: Sequence[DeviceList], _: NoParameters) -> DeviceList:
    return DeviceList(devices=[together(parts) for parts in zip(*(one.devices for one in answers), strict=True)])


METHODS: Final = {
    "devices.list": Method(
        params=NoParameters, result=DeviceList, answer=list_, role=Role.VIEWER, route="GET /devices",
        merge=Merge(Ask.ALL, _all_devices),
    ),
    "devices.show": Method(
        params=DeviceName, result=DeviceView, answer=show, role=Role.VIEWER, route="GET /devices/{name}",
        merge=Merge(Ask.ALL, _one_device),
    ),
    "devices.test": Method(
        params=DeviceTrial, result=DeviceTest, answer=test, role=Role.VIEWER, route="GET /tests/devices/{client_ip}",
        merge=FIRST,
    ),
    "devices.unknown": Method(
        params=InventoryWanted, result=Inventory, answer=unknown, role=Role.VIEWER, route="GET /unknown-senders",
        merge=Merge(Ask.FIRST, before="worker.flush_logs"),
    ),
}  # fmt: skip
