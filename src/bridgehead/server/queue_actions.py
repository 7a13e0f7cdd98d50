# SPDX-License-Identifier: MIT
"""What administrators do to queued messages, wired: the runner of actions, and what it asks of the configuration."""

from typing import TYPE_CHECKING, Protocol

from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.ports import QueueActivity
from bridgehead.admin.queue.action_runner import ActionRunner
from bridgehead.admin.queue.standing_rules import StandingRules
from bridgehead.delivery.actions import MessageActions
from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.net.clock import SystemClock
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueKind, QueueState, QueueStatus
from bridgehead.routing.next_hop import DeliveryType, NextHop

if TYPE_CHECKING:
    from bridgehead.server.app import Application
    from bridgehead.server.config.load import Loaded


class Configured(Protocol):
    """Who has the configuration in force."""

    loaded: "Loaded"
    clock: SystemClock


class ConfigurationAround:
    """Implements `admin.queue.action_runner.Surroundings` on the configuration in force."""

    def __init__(self, application: Configured) -> None:
        self._application = application

    def now(self) -> float:
        """Unix time."""
        return self._application.clock.now()

    def queue_settings(self) -> QueueSettings:
        """Those in force."""
        return self._application.loaded.configuration.queues

    def expiration_time(self, entry: QueuedItem) -> float:
        """Unix time at which a message fails for its age."""
        item = entry.item
        return deadline_of(item.received_at, self.queue_settings(), True, item.expires_at, item.priority)

    def next_hop_through(self, connector: str, smart_host: str) -> NextHop:
        """The delivery queue of messages that are redirected. Raises AdminFault."""
        configuration = self._application.loaded.configuration
        for foreign in configuration.foreign_connectors:
            if foreign.name.casefold() == connector.casefold() and not smart_host:
                return NextHop(DeliveryType.NON_SMTP_GATEWAY, foreign.name, foreign.name)
        for send in configuration.send_connectors:
            if send.name.casefold() != connector.casefold():
                continue
            if smart_host:
                # Resolved as any domain is: MX records, then addresses; at the connector's port.
                return NextHop(DeliveryType.DNS_CONNECTOR, _host(smart_host), send.name)
            if send.routes_by_dns:
                return NextHop(DeliveryType.DNS_CONNECTOR, "", send.name)
            return NextHop(DeliveryType.SMART_HOST, ",".join(send.smart_hosts), send.name)
        names = [one.name for one in configuration.send_connectors]
        names += [one.name for one in configuration.foreign_connectors]
        raise AdminFault(NOT_FOUND, f'there is no connector "{connector}"', f"one of {', '.join(names) or 'none'}")


def _host(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        remedy = "a name such as relay.example.com, or an address in brackets: [192.0.2.1]"
        raise AdminFault(NOT_FOUND, f'"{text}" is no smart host: {error}', remedy) from None


def make_actions(application: "Application") -> ActionRunner:
    """The runner over the application's store and dispatcher."""
    actions = MessageActions(application.dispatcher, application.categorizer)
    return ActionRunner(
        application.store, actions, application.tracker, ConfigurationAround(application),
        application.place.note_numbers,
    )  # fmt: skip


def make_standing_rules(application: "Application") -> StandingRules:
    """The rules over the application's actions; the categorizer's gate while there are any."""

    def set_gate(rules: StandingRules | None) -> None:
        application.categorizer.gate = rules

    return StandingRules(application.store, application.actions, set_gate)


# --- queues as a whole ----------------------------------------------------------------------------------------------


def queue_activity(application: "Application", queue: QueueState) -> QueueActivity:
    """What a queue does at the moment: its rates, and of a delivery queue its status and its connector's TlsDomain."""
    if queue.next_hop is None:
        incoming, outgoing = application.stage_flows.rates(queue.queue)
        return QueueActivity(incoming_rate=incoming, outgoing_rate=outgoing)
    connectors = application.loaded.configuration.send_connectors
    tls_domain = next((one.tls_domain for one in connectors if one.name == queue.next_hop.connector), "")
    at_work = application.dispatcher.queues.get(queue.next_hop)
    if at_work is None:
        return QueueActivity(tls_domain=tls_domain)
    incoming, outgoing = at_work.flow.rates(application.clock.monotonic())
    return QueueActivity(
        status=at_work.status, incoming_rate=incoming, outgoing_rate=outgoing, tls_domain=tls_domain
    )  # fmt: skip


def suspend_stage(application: "Application", queue: QueueKind, who: str, reason: str) -> None:
    """Suspend-Queue for Submission or Unreachable."""
    application.categorizer.suspend(queue)
    application.store.set_queue_state(
        QueueState(
            queue=queue, status=QueueStatus.SUSPENDED, suspended_by=who, suspend_reason=reason,
            suspended_at=application.clock.now(),
        )
    )  # fmt: skip


def resume_stage(application: "Application", queue: QueueKind) -> None:
    """Resume-Queue for Submission or Unreachable."""
    application.store.set_queue_state(QueueState(queue=queue))
    application.categorizer.resume(queue)


async def restore_suspensions(application: "Application") -> None:
    """Suspensions of Submission and Unreachable outlive a restart. Raises StoreFault."""
    for state in await application.store.queue_states():
        if state.next_hop is None and state.status is QueueStatus.SUSPENDED:
            application.categorizer.suspend(state.queue)
