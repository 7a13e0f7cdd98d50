# SPDX-License-Identifier: MIT
"""Back pressure in words: levels, their causes, what is left off, and when the next level comes at this rate."""

from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.times import moment
from bridgehead.queues.pressure import Action, Level, Outlook, Resource
from bridgehead.queues.settings import Thresholds


class ResourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as the server meters it. `since`: Unix time of its last change of level, 0 before the first."""

    resource: Resource
    value: float
    level: Level
    thresholds: Thresholds
    subject: str = ""
    left: str = ""
    since: float = 0.0
    actions: Action = Action.NONE
    outlook: Outlook | None = None


class PressureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Back pressure as it is now. `delay`: seconds; `refused`: MAIL commands since the start."""

    enabled: bool = True
    level: Level = Level.LOW
    since: float = 0.0
    actions: Action = Action.NONE
    delay: float = 0.0
    refused: int = 0
    resources: list[ResourceFacts] = []


class ResourceView(msgspec.Struct, frozen=True, kw_only=True):
    """One resource for people and scripts.

    Attributes:
        resource: Exchange's name.
        value: percent in use, or messages.
        level: Low, Medium or High.
        since: its last change of level.
        next_level, next_level_seconds: where the present trend leads and when; "" and null where none can be told.
        sentence: all of it in words.
    """

    resource: str
    subject: str
    value: float
    unit: str
    level: str
    low_to_medium: float
    medium_to_high: float
    high_to_medium: float
    medium_to_low: float
    since: datetime | None
    next_level: str
    next_level_seconds: int | None
    sentence: str


class PressureView(msgspec.Struct, frozen=True, kw_only=True):
    """Back pressure for people and scripts.

    Attributes:
        level: the highest of all resources: Low, Medium or High.
        actions: what the server does or leaves off because of it.
        refused: MAIL commands answered with 452 4.3.1 since the start.
        tarpit_seconds: how long MAIL waits for its answer.
        resources: those under pressure first.
    """

    enabled: bool
    level: str
    since: datetime | None
    actions: list[str]
    refused: int
    tarpit_seconds: int
    resources: list[ResourceView]


_ACTION_TEXTS: Final = {
    Action.TARPIT: "senders wait longer and longer for an answer to MAIL",
    Action.REFUSE_EXTERNAL: "mail from outside is refused with 452 4.3.1",
    Action.REFUSE_ALL: "all mail is refused with 452 4.3.1",
    Action.PAUSE_DIRECTORIES: "the pickup and replay directories wait",
    Action.PAUSE_RESUBMISSION: "nothing is resubmitted",
    Action.DEHYDRATE: "message bodies are kept on disk, not in memory",
    Action.FLUSH_CACHES: "caches are emptied",
}
_WORDS: Final = {
    Resource.DATABASE_USED_SPACE: "the drive of the queue database",
    Resource.USED_DISK_SPACE: "the drive of the logs",
    Resource.PRIVATE_BYTES: "memory of this server",
    Resource.QUEUE_LENGTH: "the Submission queue",
    Resource.SYSTEM_MEMORY: "memory in use by all",
}
REMEDIES: Final = {
    Resource.DATABASE_USED_SPACE: "free space there, lower safety_net_hold_time, or move queue_database_path",
    Resource.USED_DISK_SPACE: "free space there, or lower the directory sizes of [logs]",
    Resource.PRIVATE_BYTES: "lower outbound_window_bytes, or give the server more memory",
    Resource.QUEUE_LENGTH: "see why the categorizer is slow: bridgehead queue show Submission",
    Resource.SYSTEM_MEMORY: "see which programs take it",
}


def view_pressure(facts: PressureFacts) -> PressureView:
    """Facts as people see them."""
    ordered = sorted(facts.resources, key=lambda one: -one.level)
    return PressureView(
        enabled=facts.enabled,
        level=facts.level.word,
        since=moment(facts.since),
        actions=action_texts(facts.actions),
        refused=facts.refused,
        tarpit_seconds=round(facts.delay),
        resources=[_view(one) for one in ordered],
    )


