# SPDX-License-Identifier: MIT
"""How an SMTP session opens: who is there, also behind a proxy or by a certificate, which connector serves it, as whom
it acts and what it is offered (RFC 5321 §3.1). What is said then, and the time it may take, is `session.py`.
"""

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from bridgehead.net.channel_binding import has_channel_binding
from bridgehead.net.ip_range import normalise_ip
from bridgehead.net.proxy_protocol import ProxyProtocolError, ProxyProtocolParser
from bridgehead.net.tls import certificate_names
from bridgehead.receive import agent_log, refusals, session_record
from bridgehead.receive.connectors.served import partner_of
from bridgehead.receive.content import ContentRules
from bridgehead.receive.devices.steps import DEVICE_STEPS
from bridgehead.receive.permissions.rights import ANONYMOUS, Principal, PrincipalKind
from bridgehead.receive.settings import Right
from bridgehead.receive.steps import STEPS
from bridgehead.smtp import replies
from bridgehead.smtp.extensions import Features
from bridgehead.smtp.server import ServerConnection

if TYPE_CHECKING:
    from bridgehead.receive.connectors.served import ServedConnector
    from bridgehead.receive.server import Listener

log = logging.getLogger("bridgehead.receive")


class SessionOpening(asyncio.Protocol):
    """The client of one session, and on what terms it is served."""

    __slots__ = (
        "_proxy", "_started", "_steps", "_tracked", "began", "client_ip", "client_port", "connector", "content_rules",
        "engine", "last_activity", "lines_logged", "listener", "local_ip", "peer_names", "principal", "rights",
        "services", "session_id", "ssl_object", "tls_info", "transport",
    )  # fmt: skip

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        self.services = listener.services
        self.connector: ServedConnector
        self.engine: ServerConnection
        self.transport: asyncio.Transport
        self.principal: Principal = ANONYMOUS
        self.rights: frozenset[Right] = frozenset()
        self.content_rules: ContentRules | None = None
        self.client_ip = ""
        self.client_port = 0
        self.local_ip = ""
        self.tls_info = ""
        self.ssl_object: ssl.SSLObject | None = None
        self.peer_names: tuple[str, ...] = ()
        """Names that the client proved by its certificate."""
        self.session_id = ""
        self.lines_logged = 0
        self.began = self.last_activity = self.services.clock.monotonic()
        self._steps = STEPS
        self._proxy: ProxyProtocolParser | None = None
        self._started = False
        self._tracked = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        listener = self.listener
        peer = transport.get_extra_info("peername")
        local = listener.local_ip or transport.get_extra_info("sockname")
        if not peer or not local:
            self.transport.abort()
            return
        self.client_port = peer[1]
        self.local_ip = listener.local_ip or normalise_ip(local[0])
        if listener.tls_first:
            self._note_tls(self.transport)
        client_ip = normalise_ip(peer[0])
        if listener.expects_proxy_header(client_ip):
            self._proxy = ProxyProtocolParser()
        else:
            self._begin(client_ip)

    def _read_proxy_header(self, data: bytes) -> None:
        assert self._proxy is not None
        try:
            header = self._proxy.feed(data)
        except ProxyProtocolError as error:
            peer = self.transport.get_extra_info("peername")[0]
            log.warning("connection from %s without a valid PROXY header: %s", peer, error)
            self.transport.abort()
            return
        if header is None:
            return
        self._proxy = None
        source = header.source_ip or self.transport.get_extra_info("peername")[0]
        if header.source_port:
            self.client_port = header.source_port
        self._begin(normalise_ip(source))
        if header.rest and self._started:
            self.data_received(header.rest)

    def _begin(self, client_ip: str) -> None:
        """Choose the connector, count the connection, greet."""
        self.client_ip = client_ip
        connector = self.listener.connector_for(self.local_ip, client_ip)
        if self.services.own_connections and self._is_own_test():
            self.services, connector = self.services.unseen(), connector and connector.unseen()
        if connector is None:
            agent_log.connection_refused(self, replies.NO_CONNECTOR, "")
            refusals.note_connection(self, replies.NO_CONNECTOR, None)
            self.transport.write(replies.NO_CONNECTOR.to_wire(False))
            self.transport.close()
            return
        refusal = self.services.limits.acquire(connector.settings, client_ip)
        if refusal is not None:
            connector.counters.refused += 1
            agent_log.connection_refused(self, refusal, connector.settings.name)
            refusals.note_connection(self, refusal, connector)
            self.transport.write(refusal.to_wire())
            self.transport.close()
            return
        self.connector = connector
        self.session_id = self.services.new_session_id()
        self.principal, self.rights = connector.first_principal, connector.first_rights
        if self.peer_names and (partner := self._principal_by_certificate()) is not None:
            self.become(partner)
        self.engine = ServerConnection(self._features(), repair_bare_lf=connector.settings.bare_linefeed_repair)
        if connector.device is not None:
            self._steps = DEVICE_STEPS
            connector.device.use.came(self.services.clock.now(), client_ip, connector.settings.name)
        self._started = True
        connector.counters.connected(tls=bool(self.tls_info))
        if connector.verbose:
            session_record.line(self, "+", "", "")
            if self.tls_info:
                session_record.line(self, "*", "", f"TLS protocol {self.tls_info}")
        self.engine.greet(connector.greeting(self.services.clock.now()))
        self._send()

    def _is_own_test(self) -> bool:
        """Whether the client is this server, testing its connectors; behind whatever PROXY header."""
        peer = self.transport.get_extra_info("peername")
        return (normalise_ip(peer[0]), peer[1]) in self.services.own_connections

    def become(self, principal: Principal) -> None:
        """The session acts as `principal` from now on; its rights follow."""
        self.principal = principal
        self.rights = self.connector.rights_of(principal)
        self.content_rules = None
        self._tracked = ""

    @property
    def tracked(self) -> str:
        """What tracking says of the session with each of its messages; made once (custom-data of RECEIVE)."""
        if not self._tracked:
            self._tracked = session_record.tracked(
                self.listener.port, self.tls_info, str(self.principal), self.services.revision
            )
        return self._tracked

    def _send(self) -> None:
        """Send what there is, outside of the loop."""
        out = self.engine.data_to_send()
        if self.connector.verbose:
            session_record.said(self, out)
        self.transport.write(out)

    def _note_tls(self, transport: asyncio.Transport) -> None:
        """Protocol, cipher and the client's names of a connection; nothing in clear."""
        tls = self.ssl_object = transport.get_extra_info("ssl_object")
        cipher = tls.cipher() if tls is not None else None
        self.tls_info = f"version={cipher[1]}, cipher={cipher[0]}" if cipher else ""
        self.peer_names = certificate_names(tls) if tls is not None else ()

    def _principal_by_certificate(self) -> Principal | None:
        """The partner that the client's certificate shows it to be."""
        if not self.peer_names:
            return None
        partner = partner_of(self.connector.settings, self.services.secure_domains, self.peer_names)
        if partner is not None:
            session_record.line(self, "*", "", f"Certificate of {partner.name}")
        return partner

    def offer_again(self) -> None:
        """What is offered may have changed."""
        self.engine.offer(self._features())

    def _features(self) -> Features:
        connector, tls = self.connector, self.ssl_object
        binding = tls is not None and connector.offers_binding and has_channel_binding(tls)
        certificate = tls is not None and connector.offers_external and bool(tls.getpeercert())
        return connector.features(bool(self.tls_info), self.principal.kind is PrincipalKind.USER, binding, certificate)
