# SPDX-License-Identifier: MIT
"""What is known of certificates at one moment: who shows one, which are there, and who would show which."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bridgehead.net.certificates.chain import ChainFacts, read_chain_file
from bridgehead.net.certificates.folder import CertificateFolder
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import KnownCertificate, ServerTls, choose
from bridgehead.net.ip_range import parse_binding
from bridgehead.receive.connectors.served import server_tls
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector
from bridgehead.routing.settings import SendConnector


class CertificateUser(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who shows a certificate.

    Attributes:
        label: 'receive connector "Internet"'.
        tls: how the certificate is chosen.
        fqdn: the name that clients know.
        ports: it listens on.
        client: it shows the certificate to servers.
        asked_by_name: other certificates are shown to clients that ask for their names.
    """

    label: str
    tls: ServerTls
    fqdn: str = ""
    ports: tuple[int, ...] = ()
    client: bool = False
    asked_by_name: bool = False


class CertificateSite(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration and its certificates.

    Attributes:
        default: the server's own pair.
        pairs: those to choose from by name, also those kept by the server.
        now: Unix time.
        acme_names: certificates that ACME renews.
    """

    users: Sequence[CertificateUser]
    default: CertificatePair
    pairs: Sequence[CertificatePair]
    data_directory: Path
    now: float
    acme_names: Sequence[str] = ()

    @property
    def folder(self) -> CertificateFolder:
        return CertificateFolder(self.data_directory)


def users_of(
    receive_connectors: Sequence[ReceiveConnector], send_connectors: Sequence[SendConnector], server_fqdn: str
) -> list[CertificateUser]:
    """Connectors that are enabled and show a certificate."""
    users = []
    for one in receive_connectors:
        if one.enabled and (AuthMechanism.TLS in one.auth_mechanism or one.implicit_tls):
            fqdn = one.fqdn or server_fqdn
            users.append(
                CertificateUser(
                    label=f'receive connector "{one.name}"',
                    tls=server_tls(one, fqdn),
                    fqdn=fqdn,
                    ports=tuple(dict.fromkeys(parse_binding(text).port for text in one.bindings)),
                    asked_by_name=not one.tls_certificate_file and not one.tls_certificate_name,
                )
            )
    for send in send_connectors:
        if send.enabled and (send.tls_certificate_file or send.tls_certificate_name):
            tls = ServerTls(
                owner=send.name, certificate_file=send.tls_certificate_file, key_file=send.tls_key_file,
                pin=send.tls_certificate_name,
            )  # fmt: skip
            users.append(CertificateUser(label=f'send connector "{send.name}"', tls=tls, client=True))
    return users


class Certificates:
    """The certificates of a site as they lie on the disk, or as they would with others in their place.

    Args:
        instead: facts of pairs that are not written yet.
    """

    def __init__(self, site: CertificateSite, instead: dict[CertificatePair, ChainFacts] | None = None) -> None:
        self._site = site
        self._instead = instead or {}
        self._read: dict[CertificatePair, ChainFacts | str] = {}
        self.pairs = tuple(dict.fromkeys((*site.pairs, *self._instead)))

    def facts(self, pair: CertificatePair) -> ChainFacts:
        """Raises CertificateError."""
        if pair in self._instead:
            return self._instead[pair]
        if pair not in self._read:
            try:
                self._read[pair] = read_chain_file(pair.certificate)
            except CertificateError as error:
                self._read[pair] = str(error)
        found = self._read[pair]
        if isinstance(found, str):
            raise CertificateError(found)
        return found

    def known(self) -> list[KnownCertificate]:
        """Those that can be read, the server's own first."""
        found = []
        for pair in dict.fromkeys((self._site.default, *self.pairs)):
            try:
                found.append(KnownCertificate(pair, self.facts(pair).leaf))
            except CertificateError:
                continue
        return found

    def shown_by(self, user: CertificateUser) -> CertificatePair:
        """What somebody shows. Raises CertificateError."""
        return choose(user.tls, self._site.default, self.pairs, self.known, self._site.data_directory)
