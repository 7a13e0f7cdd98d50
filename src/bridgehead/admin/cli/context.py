# SPDX-License-Identifier: MIT
"""What every command gets: the configuration and the control channel, each made when it is first asked for.

`server/main.py` creates the context, because only it knows how configuration is read; commands find it in
`click.Context.obj`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from bridgehead.admin.access.recipients import Source
    from bridgehead.admin.calls.client import ChannelClient, ControlClient
    from bridgehead.admin.probe.settings import ConnectorTestSettings
    from bridgehead.admin.probe.site import Site
    from bridgehead.admin.settings import ApiSettings
    from bridgehead.categorizer.settings import CategorizerSettings
    from bridgehead.delivery.oauth.keeper import TokenKeeper
    from bridgehead.delivery.settings import DeliverySettings
    from bridgehead.directory.settings import DirectorySettings
    from bridgehead.directory.user_record import User
    from bridgehead.net.certificates.settings import Certificate, TlsSettings
    from bridgehead.queues.settings import QueueSettings
    from bridgehead.receive.logons.ldap.settings import LdapSettings
    from bridgehead.receive.settings import Device, ReceiveConnector, SenderException
    from bridgehead.routing.settings import AcceptedDomain, ForeignConnector, MailboxStore, SendConnector
    from bridgehead.tracking.settings import LogSettings

SCAN_SECONDS: Final = 330.0
"""Patience with what looks at every queued message: a little more than the interface itself has."""


class ServerTable(Protocol):
    """The `[server]` table, as far as commands read it."""

    @property
    def data_directory(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def control_socket(self) -> str: ...
    @property
    def fqdn(self) -> str: ...
    @property
    def dns_servers(self) -> Sequence[str]: ...
    @property
    def tls_certificate_file(self) -> str: ...
    @property
    def tls_key_file(self) -> str: ...


class Configuration(Protocol):
    """A whole configuration, as far as commands read it; `server.config.schema.Configuration` is one."""

    @property
    def server(self) -> ServerTable: ...
    @property
    def queues(self) -> "QueueSettings": ...
    @property
    def categorizer(self) -> "CategorizerSettings": ...
    @property
    def delivery(self) -> "DeliverySettings": ...
    @property
    def directory(self) -> "DirectorySettings": ...
    @property
    def logs(self) -> "LogSettings": ...
    @property
    def api(self) -> "ApiSettings": ...
    @property
    def certificates(self) -> "Sequence[Certificate]": ...
    @property
    def accepted_domains(self) -> "Sequence[AcceptedDomain]": ...
    @property
    def receive_connectors(self) -> "Sequence[ReceiveConnector]": ...
    @property
    def ldap_logins(self) -> "LdapSettings": ...
    @property
    def devices(self) -> "Sequence[Device]": ...
    @property
    def sender_exceptions(self) -> "Sequence[SenderException]": ...
    @property
    def send_connectors(self) -> "Sequence[SendConnector]": ...
    @property
    def foreign_connectors(self) -> "Sequence[ForeignConnector]": ...
    @property
    def tls(self) -> "TlsSettings": ...
    @property
    def connector_tests(self) -> "ConnectorTestSettings": ...
    @property
    def mailbox_store(self) -> "MailboxStore": ...


class CliContext:
    """Handed to every command.

    Args:
        load_configuration: reads the configuration, or ends the program with the list of its mistakes.
    """

    def __init__(self, load_configuration: Callable[[], Configuration]) -> None:
        self._load_configuration = load_configuration

    @cached_property
    def configuration(self) -> Configuration:
        return self._load_configuration()

    @property
    def data_directory(self) -> Path:
        """Where everything relative lies."""
        return Path(self.configuration.server.data_directory)

    def within_data_directory(self, path: str) -> Path:
        """A path of the configuration, relative ones below the data directory."""
        return self.data_directory / path

    def own_file(self, path: str) -> Path:
        """A file that commands write, within the data directory; it is made where the server has never run."""
        from bridgehead.admin.access.ownership import make_data_directory

        make_data_directory(self.data_directory, self.configuration.server.user, self.configuration.server.group)
        return self.within_data_directory(path)

    def recipients(self, *, to_change: bool = False) -> "Source":
        """The directory that `recipient` commands work on."""
        from bridgehead.admin.access.recipients import Source
        from bridgehead.routing.accepted_domain import AcceptedDomains

        configuration = self.configuration
        within = self.own_file if to_change else self.within_data_directory
        path = within(configuration.directory.recipients_file)
        accepted = AcceptedDomains(configuration.accepted_domains)
        return Source(path, configuration.categorizer.plus_addressing_enabled, accepted)

    def site(self) -> "Site":
        """What tests need where no server runs."""
        import random
        import socket

        from bridgehead.admin.access.recipients import open_directory
        from bridgehead.admin.faults import AdminFault
        from bridgehead.admin.probe.site import BY_COMMAND, site_of
        from bridgehead.net.clock import SystemClock

        try:
            directory = open_directory(self.recipients())
        except AdminFault:
            directory = None
        configuration = self.configuration
        return site_of(
            configuration, self.data_directory, fqdn=configuration.server.fqdn or socket.getfqdn(), directory=directory,
            clock=SystemClock(), random=random.random, by=BY_COMMAND, users=self._users(),
            tokens=self._tokens(),
        )  # fmt: skip

    def _tokens(self) -> "TokenKeeper | None":
        """Access tokens for tests of send connectors; None where none logs on with them."""
        import random

        from bridgehead.delivery.oauth.keeper import TokenKeeper, uses_oauth
        from bridgehead.delivery.oauth.store import TokenStore
        from bridgehead.net.clock import SystemClock
        from bridgehead.net.dns.resolver import Resolver

        configuration, clock = self.configuration, SystemClock()
        if not any(map(uses_oauth, configuration.send_connectors)):
            return None
        resolver = Resolver(configuration.server.dns_servers, clock=clock)
        store = TokenStore(self.data_directory, configuration.delivery.token_store_key)
        return TokenKeeper(self.data_directory, store, lambda: resolver, clock, random.random)

    def _users(self) -> "list[User]":
        """The logins; none where their file cannot be read."""
        from bridgehead.directory.user_record import UserFileError
        from bridgehead.directory.users import UserFile

        try:
            return UserFile(self.within_data_directory(self.configuration.directory.users_file)).list_users()
        except UserFileError:
            return []

    def control(self, timeout: float = 60.0) -> "ControlClient":
        """A connection to the running server, made at its first call; to be closed by the caller."""
        from bridgehead.admin.calls.client import ControlClient

        return ControlClient(self.within_data_directory(self.configuration.server.control_socket), timeout)

    def channel(self, timeout: float = 10.0) -> "ChannelClient":
        """The internal channel, for what must be known while the management interface does not answer."""
        from bridgehead.admin.calls.client import ChannelClient
        from bridgehead.admin.calls.control import channel_path

        path = self.within_data_directory(self.configuration.server.control_socket)
        return ChannelClient(channel_path(path), timeout)

    @contextmanager
    def recorded(self, command: str, /, **parameters: object) -> Iterator[None]:
        """Around a change that a command makes by itself: it goes to the audit log, as what the server changes does."""
        from bridgehead.admin.access.audit_log import record_command

        logs = self.configuration.logs
        with record_command(logs, self.within_data_directory(logs.log_directory), command, parameters):
            yield
