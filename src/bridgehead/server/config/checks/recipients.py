# SPDX-License-Identifier: MIT
"""Checks of the directory against the configuration. They go through all recipients, so that only the command `check`
has them made, no start and no reload.
"""

from bridgehead.admin.access.recipients import Source, addresses_outside
from bridgehead.admin.faults import AdminFault
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.positions import KeyPath

_PATH: KeyPath = ("directory", "recipients_file")


def check_recipients(loaded: Loaded) -> None:
    """Warn of addresses that nobody reaches; what is found is added to `loaded.findings`."""
    configuration = loaded.configuration
    file = loaded.within(configuration.directory.recipients_file)
    if not file.exists():
        return
    source = Source(file, accepted=AcceptedDomains(configuration.accepted_domains))
    try:
        for domain in addresses_outside(source):
            loaded.findings.warning(_PATH, str(domain), domain.remedy)
    except AdminFault as fault:
        loaded.findings.warning(_PATH, fault.message, fault.remedy)
