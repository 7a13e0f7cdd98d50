# SPDX-License-Identifier: MIT
"""Which certificate a connector shows: its own pair, one pinned by name, the best for its FQDN or for the name that the
client asked for (SNI, RFC 6066 §3), else the server's. Pairs are read anew when a file changes.

Each connector has contexts of its own, so that a session taken up again never crosses connectors (RFC 5077 tickets).
"""

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.net.certificates import (
    CertificateError,
    CertificatePair,
    CertificateSummary,
    ContextOptions,
    make_server_context,
    read_summary,
)
from bridgehead.routing.tls_policy import name_matches

log = logging.getLogger("bridgehead.net")

_EXCHANGE_PIN: Final = "<I>"

_Stamp = tuple[int, ...]


class ServerTls(msgspec.Struct, frozen=True):
    """What one connector asks for. Connectors with the same words still have contexts of their own, by `owner`.

    Attributes:
        owner: the connector's name.
        certificate_file, key_file: its own pair, "" for one of the others.
        pin: TlsCertificateName: a name that the certificate must carry, or "<I>issuer<S>subject".
        fqdn: what the connector calls itself.
    """

    owner: str
    certificate_file: str = ""
    key_file: str = ""
    pin: str = ""
    fqdn: str = ""
    options: ContextOptions = ContextOptions()


class KnownCertificate(msgspec.Struct, frozen=True):
    """A pair that may be chosen, with what it says of itself."""

    pair: CertificatePair
    facts: CertificateSummary