def action_texts(actions: Action) -> list[str]:
    """What is done or left off, in words; what a stronger action includes is left out."""
    if Action.REFUSE_ALL in actions:
        actions &= ~Action.REFUSE_EXTERNAL
    return [text for action, text in _ACTION_TEXTS.items() if action in actions]


def pressure_alarms(facts: PressureFacts) -> list[str]:
    """One sentence for each resource above Low: what, how much, what follows, what to do."""
    return [
        f"back pressure: {sentence(one)}; {REMEDIES[one.resource]}"
        for one in sorted(facts.resources, key=lambda one: -one.level)
        if one.level
    ]


def sentence(one: ResourceFacts) -> str:
    """A resource in one sentence."""
    limits = one.thresholds
    place = f" ({one.subject})" if one.subject.startswith("/") else ""
    amount = f"{_amount(one, one.value)}" + (f", {one.left}" if one.left and _unit(one.resource) == "%" else "")
    bounds = f"Medium from {_amount(one, limits.low_to_medium)}, High from {_amount(one, limits.medium_to_high)}"
    parts = [f"{_WORDS[one.resource]}{place} is {one.level.word} at {amount} ({bounds})"]
    if one.level and one.actions:
        parts.append(", ".join(action_texts(one.actions)))
    if one.outlook is not None:
        parts.append(f"at this rate {one.outlook.level.word} in {span_text(one.outlook.seconds)}")
    return "; ".join(parts)


def change_texts(before: Level, facts: PressureFacts) -> list[tuple[int, str]]:
    """The events that a change is logged as: Exchange's number and words in its manner."""
    change = f"from {before.word} to {facts.level.word}" if facts.level is not before else f"within {facts.level.word}"
    risen = facts.level >= before and facts.level is not Level.LOW
    disabled = "; ".join(action_texts(facts.actions)) or "none"
    above = [sentence(one) for one in facts.resources if one.level]
    text = (
        f"The resource pressure {'increased' if risen else 'decreased'} {change}. The following resources are "
        f"under pressure: {' | '.join(above) or 'none'}. Actions in force: {disabled}"
    )
    events = [(15004 if risen else 15005, text)]
    high = {one.resource for one in facts.resources if one.level is Level.HIGH}
    if risen and high & {Resource.DATABASE_USED_SPACE, Resource.USED_DISK_SPACE}:
        events.append((15006, _DISK_CRITICAL))
    if risen and Resource.PRIVATE_BYTES in high:
        events.append((15007, _MEMORY_CRITICAL))
    return events


_DISK_CRITICAL: Final = (
    "The transport is rejecting messages because available disk space is below the configured threshold. "
    "Administrative action may be required to free disk space for the service to continue operations."
)
_MEMORY_CRITICAL: Final = (
    "The transport is rejecting messages because the service continues to consume more memory than the configured "
    "threshold. This may require that this service be restarted to continue normal operation."
)


def span_text(seconds: float) -> str:
    """A time to come, in the two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes >= 5 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _unit(resource: Resource) -> str:
    return "messages" if resource is Resource.QUEUE_LENGTH else "%"


def _amount(one: ResourceFacts, value: float) -> str:
    if _unit(one.resource) == "messages":
        return f"{value:.0f} messages"
    return f"{value:.1f}".removesuffix(".0") + " %"


def _view(one: ResourceFacts) -> ResourceView:
    limits = one.thresholds
    return ResourceView(
        resource=one.resource.value,
        subject=one.subject,
        value=round(one.value, 2),
        unit=_unit(one.resource),
        level=one.level.word,
        low_to_medium=limits.low_to_medium,
        medium_to_high=limits.medium_to_high,
        high_to_medium=limits.high_to_medium,
        medium_to_low=limits.medium_to_low,
        since=moment(one.since),
        next_level=one.outlook.level.word if one.outlook else "",
        next_level_seconds=round(one.outlook.seconds) if one.outlook else None,
        sentence=sentence(one),
    )
