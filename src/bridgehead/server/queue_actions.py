# SPDX-License-Identifier: MIT
"""What administrators do to queued messages, wired: the runner of actions, and what it asks of the configuration."""

from typing import TYPE_CHECKING

from bridgehead.admin.action_runner import ActionRunner
from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.standing_rules import StandingRules
from bridgehead.delivery.actions import MessageActions
from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.next_hop import DeliveryType, NextHop

if TYPE_CHECKING:
    from bridgehead.server.app import Application


class ConfigurationAround:
    """Implements `admin.action_runner.Surroundings` on the configuration in force."""

    def __init__(self, application: "Application") -> None:
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
    return ActionRunner(application.store, actions, application.tracker, ConfigurationAround(application))


def make_standing_rules(application: "Application") -> StandingRules:
    """The rules over the application's actions; the categorizer's gate while there are any."""

    def set_gate(rules: StandingRules | None) -> None:
        application.categorizer.gate = rules

    return StandingRules(application.store, application.actions, set_gate)
