# SPDX-License-Identifier: MIT
"""How operators reach the server: the process of the interface, and the record of what they change. Both follow the
configuration. The internal channel between that process and us is `admin.calls.control`, and its owner's business.
"""

from collections.abc import Callable

from bridgehead.admin.access.audit_log import AuditLogFile
from bridgehead.admin.calls.control import channel_path
from bridgehead.net.certificates.pairs import CertificatePair
from bridgehead.server.api_process import ApiProcess, Prepared, Terms
from bridgehead.server.config.load import Loaded
from bridgehead.server.tls.certificates import own_pair


class Management:
    """Of the one process that moves mail, or of the supervisor of several.

    Args:
        fqdn: of this server.
        now: Unix time.

    Attributes:
        channel: path of the internal channel's socket.
        api: the process of the interface.
        audit: the record.
    """

    def __init__(self, loaded: Loaded, fqdn: str, now: Callable[[], float]) -> None:
        self._fqdn = fqdn
        configuration = loaded.configuration
        path = loaded.within(configuration.server.control_socket)
        self.channel = channel_path(path)
        self.audit = AuditLogFile(configuration.logs, loaded.within(configuration.logs.log_directory), now)
        self.api = ApiProcess(self._terms(loaded), path, self.channel)

    def interface_pid(self) -> int:
        """Who may name callers; 0 for nobody."""
        return self.api.pid

    def prepare(self, loaded: Loaded) -> Prepared:
        """What `reconfigure` takes. Raises OSError and CertificateError, and changes nothing then."""
        return self.api.prepare(self._terms(loaded))

    def reconfigure(self, loaded: Loaded, prepared: Prepared) -> None:
        """Follow another configuration."""
        self.audit.reconfigure(loaded.configuration.logs)
        self.api.use(prepared)

    def troubles(self) -> dict[str, str]:
        """What is wrong, "" where nothing is, by alarm."""
        api, audit = self.api.trouble, self.audit.trouble
        return {
            "management_interface": f"the management interface {api}" if api else "",
            "audit_log": f"changes by administrators are not recorded on disk: {audit}" if audit else "",
        }

    def _terms(self, loaded: Loaded) -> Terms:
        settings = loaded.configuration.api
        if settings.tls_certificate_file:
            files = settings.tls_certificate_file, settings.tls_key_file
            certificate = CertificatePair(*(loaded.within(file) for file in files))
        else:
            certificate = own_pair(loaded, self._fqdn)
        return Terms(
            settings=settings,
            administrators_file=loaded.within(settings.administrators_file),
            certificate=certificate,
            probe_listen=loaded.configuration.monitoring.probe_listen,
        )
