# SPDX-License-Identifier: MIT
"""What a reload changes, and what takes effect only when the server is started again. Pure."""

from typing import Final

import msgspec

from bridgehead.admin.ports import ReloadOutcome
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.schema import Configuration

AT_START: Final[dict[str, frozenset[str]]] = {
    "server": frozenset({"fqdn", "data_directory", "control_socket", "workers", "user", "group"}),
    "queues": frozenset({"queue_database_path"}),
    "mta_sts": frozenset({"binding"}),
    "logs": frozenset(
        {
            "log_directory", "message_tracking_log_enabled", "message_tracking_index_max_size",
            "connectivity_log_enabled", "agent_log_enabled", "queue_log_enabled", "routing_table_log_enabled",
            "json_log_enabled",
        }
    ),
}  # fmt: skip
"""Settings that a running server does not exchange, by table; it exchanges all others."""


class Reloaded(msgspec.Struct, frozen=True):
    """What comes into force, and what is told of it."""

    loaded: Loaded
    outcome: ReloadOutcome


def refused(*problems: object) -> ReloadOutcome:
    """Nothing is exchanged, and why. Of an OSError that names no file its text is enough."""
    return ReloadOutcome(problems=[_told(problem) for problem in problems])


def _told(problem: object) -> str:
    if not isinstance(problem, OSError) or problem.filename is not None or not problem.strerror:
        return str(problem)
    early = "; what needs privileges, as ports below 1024 do, is opened when the server starts"
    return problem.strerror + (early if isinstance(problem, PermissionError) else "")


def reloaded(running: Loaded, read: Loaded) -> Reloaded:
    """The configuration that was read, but for what needs a restart: that stays as it runs, and is told each time."""
    configuration = read.configuration
    needs_restart = []
    for table, names in AT_START.items():
        old, new = getattr(running.configuration, table), getattr(configuration, table)
        kept = {name: getattr(old, name) for name in sorted(names) if getattr(old, name) != getattr(new, name)}
        for name in kept:
            place = read.findings.where((table, name)) or running.findings.where((table, name))
            needs_restart.append(f"[{table}] {name}" + (f" ({place})" if place else ""))
        if kept:
            configuration = msgspec.structs.replace(configuration, **{table: msgspec.structs.replace(new, **kept)})
    changes = [
        f"{table} changed"
        for table in Configuration.__struct_fields__
        if getattr(running.configuration, table) != getattr(configuration, table)
    ]
    return Reloaded(
        msgspec.structs.replace(read, configuration=configuration, data_directory=running.data_directory),
        ReloadOutcome(changes=changes or ["nothing changed"], needs_restart=needs_restart),
    )
