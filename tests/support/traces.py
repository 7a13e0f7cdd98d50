# SPDX-License-Identifier: MIT
"""A `TraceService` over logs in a folder, which searches them in this process."""

from pathlib import Path

from bridgehead.admin.trace.revisions import Revisions
from bridgehead.admin.trace.tracking import search_logs
from bridgehead.server.config.schema import Configuration
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.search import Found
from bridgehead.tracking.trace.story import Evidence, TraceLogs, evidence


class FolderTraces:
    """Searches the tracking logs in a folder; one that is not there holds none."""

    def __init__(self, folder: Path) -> None:
        self.logs = TraceLogs(tracking=str(folder))
        self.connectors = Configuration()
        self.revision = "0123456789ab"
        self.past = Revisions(folder / "configurations")

    async def search(self, criteria: Criteria) -> Found:
        return search_logs(self.logs, criteria)

    async def evidence(self, identity: str) -> Evidence | None:
        return evidence(self.logs, identity)
