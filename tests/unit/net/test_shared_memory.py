# SPDX-License-Identifier: MIT
"""Memory that processes share: keys that are held, and what each tells. Each object here stands for a process."""

from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import SHARED_SLOTS
from bridgehead.net.own_connections import OwnConnections
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.net.shared_slots import SharedSlots, key_of


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_others_find_what_is_held_and_nothing_else(steps: list[tuple[str, bool]]) -> None:
    memory = SharedSlots.make(2)
    one, other = SharedSlots(memory, 2, 0), SharedSlots(memory, 2, 1)
    held: list[tuple[str, int]] = []
    for name, taken in steps:
        if taken:
            held.append((name, one.put(key_of(name))))
        elif held:
            one.free(held.pop(len(held) // 2)[1])
        for each in "abc":
            assert other.others(key_of(each)) == sum(known == each for known, _ in held)
            assert one.others(key_of(each)) == 0
        assert other.others_hold_any() is bool(held)


def test_slots_are_used_again_and_end() -> None:
    memory = SharedSlots.make(2)
    one, other = SharedSlots(memory, 2, 0), SharedSlots(memory, 2, 1)
    for _ in range(SHARED_SLOTS):
        last = one.put(key_of("x"))
    assert one.put(key_of("x")) == -1
    one.free(-1)
    assert other.others(key_of("x")) == SHARED_SLOTS
    one.free(last)
    assert one.put(key_of("y")) == last


def test_a_test_of_ours_is_known_to_every_process_while_it_lasts() -> None:
    memory = SharedSlots.make(2)
    here, there = (OwnConnections(SharedSlots(memory, 2, place)) for place in range(2))
    assert not there
    with here.announced() as announce:
        announce(("::ffff:127.0.0.1", 4711))
        assert there
        assert ("127.0.0.1", 4711) in there
        assert ("127.0.0.1", 4712) not in there
        assert ("127.0.0.1", 4711) in here
    assert not there
    assert ("127.0.0.1", 4711) not in there


def journals(count: int, records: int = 4) -> list[SharedJournal]:
    memory = SharedJournal.make(count, records=records, octets=8)
    return [SharedJournal(memory, count, place, records=records, octets=8) for place in range(count)]


def test_what_one_tells_the_others_read_once() -> None:
    one, other, third = journals(3)
    one.tell(b"a")
    other.tell(b"b")
    assert list(third.news()) == [b"a", b"b"]
    assert list(third.news()) == []
    assert list(one.news()) == [b"b"]
    third.tell(b"too long for it")
    assert list(one.news()) == [b"too long"]


def test_who_looks_too_seldom_misses_the_oldest() -> None:
    one, other = journals(2)
    for number in range(10):
        one.tell(b"%d" % number)
    assert list(other.news()) == [b"7", b"8", b"9"]


def test_who_begins_anew_reads_what_is_left_and_goes_on_telling() -> None:
    memory = SharedJournal.make(2, records=4, octets=8)
    one, other = (SharedJournal(memory, 2, place, records=4, octets=8) for place in range(2))
    one.tell(b"mine")
    other.tell(b"yours")
    assert list(other.news()) == [b"mine"]
    anew = SharedJournal(memory, 2, 0, records=4, octets=8)
    assert sorted(anew.news()) == [b"mine", b"yours"]
    anew.tell(b"more")
    assert list(other.news()) == [b"more"]
