# SPDX-License-Identifier: MIT
"""A directory in memory: what a file directory is read into, and what tests use."""

from collections.abc import Iterable, Iterator

from bridgehead.directory.keys import DirectoryConflict, address_keys, as_address, name_key, without_detail
from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import Mailbox


class MemoryDirectory:
    """Directory over plain dictionaries.

    Args:
        recipients: what it holds from the start. Raises DirectoryConflict where two share a name or an address.
        plus_addressing: user+detail@domain finds user@domain unless it is an address of its own.
    """

    def __init__(self, recipients: Iterable[Recipient] = (), *, plus_addressing: bool = True) -> None:
        self._by_address: dict[str, Recipient] = {}
        self._by_name: dict[str, Recipient] = {}
        self._plus_addressing = plus_addressing
        for recipient in recipients:
            self.add(recipient)

    def find(self, address: Mailbox) -> Recipient | None:
        """The recipient that owns a proxy address."""
        found = self._by_address.get(address.key)
        if found is None and self._plus_addressing and "+" in address.local_part:
            plain = without_detail(address)
            return self._by_address.get(plain.key) if plain else None
        return found

    def find_by_name(self, name: str) -> Recipient | None:
        """The recipient with this unique name or, where `name` is an address, with that address."""
        found = self._by_name.get(name_key(name))
        if found is None and (address := as_address(name)):
            return self._by_address.get(address.key)
        return found

    def add(self, recipient: Recipient) -> None:
        """Add a recipient. Raises DirectoryConflict, and then changes nothing."""
        key = name_key(recipient.name)
        if key in self._by_name:
            raise DirectoryConflict(f'there is a recipient named "{recipient.name}" already')
        for address in address_keys(recipient):
            if owner := self._by_address.get(address):
                raise DirectoryConflict(f'the address {address} belongs to "{owner.name}" already')
        self._by_name[key] = recipient
        self._by_address.update(dict.fromkeys(address_keys(recipient), recipient))

    def update(self, recipient: Recipient) -> None:
        """Replace the recipient of the same name. Raises DirectoryConflict, KeyError where there is none."""
        former = self._by_name[name_key(recipient.name)]
        self.remove(former.name)
        try:
            self.add(recipient)
        except DirectoryConflict:
            self.add(former)
            raise

    def remove(self, name: str) -> None:
        """Remove a recipient. Raises KeyError where there is none of this name."""
        recipient = self._by_name.pop(name_key(name))
        for address in address_keys(recipient):
            del self._by_address[address]

    def __iter__(self) -> Iterator[Recipient]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)
