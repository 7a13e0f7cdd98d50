# SPDX-License-Identifier: MIT
"""A receive connector at work: its settings with everything worked out once that each session would ask for."""

import copy
import ssl
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from bridgehead.mail.reply import Reply
from bridgehead.mail.trace_fields import date_time
from bridgehead.mail.units import UNLIMITED
from bridgehead.net.certificates.pairs import ContextOptions
from bridgehead.net.certificates.store import ServerTls
from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.receive.connectors.message_rate import MessageRate
from bridgehead.receive.connectors.selection import is_protected
from bridgehead.receive.devices.devices import DeviceIdentity, Devices, settings_for
from bridgehead.receive.logons.authentication import mechanisms as auth_mechanisms
from bridgehead.receive.permissions.rights import (
    Principal,
    PrincipalKind,
    capabilities_of,
    rights_of,
    session_principal,
)
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector, Right, SizeMode
from bridgehead.routing.settings import ProtocolLoggingLevel
from bridgehead.routing.tls_policy import name_matches
from bridgehead.smtp import replies
from bridgehead.smtp.extensions import Features
from bridgehead.tracking.metrics import ReceiveCounters


class Certificates(Protocol):
    """Server certificates, kept current."""

    def context_for(self, tls: ServerTls) -> ssl.SSLContext:
        """The context that a connector shows its certificate with. Raises CertificateError."""


class ServedConnector:
    """One connector of the configuration in force. A reload makes new ones; limits and rates carry over."""

    def __init__(
        self,
        settings: ReceiveConnector,
        server_fqdn: str,
        certificates: Certificates,
        former: "ServedConnector | None" = None,
        counters: ReceiveCounters | None = None,
        device: DeviceIdentity | None = None,
    ) -> None:
        if device is not None:
            settings = settings_for(settings, device.settings)
        self.settings = settings
        self.device = device
        """The device that this connector is for alone; None for everybody else's."""
        self.devices: DeviceConnectors | None = None
        """The connectors of its devices, None where it has none."""
        self.first_principal = session_principal(settings) if device is None else device.principal
        """As whom sessions begin."""
        self.first_rights = rights_of(settings, self.first_principal)
        self.counters = counters or ReceiveCounters()
        self.fqdn = settings.fqdn or server_fqdn
        self.connector_id = f"{server_fqdn}\\{settings.name}"
        self.verbose = settings.protocol_logging_level is ProtocolLoggingLevel.VERBOSE
        self.timeout = settings.connection_timeout.total_seconds()
        self.inactivity_timeout = settings.connection_inactivity_timeout.total_seconds()
        self.rate: MessageRate = former.rate if former else device.rate if device else MessageRate(settings)
        if former is not None:
            self.rate.configure(settings)
        self.is_protected = is_protected(settings)
        self.tls = server_tls(settings, self.fqdn, device.settings.name if device else "")
        self._certificates = certificates
        self._rights: dict[Principal, frozenset[Right]] = {}
        self._hello: dict[str, Reply] = {}
        self._greeting = replies.greeting(settings.banner, self.fqdn, "")
        self._greeted = -1
        """For which second the greeting was made."""
        self.offers_auth = bool(auth_mechanisms(settings, True))
        self._starttls = AuthMechanism.TLS in settings.auth_mechanism and not settings.implicit_tls
        self.offers_binding = not {AuthMechanism.SCRAM_SHA_256, AuthMechanism.INTEGRATED}.isdisjoint(
            settings.auth_mechanism
        )
        self.offers_external = AuthMechanism.EXTERNAL in settings.auth_mechanism
        self._features: dict[tuple[bool, bool, bool, bool], Features] = {}

    def unseen(self) -> "ServedConnector":
        """The same for one session that nothing is counted or logged of, and that uses up no client's rate."""
        quiet = copy.copy(self)
        quiet.verbose, quiet.counters, quiet.rate = False, ReceiveCounters(), MessageRate(self.settings)
        return quiet

    def rights_of(self, principal: Principal) -> frozenset[Right]:
        """The rights of a principal here."""
        rights = self._rights.get(principal)
        if rights is None:
            rights = rights_of(self.settings, principal)
            if len(self._rights) < 1000:
                self._rights[principal] = rights
        return rights

    def size_limit(self, rights: frozenset[Right]) -> int:
        """The largest message these rights may send, octets."""
        return UNLIMITED if Right.BYPASS_MESSAGE_SIZE_LIMIT in rights else self.settings.max_message_size

    def greeting(self, now: float) -> Reply:
        """The 220 that begins a session."""
        second = int(now)
        if second != self._greeted:
            self._greeted = second
            self._greeting = replies.greeting(self.settings.banner, self.fqdn, date_time(now))
        return self._greeting

    def hello_reply(self, client_ip: str) -> Reply:
        """The first line of the answer to EHLO."""
        reply = self._hello.get(client_ip)
        if reply is None:
            if len(self._hello) > 1000:
                self._hello.clear()
            reply = self._hello[client_ip] = replies.hello(self.fqdn, client_ip, [])
        return reply

    def features(
        self, tls: bool, authenticated: bool, binding: bool = True, certificate: bool = False
    ) -> Features:  # fmt: skip
        """What is offered to a session in this condition.

        Args:
            binding: there is something to bind a login to the TLS connection.
            certificate: the client showed a certificate of its own, which was verified.
        """
        condition = (tls, authenticated, binding, certificate)
        features = self._features.get(condition)
        if features is None:
            features = self._features[condition] = self._make_features(*condition)
        return features

    def _make_features(self, tls: bool, authenticated: bool, binding: bool, certificate: bool) -> Features:
        settings = self.settings
        size = None if settings.size_enabled is SizeMode.DISABLED else 0
        if settings.size_enabled is SizeMode.ENABLED and settings.max_message_size < UNLIMITED:
            size = int(settings.max_message_size)
        # Repaired line ends and counted chunks contradict each other.
        chunking = settings.chunking_enabled and not settings.bare_linefeed_repair
        return Features(
            pipelining=settings.pipelining_enabled,
            max_message_size=size,
            eight_bit_mime=settings.eight_bit_mime_enabled,
            binary_mime=settings.binary_mime_enabled and chunking,
            chunking=chunking,
            smtputf8=settings.smtp_utf8_enabled,
            dsn=settings.delivery_status_notification_enabled,
            enhanced_status_codes=settings.enhanced_status_codes_enabled,
            starttls=self._starttls and not tls,
            auth_mechanisms=() if authenticated else auth_mechanisms(settings, tls, binding, certificate),
            max_recipients=settings.max_recipients_per_message,
            require_tls=tls,
        )

    def listens_on(self, binding: Binding) -> bool:
        """Whether connections to this socket may be the connector's."""
        if not self.settings.enabled:
            return False
        own = [parse_binding(text) for text in self.settings.bindings]
        return any(one == binding or (binding.is_wildcard and one.port == binding.port) for one in own)

    def tls_context(self) -> ssl.SSLContext:
        """The certificate to show."""
        return self._certificates.context_for(self.tls)


