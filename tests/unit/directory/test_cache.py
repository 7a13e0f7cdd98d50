# SPDX-License-Identifier: MIT
"""The cache of look-ups: bounded, and what is used stays."""

from bridgehead.directory.cache import NOBODY, LookupCache


def test_nobody_is_remembered_and_differs_from_not_remembered() -> None:
    cache = LookupCache()
    assert cache.get("a") is None
    cache.put("a", NOBODY)
    assert cache.get("a") == (None,)
    cache.clear()
    assert cache.get("a") is None


def test_a_flood_of_names_does_not_fill_memory_nor_push_out_what_is_used() -> None:
    cache = LookupCache(limit=100)
    cache.put("used", NOBODY)
    for number in range(10_000):
        cache.put(f"random{number}", NOBODY)
        assert cache.get("used") is NOBODY
        assert len(cache) <= 102
    assert cache.get("random0") is None
