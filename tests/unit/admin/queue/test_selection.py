# SPDX-License-Identifier: MIT
"""Filters answer the same whether the store leaves out what cannot fit, or every entry is looked at."""

from pathlib import Path

import pytest

from bridgehead.admin.queue.filter_match import compiled
from bridgehead.admin.queue.message_properties import message_properties, narrowed, read_filter
from bridgehead.admin.queue.selection import EVERYTHING
from bridgehead.mail.address import Mailbox
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, QueuedItem, Transaction
from support.running_server import queued

NOW = 1_800_000_000.0
SUBJECTS = (
    "Invoice 4711", "INVOICE", "\u0130nvo\u0131ce", "an in voice", "Stra\u00dfe", "STRASSE", "\u212aelvin \u017feven", "\ufb01x it",
    "o'clock \"now\"", "back\\slash", "", "100 % of a_b", "\u1e9e\u1e96",
)  # fmt: skip
SENDERS = ("ann@contoso.com", "Ann.B@CONTOSO.com", "user one@contoso.com", "ann@fabrikam.com", "@")


class Around:
    def now(self) -> float:
        return NOW

    def expiration_time(self, entry: QueuedItem) -> float:
        return NOW + 10


@pytest.mark.parametrize(
    "text",
    [
        "{Subject -like '*invoice*'}", "{Subject -eq 'invoice'}", "{Subject -contains 'strasse'}",
        "{Subject -like '*kelvin*'}", "{Subject -like '*seven'}", "{Subject -like '*fix*it*'}",
        "{Subject -like '*o''clock*'}", "{Subject -contains '\"now\"'}", "{Subject -like '*k\\sla*'}", "{Subject -eq ''}",
        "{Subject -contains '% of a_b'}", "{Subject -like '*ssh*'}", "{Subject -like '*stra\u00dfe*'}",
        "{FromAddress -like '*@contoso.com'}", "{FromAddress -eq 'ann@contoso.com'}", "{FromAddress -like 'ann*@*'}",
        "{FromAddress -eq '\"user one\"@contoso.com'}", "{FromAddress -eq '<>'}", "{FromAddress -contains 'n@con'}",
        "{Recipients -like '*@adatum.com' -and Subject -like '*voice*'}", "{SourceIP -eq '10.2.0.1'}",
        "{-not (Subject -like '*invoice*')}", "{Subject -notlike '*invoice*'}", "{Subject -like '*invoice*' -or Size -gt 4KB}",
        "{Size -gt 4KB}", "{Size -le 4096 -and RetryCount -eq 0}", "{DateReceived -gt '1h ago'}", "{Size -ne 1}",
    ],
)  # fmt: skip
async def test_what_the_store_leaves_out_early_would_not_have_fitted(tmp_path: Path, text: str) -> None:
    store = SqliteQueueStore(tmp_path)
    await store.open()
    entries = []
    for number, subject in enumerate(SUBJECTS):
        for place, sender in enumerate(SENDERS):
            entry = queued(store, "x@adatum.com" if number % 2 else "y@northwind.com")
            local, _, domain = sender.partition("@")
            entry.item.subject, entry.item.size = subject, 1 + 2048 * (number % 4)
            entry.item.envelope.reverse_path = Mailbox(local, domain) if local else Mailbox("", "")
            entry.item.client_ip, entry.item.received_at = f"10.2.0.{place}", NOW - 1800 * place
            entry.retry_count = place % 2
            entries.append(entry)
    await store.committed(Transaction(put=entries))
    try:
        expression = read_filter(text, message_properties(Around()), NOW)
        fits = compiled(expression)
        every = await store.page(ItemFilter(limit=1000), fits, 0, EVERYTHING)
        hinted = await store.page(narrowed(expression, [], 1000), fits, 0, EVERYTHING)
    finally:
        await store.close()
    assert [entry.id for entry in hinted.entries] == [entry.id for entry in every.entries]


async def test_a_word_in_the_subject_is_looked_for_by_the_store(tmp_path: Path) -> None:
    """The hint is not given in vain: entries without the word are never taken apart."""
    store = SqliteQueueStore(tmp_path)
    await store.open()
    entries = [queued(store, "x@adatum.com") for _ in range(50)]
    for number, entry in enumerate(entries):
        entry.item.subject = f"weekly {number}"
    await store.committed(Transaction(put=entries))
    looked_at = []
    expression = read_filter("{Subject -like '*KLY 4*'}", message_properties(Around()), NOW)
    try:
        await store.page(narrowed(expression, [], 1000), lambda one: bool(looked_at.append(one.id)), 0, EVERYTHING)  # type: ignore[func-returns-value]
    finally:
        await store.close()
    assert len(looked_at) == 11  # 4 and 40 to 49
