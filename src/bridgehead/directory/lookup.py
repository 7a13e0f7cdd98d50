# SPDX-License-Identifier: MIT
"""The port `Directory`: what receive and the categorizer ask about recipients."""

from typing import Protocol

from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import Mailbox


class DirectoryUnavailable(Exception):
    """The directory cannot answer now; the caller defers (4yz, or the resolver's retry interval)."""


class Directory(Protocol):
    """Look-ups answer at once from memory or an embedded database; a remote directory puts a cache in front."""

    def find(self, address: Mailbox) -> Recipient | None:
        """The recipient that owns a proxy address; with plus addressing, that of the address without "+detail".
        Raises DirectoryUnavailable."""

    def find_by_name(self, name: str) -> Recipient | None:
        """The recipient with this unique name, or address where `name` holds an @. Raises DirectoryUnavailable."""

    def __len__(self) -> int:
        """How many recipients there are."""
