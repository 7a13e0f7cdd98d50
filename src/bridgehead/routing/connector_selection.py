# SPDX-License-Identifier: MIT
"""Which connector takes a message for a domain: Exchange's order, step by step.

1. connectors whose `max_message_size` is below the message's size drop out;
2. those stay that are enabled and have a matching address space;
3. the most specific address space wins, then the lowest cost, then (all being local) the lowest name.

No match means no route, which the categorizer turns into the Unreachable queue; matches that all dropped out by size
mean that the message is too large for every way there is.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.address import domain_key
from bridgehead.mail.units import ByteSize
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.address_space import OUR_DOMAINS, SMTP, AddressSpace, AddressSpaceError, parse_address_space
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import DomainType, ForeignConnector, SendConnector

CACHED_DOMAINS: Final = 20_000
"""Domains whose choice is kept; beyond that the cache starts anew."""

Connector = SendConnector | ForeignConnector


class Outcome(StrEnum):
    """How a selection ended."""

    CHOSEN = "chosen"
    NO_ROUTE = "no route"
    TOO_LARGE = "too large"


class Selection(msgspec.Struct, frozen=True):
    """The result: a connector with the next hop that follows from it, or why there is none."""

    outcome: Outcome
    connector: Connector | None = None
    address_space: AddressSpace | None = None
    next_hop: NextHop | None = None


class Rejected(msgspec.Struct, frozen=True):
    """A connector that was not chosen, and the reason in plain words."""

    connector: str
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """A selection and what spoke against each other connector, in the order of the configuration."""

    selection: Selection
    rejected: list[Rejected]


NO_ROUTE: Final = Selection(Outcome.NO_ROUTE)
TOO_LARGE: Final = Selection(Outcome.TOO_LARGE)


class ConnectorSelection:
    """The send and foreign connectors of a configuration, ready to choose from.

    Address spaces that cannot be read are left out here; the check of the configuration reports them.
    """

    __slots__ = ("_cache", "_connectors")

    def __init__(
        self, send_connectors: Sequence[SendConnector], foreign_connectors: Sequence[ForeignConnector],
        accepted_domains: AcceptedDomains,
    ) -> None:  # fmt: skip
        connectors: list[Connector] = [*send_connectors, *foreign_connectors]
        self._connectors = [(connector, _spaces(connector, accepted_domains)) for connector in connectors]
        self._cache: dict[str, tuple[tuple[int, Selection], ...]] = {}

    def select(self, key: str, size: int) -> Selection:
        """The connector for a domain, given as `domain_key`, and a message of `size` octets."""
        steps = self._cache.get(key)
        if steps is None:
            steps = self._remember(key)
        for limit, selection in steps:
            if size <= limit:
                return selection
        return TOO_LARGE if steps else NO_ROUTE

    def explain(self, key: str, size: int) -> Explanation:
        """What `select` answers, with the reason against each other connector. For people; not cached."""
        selection = self.select(key, size)
        rejected = [
            Rejected(connector.name, _reason(connector, spaces, key, size, selection))
            for connector, spaces in self._connectors
            if connector is not selection.connector
        ]
        return Explanation(selection, rejected)

    def _remember(self, key: str) -> tuple[tuple[int, Selection], ...]:
        """All that can ever be chosen for a domain, best first, each with the size up to which it takes messages."""
        matches = [
            (_rank(space, connector), connector, space)
            for connector, spaces in self._connectors
            if connector.enabled and (space := _best_space(spaces, key)) is not None
        ]
        matches.sort(key=lambda match: match[0])
        steps: list[tuple[int, Selection]] = []
        for _, connector, space in matches:
            if not steps or connector.max_message_size > steps[-1][0]:
                next_hop = _next_hop(connector, key)
                selection = Selection(Outcome.CHOSEN, connector, space, next_hop)
                steps.append((int(connector.max_message_size), selection))
        if len(self._cache) >= CACHED_DOMAINS:
            self._cache.clear()
        kept = self._cache[key] = tuple(steps)
        return kept


def _spaces(connector: Connector, accepted_domains: AcceptedDomains) -> list[AddressSpace]:
    """The connector's SMTP spaces, "--" replaced by the domains it stands for."""
    spaces = []
    for text in connector.address_spaces:
        try:
            space = parse_address_space(text)
        except AddressSpaceError:
            continue
        if space.space == OUR_DOMAINS and space.type == SMTP:
            spaces += _our_domains(accepted_domains, space.cost)
        elif space.type == SMTP:
            spaces.append(space)
    return spaces


def _our_domains(accepted_domains: AcceptedDomains, cost: int) -> list[AddressSpace]:
    return [
        AddressSpace(
            SMTP,
            domain_key(domain.domain_name.removeprefix("*.")),
            domain.match_sub_domains or domain.domain_name.startswith("*."),
            cost,
        )
        for domain in accepted_domains
        if domain.domain_type is not DomainType.EXTERNAL_RELAY
    ]


def _best_space(spaces: list[AddressSpace], key: str) -> AddressSpace | None:
    matching = [space for space in spaces if space.matches(key)]
    return min(matching, key=lambda space: (-space.specificity, space.cost), default=None)


def _rank(space: AddressSpace, connector: Connector) -> tuple[int, int, str, str]:
    return (-space.specificity, space.cost, connector.name.casefold(), connector.name)


def _next_hop(connector: Connector, key: str) -> NextHop:
    if isinstance(connector, ForeignConnector):
        return NextHop(DeliveryType.NON_SMTP_GATEWAY, connector.name, connector.name)
    if connector.routes_by_dns:
        return NextHop(DeliveryType.DNS_CONNECTOR, key, connector.name)
    return NextHop(DeliveryType.SMART_HOST, ",".join(connector.smart_hosts), connector.name)


def _reason(connector: Connector, spaces: list[AddressSpace], key: str, size: int, selection: Selection) -> str:
    """Why this connector was not the one, by the first step that it failed."""
    if not connector.enabled:
        return "it is disabled"
    space = _best_space(spaces, key)
    if space is None:
        return f"none of its address spaces matches {key}"
    if size > connector.max_message_size:
        return f"its max_message_size of {connector.max_message_size} is below the message's {ByteSize(size)}"
    winner, chosen = selection.address_space, selection.connector
    assert winner is not None
    assert chosen is not None
    if space.specificity < winner.specificity:
        return f"its address space {space} is less specific than {winner} of {chosen.name}"
    if space.cost > winner.cost:
        return f"its cost {space.cost} is higher than the {winner.cost} of {chosen.name}"
    return f"its name comes after {chosen.name}, which is equal in all else"
