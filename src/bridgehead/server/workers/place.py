# SPDX-License-Identifier: MIT
"""Which of the processes that move mail this one is, and what follows from that: its queue, its files, its share."""

from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.units import UNLIMITED, ByteSize, Count
from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.queues.numbers import ALL_NUMBERS, Numbers
from bridgehead.queues.settings import QueueSettings, SubmissionQueueLength
from bridgehead.queues.sqlite.shards import shard_folder
from bridgehead.routing.settings import SendConnector
from bridgehead.server.config.load import Loaded

_FOLDER: Final = "workers"
"""Within the data directory: what the second worker and those after it keep for themselves."""


TELL_SECONDS: Final = 10.0
"""How often the first worker is told of what the others know: what is wrong, and who sent mail."""


class Place(msgspec.Struct, frozen=True):
    """One of several workers, or the only one.

    Attributes:
        number: from 1. The first does what must be done once only.
        count: how many there are.
        numbers_from, notes_from: no entry, and no record of an action, of any queue had so large a number when they
            were started.
    """

    number: int = 1
    count: int = 1
    numbers_from: int = 1
    notes_from: int = 1

    @property
    def is_first(self) -> bool:
        return self.number == 1

    @property
    def is_alone(self) -> bool:
        return self.count == 1

    @property
    def numbers(self) -> Numbers:
        """Those of its queue's entries."""
        return Numbers(self.numbers_from, self.count, (self.number - 1) % self.count)

    @property
    def note_numbers(self) -> Numbers:
        """Those of its records of actions."""
        step = shared_note_numbers(self.notes_from, self.count).step
        return Numbers(self.notes_from, step, self.number - 1)

    def queue_folder(self, folder: Path) -> Path:
        """Its queue, within the folder of all."""
        return shard_folder(folder, self.number)

    def own_folder(self, data_directory: Path) -> Path:
        """Where it keeps what it knows, such as lock-outs, over a restart."""
        return data_directory if self.is_first else data_directory / _FOLDER / str(self.number)

    def own(self, path: Path) -> Path:
        """A file beside the first worker's of this name."""
        return path if self.is_first else path.with_name(f"{path.stem}-{self.number}{path.suffix}")

    def share(self, loaded: Loaded) -> Loaded:
        """The configuration with this worker's part of what is limited for the whole server.

        Divided is what protects next hops, disks and memory. What clients may do stays whole: workers tell each other
        what they count of them (`receive/workers/company.py`).
        """
        if self.is_alone:
            return loaded
        configuration = loaded.configuration
        pressure = configuration.back_pressure
        return msgspec.structs.replace(
            loaded,
            configuration=msgspec.structs.replace(
                configuration,
                queues=self._queues(configuration.queues),
                back_pressure=msgspec.structs.replace(
                    pressure, submission_queue_length=self._length(pressure.submission_queue_length)
                ),
                delivery=msgspec.structs.replace(
                    configuration.delivery,
                    max_outbound_connections=self._count(configuration.delivery.max_outbound_connections),
                    max_per_domain_outbound_connections=self._count(
                        configuration.delivery.max_per_domain_outbound_connections
                    ),
                ),
                alarms=self._alarms(configuration.alarms),
                send_connectors=[self._send(one) for one in configuration.send_connectors],
            ),
        )

    def _alarms(self, settings: AlarmSettings) -> AlarmSettings:
        """The first worker, which is told of all, watches who falls silent."""
        return settings if self.is_first else msgspec.structs.replace(settings, source_silence_enabled=False)

    def _queues(self, settings: QueueSettings) -> QueueSettings:
        return msgspec.structs.replace(
            settings,
            max_per_domain_low_priority_connections=self._part(settings.max_per_domain_low_priority_connections),
            max_per_domain_normal_priority_connections=self._part(settings.max_per_domain_normal_priority_connections),
            max_per_domain_high_priority_connections=self._part(settings.max_per_domain_high_priority_connections),
            safety_net_max_size=ByteSize(settings.safety_net_max_size // self.count),
        )

    def _length(self, limits: SubmissionQueueLength) -> SubmissionQueueLength:
        return SubmissionQueueLength(
            **{name: value / self.count for name, value in msgspec.structs.asdict(limits).items()}
        )

    def _send(self, connector: SendConnector) -> SendConnector:
        return msgspec.structs.replace(
            connector, max_outbound_connections_per_domain=self._part(connector.max_outbound_connections_per_domain)
        )  # fmt: skip

    def _count(self, whole: Count) -> Count:
        return whole if whole == UNLIMITED else Count(self._part(whole))

    def _part(self, whole: int) -> int:
        """An equal part, at least 1; 0 stays 0, which means something else everywhere."""
        return max(1, whole // self.count) if whole else 0


def shared_note_numbers(notes_from: int, count: int) -> Numbers:
    """Those of records that all workers have: none of any worker's own. A single worker has all numbers."""
    return ALL_NUMBERS if count == 1 else Numbers(notes_from, count + 1, count)


ALONE: Final = Place()
