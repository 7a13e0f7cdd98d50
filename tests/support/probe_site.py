# SPDX-License-Identifier: MIT
"""A site for tests of connectors that run within the test, without a server; and ways to look at their trees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridgehead.admin.probe.site import BY_COMMAND, Site
from bridgehead.admin.probe.steps import Step, StepBuilder, Verdict
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.net.certificates.pairs import CertificatePair
from bridgehead.net.clock import SystemClock
from bridgehead.routing.settings import AcceptedDomain, MailboxStore


def site(folder: Path, **settings: Any) -> Site:
    """A site whose authoritative domain is contoso.test; steps take at most half a second."""
    given: dict[str, Any] = {
        "accepted_domains": [AcceptedDomain(domain_name="contoso.test")],
        "receive_connectors": [],
        "send_connectors": [],
        "foreign_connectors": [],
        "mailbox_store": MailboxStore(),
        "dns_servers": ["127.0.0.1:9"],
        "fqdn": "mx.contoso.test",
        "data_directory": folder,
        "server_pair": CertificatePair(folder / "self-signed.crt", folder / "self-signed.key"),
        "directory": MemoryDirectory([]),
        "clock": SystemClock(),
        "random": lambda: 0.0,
        "seconds": 0.5,
        "by": BY_COMMAND,
    }
    return Site(**{**given, **settings})


def tree() -> StepBuilder:
    """The root of a tree."""
    return StepBuilder("testing", SystemClock().monotonic)


def walk(step: Step) -> Iterator[Step]:
    """Every step, depth first."""
    yield step
    for one in step.steps:
        yield from walk(one)


def sentences(step: Step, verdict: Verdict) -> list[str]:
    """The sentences with a verdict that no step below explains."""
    return [
        one.sentence
        for one in walk(step)
        if one.verdict is verdict and not any(below.verdict is verdict for below in one.steps)
    ]
