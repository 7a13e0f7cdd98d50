# SPDX-License-Identifier: MIT
"""Serves the MTA-STS policies of our domains, if [mta_sts] says where."""

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

from bridgehead.admin.tls.own_policies import POLICY_HOST, mail_hosts, own_policy, policy_domains, policy_text
from bridgehead.net.certificates.store import ServerTls
from bridgehead.net.sts.policy_server import PolicyServer

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")

_OWNER: Final = "[mta_sts]"
"""In place of a connector's name."""


class PolicyHost:
    """Of one running server; a reload changes policies at once, the binding with a restart."""

    def __init__(self, application: "Application", listening: socket.socket | None) -> None:
        self._application, self._listening = application, listening
        self._texts: dict[str, bytes] = {}
        self.server = PolicyServer(self._texts.get, self._context)
        self.reconfigure()

    def reconfigure(self) -> None:
        """The policies of the configuration in force."""
        configuration = self._application.loaded.configuration
        hosts = mail_hosts(configuration.mta_sts, configuration.receive_connectors, self._application.fqdn)
        text = policy_text(own_policy(configuration.mta_sts, hosts)).encode("ascii")
        self._texts.clear()
        for domain in policy_domains(configuration.mta_sts, configuration.accepted_domains):
            self._texts[POLICY_HOST + domain] = text

    @property
    def hosts(self) -> list[str]:
        """Names that clients ask for; none where nothing is served."""
        return list(self._texts) if self._application.loaded.configuration.mta_sts.binding else []

    async def start(self) -> None:
        """Serve. Raises OSError."""
        if self._listening is not None:
            await self.server.start(self._listening)
            log.info("MTA-STS policies are served for %s", ", ".join(self._texts) or "no domain")

    async def stop(self) -> None:
        """Serve no more."""
        await self.server.stop()

    @staticmethod
    def tls(host: str) -> ServerTls:
        """How the certificate of a policy host is chosen."""
        return ServerTls(owner=_OWNER, fqdn=host)

    def _context(self, host: str) -> ssl.SSLContext:
        return self._application.certificates.context_for(self.tls(host))
