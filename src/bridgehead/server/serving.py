# SPDX-License-Identifier: MIT
"""The server in the foreground: one process that moves mail, or, with several workers, their supervisor."""

import logging
import os
from pathlib import Path

from bridgehead import __version__
from bridgehead.queues.sqlite.shards import gather
from bridgehead.server.app import Application
from bridgehead.server.config.load import Loaded
from bridgehead.server.process import (
    CANNOT_START,
    Bound,
    announce,
    reload_on_signal,
    run_loop,
    stop_on_signals,
    tell_gathered,
)
from bridgehead.server.workers.gathering import JOINED_NOTES

log = logging.getLogger("bridgehead.server")


def run(loaded: Loaded, path: Path | None) -> int:
    """Run the server in the foreground until it is told to stop. Returns the exit code."""
    if loaded.configuration.server.workers > 1:
        from bridgehead.server.workers.supervisor import supervise

        return run_loop(supervise(loaded, path))
    return run_loop(_serve(loaded, path))


async def _serve(loaded: Loaded, path: Path | None) -> int:
    """The one process that moves mail."""
    bound = Bound()
    try:
        bound.bind(loaded)
        tell_gathered(gather(loaded.within(loaded.configuration.queues.queue_database_path), 1, JOINED_NOTES))
        application = Application(loaded, path, bound.early)
        # Whoever is greeted, or hears that the server is ready, may tell it to stop at once.
        stop_on_signals(application.stop_requested)
        await application.start(bound.receive, bound.api, bound.probe)
    except CANNOT_START as error:
        bound.close()
        log.critical("the server cannot start: %s", error)
        return 1
    reload_on_signal(application.operations.reload)
    application.notifier.ready(f"Bridgehead {__version__} accepts mail")
    announce(loaded)
    log.info("Bridgehead %s is ready as %s, process %d", __version__, application.fqdn, os.getpid())
    await application.stop_requested.wait()
    log.info("stopping")
    await application.stop()
    log.info("stopped")
    return 0
