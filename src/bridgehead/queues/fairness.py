# SPDX-License-Identifier: MIT
"""Who goes next in a queue: shares of priorities, fresh mail before retries, turns of senders. Pure.

A queue has six lanes, two for each priority: fresh messages, and those that were tried before. `Shares` says from which
lane the next message comes (smooth weighted round robin), so that High goes first and nothing waits for ever. Within a
lane each waiting message has a turn (start-time fair queueing, Goyal et al. 1996): a sender's messages have turns one
after the other, and a sender who had none waiting begins at the turn the lane has reached. So one message of another
sender leaves among the next ones, however many wait before it.

What is known of lanes and senders is bounded and may be forgotten: a sender begins anew at the lane's turn then.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from bridgehead.mail.address import Mailbox
from bridgehead.mail.item import MailItem, Priority

LANES: Final = range(2 * len(Priority))
"""Two for each priority: fresh, tried before."""
LANE_SHARES: Final = (64, 16, 16, 4, 4, 1)
"""Each priority has four times the share of the next, and fresh mail four times that of retries."""
STANDARD_WEIGHT: Final = 10
"""Of a sender without a weight of its own."""
TURN_STEP: Final = 2520
"""Between two turns of a sender of weight 1, so that common weights divide it."""
FIRST_TURN: Final = 1
"""0 says that an entry has no turn yet."""
LANES_REMEMBERED: Final = 10_000
SENDERS_REMEMBERED: Final = 50_000

_Entry = TypeVar("_Entry")
LaneKey = tuple[int, str, int]
"""Queue, next hop as the store writes it, lane."""


def lane_of(priority: int, retry_count: int) -> int:
    """The lane of a message."""
    return 2 * priority + (1 if retry_count else 0)


def sender_of(item: MailItem) -> str:
    """What counts as one sender: the login, else the reverse-path, else the client's address.

    What stands behind "+" in a reverse-path, or an address within it ("bounces=user=example.org@", BATV's "prvs="),
    is left out: it differs from message to message of one mailing.
    """
    return _sender_of(item.principal, item.envelope.reverse_path, item.client_ip)


@lru_cache(maxsize=4096)
def _sender_of(principal: str, path: Mailbox, client_ip: str) -> str:
    if principal.startswith("user:"):
        return principal
    if not path.local_part:
        return client_ip or principal
    local = path.local_part.lower()
    if local.startswith("prvs=") and local.count("=") > 1:
        local = local.split("=", 2)[2]
    return f"{local.partition('+')[0].partition('=')[0]}@{path.domain_key}"


class Weights:
    """Weights of senders, replaced when the configuration is read anew.

    Args:
        table: login name as "user:NAME", address, or "@domain" → weight.
    """

    __slots__ = ("_table",)

    def __init__(self, table: Mapping[str, int]) -> None:
        self.replace(table)

    def replace(self, table: Mapping[str, int]) -> None:
        """Use another table from now on."""
        self._table = {name.lower(): weight for name, weight in table.items()}

    def step(self, sender: str) -> int:
        """How far the sender's next turn is from its last one."""
        table = self._table
        if not table:
            return TURN_STEP // STANDARD_WEIGHT
        name = sender.lower()
        weight = table.get(name) or table.get("@" + name.rpartition("@")[2]) or STANDARD_WEIGHT
        return max(1, TURN_STEP // weight)


class Shares:
    """Smooth weighted round robin over lanes: the credits of one queue."""

    __slots__ = ("_credits",)

    def __init__(self) -> None:
        self._credits = [0] * len(LANES)

    def next_lane(self, waiting: Sequence[int]) -> int:
        """Which of the lanes that hold anything is next; `waiting` must not be empty. Credits change with the call."""
        if len(waiting) == 1:
            return waiting[0]
        credit = self._credits
        best, total = waiting[0], 0
        for lane in waiting:
            share = LANE_SHARES[lane]
            credit[lane] += share
            total += share
            if credit[lane] > credit[best]:
                best = lane
        credit[best] -= total
        for lane in LANES:
            if lane not in waiting:
                credit[lane] = 0
        return best

    def chosen(self, lanes: Mapping[int, Sequence[_Entry]], limit: int) -> list[_Entry]:
        """Up to `limit` entries of several lanes, each in its own order, in the order in which they are to leave."""
        taken = dict.fromkeys((lane for lane in sorted(lanes) if lanes[lane]), 0)
        found: list[_Entry] = []
        while taken and len(found) < limit:
            lane = self.next_lane(list(taken))
            found.append(lanes[lane][taken[lane]])
            taken[lane] += 1
            if taken[lane] == len(lanes[lane]):
                del taken[lane]
        return found


class Turns:
    """Gives turns to the entries of one store that begin to wait.

    Args:
        first: the lowest turn that waits in a lane, None where nothing does; asked for a lane that is not known.
        weights: of senders.
    """

    def __init__(self, first: Callable[[LaneKey], int | None], weights: Weights) -> None:
        self._first = first
        self._weights = weights
        self._reached: dict[LaneKey, int] = {}
        self._last: dict[tuple[LaneKey, str], int] = {}
        self._held: dict[int, tuple[LaneKey, int]] = {}
        self._shares: dict[tuple[int, str], Shares] = {}

    def place(self, key: LaneKey, sender: str, entry: int) -> int:
        """The turn of an entry that begins to wait. One that was leased and comes back untried keeps its own."""
        held = self._held.pop(entry, None)
        if held is not None and held[0] == key:
            return held[1]
        turn = self._reached_by(key)
        last = self._last.pop((key, sender), None)
        if last is not None:
            turn = max(turn, last + self._weights.step(sender))
        self._last[key, sender] = turn
        if len(self._last) > SENDERS_REMEMBERED:
            del self._last[next(iter(self._last))]
        return turn

    def leased(self, key: LaneKey, turn: int, entry: int, *, in_turn: bool) -> None:
        """An entry was taken, because its turn had come or for another reason."""
        if in_turn:
            self._reached[key] = max(turn, self._reached_by(key))
        self._held[entry] = (key, turn)
        if len(self._held) > SENDERS_REMEMBERED:
            del self._held[next(iter(self._held))]

    def tried(self, entry: int) -> None:
        """An entry left, or waits for its next attempt: its turn is over."""
        self._held.pop(entry, None)

    def look_again(self) -> None:
        """Entries came back by other ways: how far the lanes are is asked for anew."""
        self._reached.clear()

    def shares(self, queue: int, next_hop: str) -> Shares:
        """The credits of a queue's lanes."""
        shares = self._shares.get((queue, next_hop))
        if shares is None:
            shares = self._shares[queue, next_hop] = Shares()
            if len(self._shares) > LANES_REMEMBERED:
                del self._shares[next(iter(self._shares))]
        return shares

    def _reached_by(self, key: LaneKey) -> int:
        reached = self._reached.get(key)
        if reached is None:
            reached = self._reached[key] = self._first(key) or FIRST_TURN
            if len(self._reached) > LANES_REMEMBERED:
                del self._reached[next(iter(self._reached))]
        return reached