class CertificateStore:
    """The certificates of the server and the contexts that show them.

    Ask for the context at every handshake: after a file has changed and `refresh` has run, it is another one.

    Args:
        directory: where relative names lie.
        default: the server's own pair.
        alarm: is told of pairs that can no longer be read.
    """

    def __init__(
        self, directory: Path, default: CertificatePair, alarm: Callable[[str], None],
        pairs: Sequence[CertificatePair] = (),
    ) -> None:  # fmt: skip
        self._directory = directory
        self._default = default
        self._alarm = alarm
        self._pairs = tuple(pairs)
        self._held: dict[tuple[ServerTls, CertificatePair], _Held] = {}
        self._chosen: dict[ServerTls, CertificatePair] = {}
        self._known: list[KnownCertificate] | None = None

    def use(self, default: CertificatePair, pairs: Sequence[CertificatePair]) -> None:
        """Choose among other pairs from now on."""
        if (default, tuple(pairs)) != (self._default, self._pairs):
            self._default, self._pairs = default, tuple(pairs)
            self._forget_choices()

    def known(self) -> list[KnownCertificate]:
        """The pairs to choose from that can be read, the server's own first."""
        if self._known is None:
            self._known = []
            for pair in dict.fromkeys((self._default, *self._pairs)):
                try:
                    self._known.append(KnownCertificate(pair, read_summary(pair.certificate)))
                except CertificateError as error:
                    self._alarm(str(error))
        return self._known

    def context_for(self, tls: ServerTls) -> ssl.SSLContext:
        """The context of a connector. Raises CertificateError."""
        pair = self._chosen.get(tls)
        if pair is None:
            pair = self._chosen[tls] = self.choose(tls)
        return self._context(tls, pair)

    def choose(self, tls: ServerTls) -> CertificatePair:
        """The pair that a connector shows to clients who ask for no name. Raises CertificateError for a pin that
        nothing fits."""
        if tls.certificate_file:
            return CertificatePair(self._directory / tls.certificate_file, self._directory / tls.key_file)
        if tls.pin:
            found = [one for one in self.known() if fits_pin(one.facts, tls.pin)]
            if not found:
                successor = next((one for one in self.known() if _is_successor(one.facts, tls.pin)), None)
                hint = f"; its successor is issued by {successor.facts.issuer}" if successor else ""
                raise CertificateError(f'no certificate fits tls_certificate_name = "{tls.pin}"{hint}')
            return _best(found).pair
        if not self._pairs or not tls.fqdn:
            return self._default
        found = [one for one in self.known() if name_matches(one.facts.names, tls.fqdn)]
        return _best(found).pair if found else self._default

    def refresh(self) -> list[Path]:
        """Read pairs whose files have changed; the certificates that are new. To be called every minute or so.

        A pair that cannot be used, such as a new certificate whose key is still to come, leaves the old one in use
        and raises one alarm for each state of the files.
        """
        changed: dict[Path, None] = {}
        for (tls, pair), held in self._held.items():
            stamp = _stamp(pair, self._absolute(tls.options))
            if stamp in (held.stamp, held.bad_stamp):
                continue
            try:
                held.context = self._make(tls, pair)
            except CertificateError as error:
                held.bad_stamp = stamp
                self._alarm(f"{error}; the certificate read before stays in use")
                continue
            held.stamp, held.bad_stamp = stamp, None
            changed[pair.certificate] = None
        if changed:
            self._forget_choices()
        return list(changed)

    def look_again(self) -> None:
        """Choose anew: files may have changed. For those who make no contexts here."""
        self._forget_choices()

    def _forget_choices(self) -> None:
        self._chosen.clear()
        self._known = None

    def _context(self, tls: ServerTls, pair: CertificatePair) -> ssl.SSLContext:
        held = self._held.get((tls, pair))
        if held is None:
            stamp = _stamp(pair, self._absolute(tls.options))
            held = self._held[tls, pair] = _Held(self._make(tls, pair), stamp)
        return held.context

    def _make(self, tls: ServerTls, pair: CertificatePair) -> ssl.SSLContext:
        context = make_server_context(pair, self._absolute(tls.options))
        if not tls.certificate_file and not tls.pin:

            def asked(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
                if name and self._pairs:
                    self._answer_to_name(tls, pair, connection, name)

            context.sni_callback = asked
        return context

    def _absolute(self, options: ContextOptions) -> ContextOptions:
        ca_file, crl_file = (
            str(self._directory / name) if name else "" for name in (options.ca_file, options.crl_file)
        )
        return msgspec.structs.replace(options, ca_file=ca_file, crl_file=crl_file)

    def _answer_to_name(self, tls: ServerTls, shown: CertificatePair, connection: ssl.SSLObject, name: str) -> None:
        """Show the certificate for the name that the client asked for, where there is one."""
        found = [one for one in self.known() if name_matches(one.facts.names, name)]
        if not found or any(one.pair == shown for one in found):
            return
        try:
            connection.context = self._context(tls, _best(found).pair)
        except CertificateError as error:
            log.error("the certificate for %r cannot be used, another is shown: %s", name[:255], error)


class _Held(msgspec.Struct):
    context: ssl.SSLContext
    stamp: _Stamp
    bad_stamp: _Stamp | None = None


def fits_pin(facts: CertificateSummary, pin: str) -> bool:
    """Whether a TlsCertificateName means a certificate: by one of its names, so that a renewal changes nothing, or by
    issuer and subject as Exchange writes them."""
    if not pin.startswith(_EXCHANGE_PIN):
        return name_matches(facts.names, pin)
    issuer, _, subject = pin.removeprefix(_EXCHANGE_PIN).partition("<S>")
    return _name_parts(issuer) == _name_parts(facts.issuer) and _name_parts(subject) == _name_parts(facts.subject)


def _is_successor(facts: CertificateSummary, pin: str) -> bool:
    """Whether only the issuer differs from Exchange's form of a pin."""
    return pin.startswith(_EXCHANGE_PIN) and _name_parts(pin.partition("<S>")[2]) == _name_parts(facts.subject)


def _name_parts(distinguished_name: str) -> frozenset[str]:
    """Parts of a distinguished name; programs disagree about their order and spacing."""
    return frozenset(part.strip().lower() for part in distinguished_name.split(",") if part.strip())


def _best(found: Sequence[KnownCertificate]) -> KnownCertificate:
    """Of several that would do: in force before not, issued before self-signed, then the one that lasts longest."""
    now = time.time()

    def worth(one: KnownCertificate) -> tuple[bool, bool, float]:
        facts = one.facts
        return facts.not_before <= now < facts.not_after, not facts.self_signed, facts.not_after

    return max(found, key=worth)


def _stamp(pair: CertificatePair, options: ContextOptions) -> _Stamp:
    """What changes when any of the files does; a file that is gone counts as a state of its own."""
    values: list[int] = []
    for file in (pair.certificate, pair.key, *(Path(name) for name in (options.ca_file, options.crl_file) if name)):
        try:
            status = file.stat()
            values += (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            values += (-1, -1, -1)
    return tuple(values)
