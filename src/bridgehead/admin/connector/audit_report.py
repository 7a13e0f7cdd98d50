# SPDX-License-Identifier: MIT
"""What an audit of receive connectors reports. Light: the command that shows it imports nothing more."""

from datetime import datetime

import msgspec

from bridgehead.admin.probe.steps import Verdict


class TrickResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trick on one connector.

    Attributes:
        connector, binding: where it was tried.
        trick: name of the trick.
        command: the RCPT that decided.
        reply: what it was answered.
        verdict: PASS refused; NOTE accepted and harmless or granted; FAILURE accepted, and mail would be relayed.
        reason: why an acceptance counts as it does.
        on_the_wire: False: by evaluation.
    """

    connector: str
    binding: str
    trick: str
    command: str
    reply: str
    verdict: Verdict
    reason: str = ""
    on_the_wire: bool = True


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is open.

    Attributes:
        connector: its name; of a device, an exception or a login, "device printer-3" and the like.
        name: what kind of exposure it is, in a word that does not change: "old-tls".
        verdict: FAILURE open to the world; WARNING worth closing; NOTE granted on purpose to few.
        sentence: what is open to whom.
        setting: the setting that opens it.
        remedy: what closes it.
    """

    connector: str
    name: str
    verdict: Verdict
    sentence: str
    setting: str
    remedy: str


class ClassAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One class of clients on one connector: what it may do, and the rights behind it; `absent`: why there is none."""

    clients: str
    may: list[str]
    rights: list[str]
    absent: str = ""


class ConnectorAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One receive connector.

    Attributes:
        reach: "this machine" for loopback, else "the network", and through which proxy.
        tricks_tried, tricks_on_the_wire: how many of the self-test, and how many of those on the wire.
    """

    name: str
    enabled: bool
    bindings: list[str]
    remote_ip_ranges: list[str]
    reach: str
    classes: list[ClassAudit]
    tricks_tried: int = 0
    tricks_on_the_wire: int = 0


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole audit.

    Attributes:
        verdict: FAILURE where something is open that the configuration did not grant on purpose.
        accepted_tricks: tricks of the self-test that were accepted, each with what that means.
        self_test: what the self-test came to, in one sentence.
    """

    at: datetime
    verdict: Verdict
    connectors: list[ConnectorAudit]
    exposures: list[Exposure]
    accepted_tricks: list[TrickResult]
    self_test: str
