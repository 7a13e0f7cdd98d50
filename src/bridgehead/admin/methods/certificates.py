# SPDX-License-Identifier: MIT
"""Methods about certificates: list, check, bind, roll back, renew."""

import asyncio
from typing import Annotated, Final

import msgspec

from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.tls.certificate_binding import bind_pair, check_pair, roll_back
from bridgehead.admin.tls.certificate_views import (
    CertificateBound,
    CertificateCheck,
    CertificateReport,
    CertificateView,
    RenewalView,
)
from bridgehead.admin.tls.certificates import find_certificate, report_certificates
from bridgehead.mail.limits import CERTIFICATE_FILE_BYTES

_Pem = Annotated[str, msgspec.Meta(max_length=CERTIFICATE_FILE_BYTES)]


class CertificateWanted(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: of a certificate, one of its names, its file, or the beginning of its fingerprint."""

    name: str


class NewCertificate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`certificate`: PEM, its own certificate first, then its intermediates; `private_key`: PEM without a passphrase;
    `name`: under which it is kept, "" for its first name."""

    certificate: _Pem
    private_key: _Pem
    name: str = ""


class CertificateOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """As to check; `force`: take it though the check fails."""

    certificate: _Pem
    private_key: _Pem
    name: str = ""
    force: bool = False


class RollBackOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`name`: under which the certificate is kept; `force`: bring it back though the check fails."""

    name: str
    force: bool = False


class RenewalOrder(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: of one of [[acme.certificates]]."""

    name: str


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> CertificateReport:
    """Every certificate with its dates, chain, usages, who shows it to whom, and warnings."""
    return await asyncio.to_thread(report_certificates, server.certificate_desk.site())


async def show(server: RunningServer, params: CertificateWanted, _: Caller) -> CertificateView:
    """One certificate."""
    report = await asyncio.to_thread(report_certificates, server.certificate_desk.site())
    return find_certificate(report, params.name)


async def check(server: RunningServer, params: NewCertificate, _: Caller) -> CertificateCheck:
    """Check a new certificate against everybody who would show it. Changes nothing."""
    return await check_pair(server.certificate_desk, params.certificate, params.private_key, params.name)


async def bind(server: RunningServer, params: CertificateOrder, _: Caller) -> CertificateBound:
    """Check a new certificate and put it in force; without force one that fails the check changes nothing."""
    return await bind_pair(
        server.certificate_desk, params.certificate, params.private_key, params.name, force=params.force
    )


async def roll_back_(server: RunningServer, params: RollBackOrder, _: Caller) -> CertificateBound:
    """Bring back the version before the current one."""
    return await roll_back(server.certificate_desk, params.name, force=params.force)


async def renewals(server: RunningServer, _: NoParameters, __: Caller) -> list[RenewalView]:
    """Certificates that ACME renews: how far, when next, what failed."""
    return server.certificate_desk.renewals.views()


async def renew(server: RunningServer, params: RenewalOrder, _: Caller) -> RenewalView:
    """Begin to renew a certificate by ACME now. How far it is, the list of renewals says."""
    return server.certificate_desk.renewals.start(params.name)


METHODS: Final = {
    "certificates.list": Method(
        params=NoParameters, result=CertificateReport, answer=list_, role=Role.VIEWER, route="GET /certificates",
        merge=FIRST,
    ),
    "certificates.show": Method(
        params=CertificateWanted, result=CertificateView, answer=show, role=Role.VIEWER,
        route="GET /certificates/{name}",
        merge=FIRST,
    ),
    "certificates.check": Method(
        params=NewCertificate, result=CertificateCheck, answer=check, role=Role.OPERATOR,
        route="POST /certificates/check",
        merge=FIRST,
    ),
    "certificates.bind": Method(
        params=CertificateOrder, result=CertificateBound, answer=bind, role=Role.ADMINISTRATOR,
        route="POST /certificates",
        merge=Merge(Ask.FIRST, also="server.reload"),
    ),
    "certificates.roll_back": Method(
        params=RollBackOrder, result=CertificateBound, answer=roll_back_, role=Role.ADMINISTRATOR,
        route="POST /certificates/{name}/roll-back",
        merge=Merge(Ask.FIRST, also="server.reload"),
    ),
    "certificates.renewals": Method(
        params=NoParameters, result=list[RenewalView], answer=renewals, role=Role.VIEWER,
        route="GET /certificate-renewals",
        merge=FIRST,
    ),
    "certificates.renew": Method(
        params=RenewalOrder, result=RenewalView, answer=renew, role=Role.ADMINISTRATOR,
        route="POST /certificate-renewals/{name}",
        merge=FIRST,
    ),
}  # fmt: skip
