# SPDX-License-Identifier: MIT
"""The Pickup and Replay directories of the running server, as configured; what they do is in `receive`."""

from typing import TYPE_CHECKING

from bridgehead.receive.pickup import pickup_reader
from bridgehead.receive.replay import read_replay
from bridgehead.receive.submission_directory import SubmissionDirectory

if TYPE_CHECKING:
    from bridgehead.server.app import Application


def submission_directories(app: "Application") -> list[SubmissionDirectory]:
    """Those whose path is set, their folders made. Raises OSError."""
    settings = app.loaded.configuration.pickup
    read_pickup = pickup_reader(
        settings.pickup_directory_max_header_size, settings.pickup_directory_max_recipients_per_message
    )
    made = []
    for name, path, read in (
        ("Pickup", settings.pickup_directory_path, read_pickup),
        ("Replay", settings.replay_directory_path, read_replay),
    ):
        if not path:
            continue
        folder = app.loaded.within(path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.append(
            SubmissionDirectory(
                name=name,
                path=folder,
                read=read,
                messages_per_minute=settings.pickup_directory_max_messages_per_minute,
                poll_interval=settings.poll_interval.total_seconds(),
                fqdn=app.fqdn,
                acceptance=app.acceptance,
                new_content_file=app.store.new_content_file,
                tracker=app.tracker,
                clock=app.clock,
                random_bytes=app.random_bytes,
                pressure=app.pressure,
            )
        )
    return made