class DeviceConnectors:
    """What one connector is for each of its devices; made when a device first comes."""

    def __init__(self, devices: Devices, make: Callable[[DeviceIdentity], ServedConnector]) -> None:
        self._devices, self._make = devices, make
        self._made: dict[DeviceIdentity, ServedConnector] = {}

    def served_for(self, client_ip: str, served: ServedConnector) -> ServedConnector:
        """The connector of a device at this address; where there is none, `served`."""
        device = self._devices.find(served.settings.name, client_ip)
        if device is None:
            return served
        found = self._made.get(device)
        if found is None:
            found = self._made[device] = self._make(device)
        return found


def server_tls(settings: ReceiveConnector, fqdn: str, device: str = "") -> ServerTls:
    """What a connector asks of TLS; for a device alone, where one is named."""
    return ServerTls(
        owner=f"{settings.name}\0{device}" if device else settings.name,
        certificate_file=settings.tls_certificate_file,
        key_file=settings.tls_key_file,
        pin=settings.tls_certificate_name,
        fqdn=fqdn,
        options=ContextOptions(
            minimum_version=settings.tls_minimum_version,
            ciphers=settings.tls_ciphers,
            ask_client=asks_for_certificate(settings) or AuthMechanism.EXTERNAL in settings.auth_mechanism,
            ca_file=settings.tls_ca_file,
            crl_file=settings.tls_crl_file,
        ),
    )


def partner_of(settings: ReceiveConnector, secure_domains: Collection[str], names: Sequence[str]) -> Principal | None:
    """As whom a client runs that proved these names by its certificate: the partner, with what the connector allows it.

    A domain of the list must stand in the certificate itself; for a capability a wildcard does as well.
    """
    proved = {name.rstrip(".").lower() for name in names}
    if settings.domain_secure_enabled and (found := sorted(proved.intersection(secure_domains))):
        return Principal(PrincipalKind.PARTNER, found[0])
    for text in settings.tls_domain_capabilities:
        domain, _, capabilities = text.partition(":")
        if domain.upper() != "NO-TLS" and name_matches(proved, domain):
            return Principal(PrincipalKind.PARTNER, domain.lower(), capabilities=capabilities_of(capabilities))
    return None


def asks_for_certificate(settings: ReceiveConnector) -> bool:
    """Whether partners may show who they are by a certificate here."""
    return settings.domain_secure_enabled or any(
        not text.upper().startswith("NO-TLS:") for text in settings.tls_domain_capabilities
    )
