# SPDX-License-Identifier: MIT
"""The Pickup and Replay directories of the running server, as configured; what they do is in `receive`."""

from typing import TYPE_CHECKING

from bridgehead.receive.directories.directory import SubmissionDirectory
from bridgehead.receive.directories.pickup import pickup_reader
from bridgehead.receive.directories.replay import read_replay
from bridgehead.server.config.load import Loaded

if TYPE_CHECKING:
    from bridgehead.server.app import Application


def changed_directories(app: "Application", loaded: Loaded) -> list[SubmissionDirectory] | None:
    """Those of another configuration, None where they stay as they are. Raises OSError."""
    if not app.place.is_first or loaded.configuration.pickup == app.loaded.configuration.pickup:
        return None
    return submission_directories(app, loaded)


def use_directories(app: "Application", directories: list[SubmissionDirectory] | None) -> None:
    """Look into these from now on, unless they are None; a file that is being taken is taken to its end."""
    if directories is None:
        return
    for directory in app.directories:
        directory.stop()
    app.directories = directories
    for directory in directories:
        app.background.begin(directory.run())


def submission_directories(app: "Application", loaded: Loaded) -> list[SubmissionDirectory]:
    """Those whose path is set, their folders made. Raises OSError."""
    settings = loaded.configuration.pickup
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
        folder = loaded.within(path)
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
