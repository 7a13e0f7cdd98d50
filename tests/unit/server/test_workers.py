# SPDX-License-Identifier: MIT
"""Workers without processes: their share of limits, what they may not do, how a question is put to them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bridgehead.admin.calls.channel import Answer, Request
from bridgehead.admin.faults import FAILED, NOT_FOUND, AdminFault
from bridgehead.admin.health import joining as health_joining
from bridgehead.admin.health.metrics import HistogramSample, MetricsSnapshot, Sample
from bridgehead.admin.merge import FIRST, ONE, UNDECLARED, Ask, Merge, in_order
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.methods.table import METHODS
from bridgehead.admin.queue import joining
from bridgehead.admin.queue.queues import QueueView
from bridgehead.admin.tls.tls_policy import HostPolicyView, TlsPolicyView
from bridgehead.mail.units import UNLIMITED
from bridgehead.server.config.default import default
from bridgehead.server.workers.asking import Asked
from bridgehead.server.workers.elsewhere import Elsewhere, Trouble
from bridgehead.server.workers.place import ALONE, Place
from bridgehead.tracking.alarms import Severity

ANNA = Caller("anna")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_how_several_workers_answer_it(name: str) -> None:
    assert METHODS[name].merge is not UNDECLARED
    for other in (METHODS[name].merge.also,):
        assert not other or other in METHODS


def test_only_what_one_worker_may_do_alone_is_declared_without_a_join() -> None:
    """A list of one worker out of several is a wrong answer, unless only the first one has such things."""
    for name, method in METHODS.items():
        if method.merge.ask in (Ask.ALL, Ask.KNOWING, Ask.WORKING) and method.merge.join is None:
            assert method.result is not list, name
            assert not method.lists, name


# --- place ----------------------------------------------------------------------------------------------------------


def test_the_only_worker_has_everything() -> None:
    loaded = default()
    assert ALONE.share(loaded) is loaded
    assert (ALONE.numbers.step, ALONE.numbers.offset) == (1, 0)


def test_limits_of_the_server_are_divided_and_those_of_a_client_are_not() -> None:
    loaded = default()
    whole, part = loaded.configuration, Place(2, 3).share(loaded).configuration
    assert part.delivery.max_per_domain_outbound_connections == whole.delivery.max_per_domain_outbound_connections // 3
    assert part.queues.max_per_domain_low_priority_connections == 1
    assert part.back_pressure.submission_queue_length.medium_to_high == 5000
    for before, after in zip(whole.receive_connectors, part.receive_connectors, strict=True):
        assert after.max_inbound_connection == before.max_inbound_connection
        assert after.max_inbound_connection_per_source == before.max_inbound_connection_per_source
        assert after.message_rate_limit == before.message_rate_limit
    unlimited = msgspec.structs.replace(
        whole.delivery, max_outbound_connections=type(whole.delivery.max_outbound_connections)(UNLIMITED)
    )
    shared = Place(1, 3).share(
        msgspec.structs.replace(loaded, configuration=msgspec.structs.replace(whole, delivery=unlimited))
    )
    assert shared.configuration.delivery.max_outbound_connections == UNLIMITED


def test_the_first_worker_watches_over_senders_for_all() -> None:
    enabled = [Place(number, 2).share(default()).configuration.alarms.source_silence_enabled for number in (1, 2)]
    assert enabled == [True, False]


def test_workers_keep_their_files_apart() -> None:
    data = default().data_directory
    assert Place(1, 2).own_folder(data) == data
    assert len({Place(number, 3).own_folder(data) for number in (1, 2, 3)}) == 3
    assert len({Place(number, 3).own(data / "flights.msgpack") for number in (1, 2, 3)}) == 3


# --- asking -----------------------------------------------------------------------------------------------------------


class Worker:
    """One that answers from a list, or with a fault."""

    def __init__(self, number: int, answer: Any, works: bool = True) -> None:
        self.number, self._answer, self.core, self.trouble = number, answer, self, "" if works else "ended by signal 9"
        self.ready = asyncio.Event()
        self.asked: list[str] = []
        if works:
            self.ready.set()

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request.method)
        if isinstance(self._answer, AdminFault):
            raise self._answer
        return Answer(result=msgspec.Raw(msgspec.json.encode(self._answer)))


async def _nothing(*_: Any) -> None:
    return None


def method(merge: Merge) -> Method:
    return Method(
        params=NoParameters, result=list[int], answer=_nothing, role=Role.VIEWER, route="GET /numbers", merge=merge
    )


def _no_server() -> Any:
    raise AssertionError("nothing is asked of all workers as one server")


async def asked(merge: Merge, *workers: Worker) -> Any:
    return await Asked(workers, {}, _no_server).answer("numbers", method(merge), NoParameters(), ANNA)  # type: ignore[arg-type]


UNKNOWN = AdminFault(NOT_FOUND, "there is none")
BROKEN = AdminFault(FAILED, "the store cannot answer")


async def test_lists_are_joined_in_order() -> None:
    assert await asked(in_order(lambda one: one), Worker(1, [3, 1]), Worker(2, [2])) == [1, 2, 3]


async def test_only_the_first_is_asked_what_it_does_for_all() -> None:
    second = Worker(2, [2])
    assert await asked(FIRST, Worker(1, [1]), second) == [1]
    assert second.asked == []


async def test_one_after_the_other_until_one_knows() -> None:
    assert await asked(ONE, Worker(1, UNKNOWN), Worker(2, [2])) == [2]
    with pytest.raises(AdminFault, match="there is none"):
        await asked(ONE, Worker(1, UNKNOWN), Worker(2, UNKNOWN))


async def test_those_that_know_nothing_are_left_out_and_faults_are_not() -> None:
    merge = in_order(lambda one: one, Ask.KNOWING)
    assert await asked(merge, Worker(1, UNKNOWN), Worker(2, [2])) == [2]
    with pytest.raises(AdminFault, match="cannot answer"):
        await asked(merge, Worker(1, BROKEN), Worker(2, [2]))
    with pytest.raises(AdminFault, match="there is none"):
        await asked(merge, Worker(1, UNKNOWN), Worker(2, UNKNOWN))


async def test_a_dead_worker_is_a_fault_before_any_other_is_asked() -> None:
    first = Worker(1, [1])
    with pytest.raises(AdminFault, match="worker 2 ended by signal 9"):
        await asked(in_order(lambda one: one), first, Worker(2, [2], works=False))
    assert first.asked == []


async def test_or_it_is_said_beside_what_the_others_say() -> None:
    def said(result: list[int], troubles: Any) -> list[Any]:
        return [*result, *troubles]

    merge = Merge(Ask.WORKING, lambda answers, _: [one for answer in answers for one in answer], said)
    found = await asked(merge, Worker(1, [1]), Worker(2, [2], works=False))
    assert found == [1, "worker 2 ended by signal 9"]


# --- joining ----------------------------------------------------------------------------------------------------------


def test_parts_of_a_queue_become_one() -> None:
    one = QueueView(
        identity="Internet/contoso.com", type="Delivery", status="Ready", message_count=2, outgoing_rate=1.0,
        counts_by_status={"Ready": 2}, oldest_age=5.0,
    )  # fmt: skip
    other = msgspec.structs.replace(
        one,
        status="Retry",
        message_count=3,
        last_error="452 4.3.1",
        counts_by_status={"Ready": 1, "Retry": 2},
        oldest_age=9.0,
    )
    joined = joining.one_queue([one, other])
    assert (joined.message_count, joined.status, joined.last_error) == (5, "Retry", "452 4.3.1")
    assert joined.counts_by_status == {"Ready": 3, "Retry": 2}
    assert (joined.oldest_age, joined.outgoing_rate, joined.drain_time) == (9.0, 2.0, 2.5)


def test_numbers_are_added_under_their_labels_but_levels_and_ages() -> None:
    def snapshot(messages: float, age: float) -> MetricsSnapshot:
        return MetricsSnapshot(
            {
                "bridgehead_smtp_receive_messages_total": [Sample(["in"], messages)],
                "bridgehead_oldest_message_age_seconds": [Sample(["delivery"], age)],
                "bridgehead_store_writable": [Sample([], age > 1)],
            },
            {"bridgehead_commit_seconds": [HistogramSample([], [1, 2], 0.5)]},
        )

    joined = health_joining.metrics([snapshot(2, 9), snapshot(3, 1)], None)
    assert joined.values["bridgehead_smtp_receive_messages_total"][0].value == 5
    assert joined.values["bridgehead_oldest_message_age_seconds"][0].value == 9
    assert joined.values["bridgehead_store_writable"][0].value == 0
    assert joined.histograms["bridgehead_commit_seconds"][0].counts == [2, 4]


def test_names_of_metrics_that_are_not_added_exist() -> None:
    from bridgehead.admin.health.metric_names import METRICS

    assert set(health_joining._NOT_ADDED) <= set(METRICS)


def test_what_a_domain_showed_any_worker_is_told() -> None:
    nothing = TlsPolicyView(domain="contoso.com", hosts=[HostPolicyView(host="mx.contoso.com", policy="", demands="")])
    seen = msgspec.structs.replace(
        nothing, hosts=[HostPolicyView(host="mx.contoso.com", policy="", demands="", best_seen="a name in order")], best_seen="TLS",
        seen_at=datetime(2026, 11, 23, tzinfo=UTC),
    )  # fmt: skip
    join = METHODS["tls_policy.show"].merge.join
    assert join is not None
    for answers in ([nothing, seen], [seen, nothing]):
        assert join(answers, None) == seen
    assert join([nothing, nothing], None) == nothing


# --- alarms of others -------------------------------------------------------------------------------------------------


def test_alarms_of_others_are_told_once_and_end() -> None:
    standing = {"disk"}
    elsewhere = Elsewhere(standing.__contains__)
    elsewhere.note(
        [
            Trouble("disk", Severity.WARNING, "the disk is full", worker=2),
            Trouble("store", Severity.CRITICAL, "mail cannot be stored", worker=2),
            Trouble("audit_log", Severity.WARNING, "not recorded"),
        ]
    )
    assert [(one.id, one.text) for one in elsewhere.conditions()] == [
        ("worker_2/store", "worker 2: mail cannot be stored"),
        ("audit_log", "not recorded"),
    ]
    elsewhere.note([])
    assert [(one.id, one.severity) for one in elsewhere.conditions()] in (
        [("worker_2/store", None), ("audit_log", None)],
        [("audit_log", None), ("worker_2/store", None)],
    )
    assert list(elsewhere.conditions()) == []
