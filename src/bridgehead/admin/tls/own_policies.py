# SPDX-License-Identifier: MIT
"""Our own MTA-STS policies: for which domains, with which hosts, under which id (RFC 8461 §3)."""

import hashlib
from collections.abc import Sequence
from typing import Final

from bridgehead.mail.address import domain_key
from bridgehead.net.sts.settings import MtaStsSettings
from bridgehead.receive.settings import PermissionGroup, ReceiveConnector
from bridgehead.routing.mta_sts import StsPolicy
from bridgehead.routing.settings import AcceptedDomain

POLICY_HOST: Final = "mta-sts."
"""In front of the domain: the host of its policy."""
_ID_LENGTH: Final = 20


def policy_domains(settings: MtaStsSettings, accepted: Sequence[AcceptedDomain]) -> list[str]:
    """Domains that have a policy of ours, in A-label form."""
    names = settings.domains or [one.domain_name for one in accepted if not one.domain_name.startswith("*.")]
    return list(dict.fromkeys(domain_key(name) for name in names))


def mail_hosts(settings: MtaStsSettings, connectors: Sequence[ReceiveConnector], server_fqdn: str) -> tuple[str, ...]:
    """What MX records may name: as configured, or the names of connectors that take mail from strangers."""
    names = settings.mx or [
        one.fqdn or server_fqdn
        for one in connectors
        if one.enabled and PermissionGroup.ANONYMOUS_USERS in one.permission_groups
    ]
    return tuple(dict.fromkeys(name.rstrip(".").lower() for name in names))


def own_policy(settings: MtaStsSettings, hosts: Sequence[str]) -> StsPolicy:
    """The policy of each of our domains."""
    return StsPolicy(mode=settings.mode, mx=tuple(hosts), max_age=int(settings.max_age.total_seconds()))


def policy_text(policy: StsPolicy) -> str:
    """The file as it is served (§3.2)."""
    return "".join(f"{line}\r\n" for line in policy.lines())


def policy_record(policy: StsPolicy) -> str:
    """The TXT record at _mta-sts (§3.1); its id follows from the content, so that it changes with it."""
    id = hashlib.sha256(policy_text(policy).encode()).hexdigest()[:_ID_LENGTH]
    return f"v=STSv1; id={id};"
