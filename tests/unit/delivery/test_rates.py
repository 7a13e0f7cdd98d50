# SPDX-License-Identifier: MIT
"""Rates over the last minute."""

import pytest

from bridgehead.delivery.rates import SAMPLE_SECONDS, FlowMeter
from support.delivery_world import DEFERRED, World, always


def test_rates_are_those_of_the_last_minute() -> None:
    meter = FlowMeter(1000.0)
    meter.entered, meter.left = 30, 12
    assert meter.rates(1001.0) == (0.5, 0.2)
    for step in range(1, 13):
        meter.sample(1000.0 + SAMPLE_SECONDS * step)
    assert meter.rates(1060.0) == (0.5, 0.2)
    meter.sample(1065.0)
    assert meter.rates(1065.0) == (0.0, 0.0)
    meter.entered += 60
    assert meter.rates(1066.0)[0] == pytest.approx(1.0, rel=0.02)


def test_samples_are_bounded() -> None:
    meter = FlowMeter(0.0)
    for step in range(10_000):
        meter.sample(step * SAMPLE_SECONDS)
    assert len(meter._samples) <= 14


async def test_a_queue_counts_what_enters_and_what_leaves_for_good() -> None:
    world = World(None)
    await world.start()
    await world.hand_over(*(world.entry() for _ in range(3)))
    [queue] = world.dispatcher.queues.values()
    assert (queue.flow.entered, queue.flow.left) == (3, 3)
    world.courier.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    assert (queue.flow.entered, queue.flow.left) == (4, 3)
    await world.stop()
