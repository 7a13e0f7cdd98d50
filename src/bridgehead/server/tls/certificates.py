# SPDX-License-Identifier: MIT
"""What the running server does for certificates: who shows which, what DNS has of their keys, putting them in force.

Implements `admin.tls.certificate_binding.CertificateDesk`.
"""

import asyncio
import logging
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING

from bridgehead.admin.tls.certificate_check import PublishedKeys
from bridgehead.admin.tls.certificate_site import CertificateSite, CertificateUser, users_of
from bridgehead.admin.tls.dns_check import DnsSite
from bridgehead.net.certificates.folder import folder_name
from bridgehead.net.certificates.pairs import CertificatePair, ensure_self_signed
from bridgehead.net.certificates.store import ServerTls
from bridgehead.net.dns.authentication_lookup import ResolverLookup
from bridgehead.net.dns.resolver import Outcome
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.net.ip_range import Binding
from bridgehead.routing.dane import tlsa_record
from bridgehead.server.config.checks.files import certificate_pairs
from bridgehead.server.config.load import Loaded
from bridgehead.server.tls.acme import AcmeKeeper
from bridgehead.server.tls.dns_site import dns_site
from bridgehead.tracking.alarms import Severity

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")

_REFUSED = "certificate_refused"


class _Published(SecureResolver):
    """What DNS has, from any server; only what validates counts as signed, as ever."""

    @property
    def is_trusted(self) -> bool:
        """Always asked in full: TLSA records are looked at here whether anybody believes them or not."""
        return True


class ServerCertificates:
    """Of one running server.

    Args:
        sockets: for ACME, bound before privileges were dropped.
    """

    def __init__(self, application: "Application", sockets: dict[Binding, socket.socket] | None = None) -> None:
        self._application = application
        self.renewals = AcmeKeeper(application, self, sockets)

    def site(self) -> CertificateSite:
        """Connectors and certificates of this moment."""
        app = self._application
        configuration = app.loaded.configuration
        users = users_of(configuration.receive_connectors, configuration.send_connectors, app.fqdn)
        if configuration.api.binding:
            api = configuration.api
            tls = ServerTls(owner="api", certificate_file=api.tls_certificate_file, key_file=api.tls_key_file)
            users.append(CertificateUser(label="the management interface", tls=tls))
        users += [
            CertificateUser(label=f"the policy host {host}", tls=app.policy_host.tls(host), fqdn=host)
            for host in app.policy_host.hosts
        ]
        return CertificateSite(
            users=users,
            default=app.server_pair,
            pairs=certificate_pairs(app.loaded),
            data_directory=app.loaded.data_directory,
            now=app.clock.now(),
            acme_names=[folder_name(one.name) for one in configuration.acme.certificates],
        )

    async def tlsa(self, host: str, port: int) -> PublishedKeys:
        """TLSA records that DNS has now, validated or not."""
        dns = self._fresh_dns()
        try:
            found = await dns.records(f"_{port}._tcp.{host}", "TLSA")
        finally:
            await dns.close()
        if found.outcome is Outcome.TEMPORARY_FAILURE:
            return PublishedKeys(problem=found.reason)
        records = [tlsa_record(one.data) for one in found.data]
        return PublishedKeys(records=tuple(one for one in records if one is not None))

    async def dns(self) -> tuple[DnsSite, SecureResolver, ResolverLookup]:
        """What `dns check` needs; the resolver is to be closed."""
        site = await asyncio.to_thread(dns_site, self._application, self.site())
        fresh = self._fresh_dns()
        return site, fresh, ResolverLookup(lambda: fresh)

    def _fresh_dns(self) -> SecureResolver:
        """Without what was cached, nor /etc/hosts."""
        app = self._application
        configuration = app.loaded.configuration
        return _Published(
            configuration.server.dns_servers, clock=app.clock, trusted=configuration.tls.dnssec_resolvers, hosts={}
        )

    def put_in_force(self, forced: Collection[CertificatePair]) -> None:
        """Choose among the certificates on the disk from now on."""
        app = self._application
        pairs = certificate_pairs(app.loaded)
        for store in (app.certificates, app.rooms.certificates):
            store.use(app.server_pair, pairs)
            store.look_again()
        app.certificates.refresh(forced)
        app.client_certificates.take(forced)

    def refused(self, pair: CertificatePair, reason: str, *, sending: bool = False) -> None:
        """A changed file that is not taken, or, with "", that is well again; for a send connector where `sending`."""
        id = f"{_REFUSED}/{pair.certificate}{'/sending' if sending else ''}"
        if reason:
            remedy = "bridgehead certificate check FILE KEY; `certificate bind --force` takes it nevertheless"
            self._application.alarms.raise_(id, Severity.WARNING, reason, remedy)
        else:
            self._application.alarms.clear(id)


def own_pair(loaded: Loaded, fqdn: str) -> CertificatePair:
    """The server's own certificate; a self-signed one is made at the first start without."""
    server = loaded.configuration.server
    if server.tls_certificate_file:
        return CertificatePair(loaded.within(server.tls_certificate_file), loaded.within(server.tls_key_file))
    return ensure_self_signed(loaded.data_directory, fqdn)
