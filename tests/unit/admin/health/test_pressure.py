# SPDX-License-Identifier: MIT
"""Back pressure in words."""

from pathlib import Path

import pytest

from bridgehead.admin.health.pressure import PressureFacts, ResourceFacts, change_texts, pressure_alarms, span_text
from bridgehead.queues.pressure import RULES, Action, Level, Outlook, Resource
from bridgehead.queues.settings import DatabaseUsedSpace, PrivateBytes, SubmissionQueueLength
from support.cli import Commands
from support.running_server import NOW, running

FULL = ResourceFacts(
    resource=Resource.DATABASE_USED_SPACE, value=97.25, level=Level.MEDIUM, thresholds=DatabaseUsedSpace(),
    subject="/srv/queue", left="3.1 GB free", since=NOW, actions=RULES[Resource.DATABASE_USED_SPACE].medium,
    outlook=Outlook(Level.HIGH, 2400.0),
)  # fmt: skip
SHORT = ResourceFacts(
    resource=Resource.QUEUE_LENGTH, value=12.0, level=Level.LOW, thresholds=SubmissionQueueLength(),
    left="12 messages wait",
)  # fmt: skip


def under_pressure(level: Level, *resources: ResourceFacts) -> PressureFacts:
    actions = Action.NONE
    for one in resources:
        actions |= one.actions
    return PressureFacts(level=level, since=NOW, actions=actions, refused=3, resources=list(resources))


def test_an_alarm_names_cause_effect_forecast_and_remedy() -> None:
    (alarm,) = pressure_alarms(under_pressure(Level.MEDIUM, SHORT, FULL))
    assert alarm == (
        "back pressure: the drive of the queue database (/srv/queue) is Medium at 97.2 %, 3.1 GB free (Medium from "
        "96 %, High from 99 %); mail from outside is refused with 452 4.3.1, the pickup and replay directories wait, "
        "nothing is resubmitted; at this rate High in 40 min; free space there, lower safety_net_hold_time, or move queue_database_path"
    )


def test_events_have_exchanges_numbers() -> None:
    risen = change_texts(Level.LOW, under_pressure(Level.MEDIUM, FULL))
    assert [number for number, _ in risen] == [15004]
    assert "increased from Low to Medium" in risen[0][1]
    fallen = change_texts(Level.MEDIUM, under_pressure(Level.LOW, SHORT))
    assert [number for number, _ in fallen] == [15005]
    assert fallen[0][1].endswith("under pressure: none. Actions in force: none")


@pytest.mark.parametrize(
    ("resource", "numbers"),
    [
        (Resource.DATABASE_USED_SPACE, [15004, 15006]),
        (Resource.USED_DISK_SPACE, [15004, 15006]),
        (Resource.PRIVATE_BYTES, [15004, 15007]),
        (Resource.QUEUE_LENGTH, [15004]),
    ],
)
def test_critical_events_follow_the_resource(resource: Resource, numbers: list[int]) -> None:
    one = ResourceFacts(resource=resource, value=99, level=Level.HIGH, thresholds=PrivateBytes())
    assert [number for number, _ in change_texts(Level.MEDIUM, under_pressure(Level.HIGH, one))] == numbers


def test_the_command_and_status_show_it(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        assert "Low" in commands("back-pressure").output
        server.server.pressure = under_pressure(Level.MEDIUM, SHORT, FULL)
        output = commands("back-pressure", code=1).output
        view = commands.json("back-pressure", code=1)
        status = commands("status").output
    assert max(map(len, output.splitlines() + status.splitlines())) <= 80
    output, status = " ".join(output.split()), " ".join(status.split())
    for text in ("Back pressure: Medium since", "mail from outside is refused", "3 MAIL commands were refused"):
        assert text in output
    assert output.index("/srv/queue") < output.index("the Submission queue")
    assert (view["level"], view["refused"]) == ("Medium", 3)
    first = view["resources"][0]
    assert (first["next_level"], first["next_level_seconds"], first["value"]) == ("High", 2400, 97.25)
    assert "at this rate High in 40 min" in status


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (65, "1 min 5 s"), (600, "10 min"), (7800, "2 h 10 min"), (200_000, "2 d 7 h")],
)
def test_times_to_come(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
