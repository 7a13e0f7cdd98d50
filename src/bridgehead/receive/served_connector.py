# SPDX-License-Identifier: MIT
"""A receive connector at work: its settings with everything worked out once that each session would ask for."""

import ssl
from typing import Protocol

from bridgehead.mail.reply import Reply
from bridgehead.mail.trace_fields import date_time
from bridgehead.mail.units import UNLIMITED
from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.receive.authentication import mechanisms as auth_mechanisms
from bridgehead.receive.connector import is_protected
from bridgehead.receive.message_rate import MessageRate
from bridgehead.receive.permissions import Principal, rights_of
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector, Right, SizeMode
from bridgehead.routing.settings import ProtocolLoggingLevel
from bridgehead.smtp import replies
from bridgehead.smtp.extensions import Features
from bridgehead.tracking.metrics import ReceiveCounters


class Certificates(Protocol):
    """Server certificates, kept current."""

    def context_for(self, certificate_file: str, key_file: str) -> ssl.SSLContext:
        """The context of a pair of PEM files; empty names: the server's own pair."""


class ServedConnector:
    """One connector of the configuration in force. A reload makes new ones; limits and rates carry over."""

    def __init__(
        self,
        settings: ReceiveConnector,
        server_fqdn: str,
        certificates: Certificates,
        former: "ServedConnector | None" = None,
        counters: ReceiveCounters | None = None,
    ) -> None:
        self.settings = settings
        self.counters = counters or ReceiveCounters()
        self.fqdn = settings.fqdn or server_fqdn
        self.connector_id = f"{server_fqdn}\\{settings.name}"
        self.verbose = settings.protocol_logging_level is ProtocolLoggingLevel.VERBOSE
        self.timeout = settings.connection_timeout.total_seconds()
        self.inactivity_timeout = settings.connection_inactivity_timeout.total_seconds()
        self.rate: MessageRate = former.rate if former else MessageRate(settings)
        if former is not None:
            self.rate.configure(settings)
        self.is_protected = is_protected(settings)
        self._certificates = certificates
        self._rights: dict[Principal, frozenset[Right]] = {}
        self._hello: dict[str, Reply] = {}
        self.offers_auth = bool(auth_mechanisms(settings, True))
        self._starttls = AuthMechanism.TLS in settings.auth_mechanism and not settings.implicit_tls
        self._features: dict[tuple[bool, bool], Features] = {}

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
        return replies.greeting(self.settings.banner, self.fqdn, date_time(now))

    def hello_reply(self, client_ip: str) -> Reply:
        """The first line of the answer to EHLO."""
        reply = self._hello.get(client_ip)
        if reply is None:
            if len(self._hello) > 1000:
                self._hello.clear()
            reply = self._hello[client_ip] = replies.hello(self.fqdn, client_ip, [])
        return reply

    def features(self, tls: bool, authenticated: bool) -> Features:
        """What is offered to a session in this condition."""
        features = self._features.get((tls, authenticated))
        if features is None:
            features = self._features[tls, authenticated] = self._make_features(tls, authenticated)
        return features

    def _make_features(self, tls: bool, authenticated: bool) -> Features:
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
            auth_mechanisms=() if authenticated else auth_mechanisms(settings, tls),
            max_recipients=settings.max_recipients_per_message,
        )

    def listens_on(self, binding: Binding) -> bool:
        """Whether connections to this socket may be the connector's."""
        if not self.settings.enabled:
            return False
        own = [parse_binding(text) for text in self.settings.bindings]
        return any(one == binding or (binding.is_wildcard and one.port == binding.port) for one in own)

    def tls_context(self) -> ssl.SSLContext:
        """The certificate to show."""
        return self._certificates.context_for(self.settings.tls_certificate_file, self.settings.tls_key_file)
