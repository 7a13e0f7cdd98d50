# SPDX-License-Identifier: MIT
"""Which certificate a connector shows: its own pair, one pinned by name, the best for its FQDN or for the name that the
client asked for (SNI, RFC 6066 §3), else the server's. Pairs are read anew when a file changes.

A pair that is worse for a connector than the one before (`change.py`) is not taken: the one before is kept
in memory and stays in use. Each connector has contexts of its own, so that a session taken up again never crosses
connectors (RFC 5077 tickets).
"""

import logging
import ssl
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.net.certificates.chain import read_bounded, read_chain
from bridgehead.net.certificates.change import change_problems, fits_pin, is_successor
from bridgehead.net.certificates.pairs import (
    CertificateError,
    CertificatePair,
    CertificateSummary,
    ContextOptions,
    in_memory,
    make_server_context,
    read_summary,
    summary_of_pem,
)
from bridgehead.routing.tls_policy import name_matches

log = logging.getLogger("bridgehead.net")

_NAMES_KEPT: Final = 1000
"""Clients may ask for any name; each is at most as long as a DNS name."""

_Stamp = tuple[int, ...]


class ServerTls(msgspec.Struct, frozen=True, cache_hash=True):
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
        refused: is told of a changed pair that is not taken, and why; with "" once it is well again.
    """

    def __init__(
        self, directory: Path, default: CertificatePair, alarm: Callable[[str], None],
        pairs: Sequence[CertificatePair] = (), refused: Callable[[CertificatePair, str], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._default = default
        self._alarm = alarm
        self._on_refused = refused
        self._pairs = tuple(pairs)
        self._refused: dict[CertificatePair, _Refused] = {}
        self._held: dict[tuple[ServerTls, CertificatePair], _Held] = {}
        self._chosen: dict[ServerTls, CertificatePair] = {}
        self._known: list[KnownCertificate] | None = None
        self._named: dict[str, list[KnownCertificate]] = {}
        """Which of them carry a name that clients asked for."""

    def use(self, default: CertificatePair, pairs: Sequence[CertificatePair]) -> None:
        """Choose among other pairs from now on."""
        if (default, tuple(pairs)) != (self._default, self._pairs):
            self._default, self._pairs = default, tuple(pairs)
            self._forget_choices()

    def known(self) -> list[KnownCertificate]:
        """The pairs to choose from that can be read, the server's own first."""
        if self._known is None:
            self._known = []
            self._named.clear()
            for pair in dict.fromkeys((self._default, *self._pairs)):
                try:
                    kept = self._refused.get(pair)
                    facts = summary_of_pem(kept.files.certificate) if kept else read_summary(pair.certificate)
                    self._known.append(KnownCertificate(pair, facts))
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
        return choose(tls, self._default, self._pairs, self.known, self._directory)

    def refresh(self, forced: Collection[CertificatePair] = ()) -> list[Path]:
        """Read pairs whose files have changed; the certificates that are new. To be called every minute or so.

        A pair that cannot be used, such as a new certificate whose key is still to come, or that is worse for a
        connector than the one before, leaves the old one in use and raises one alarm for each state of the files.

        Args:
            forced: pairs that an administrator wants though they are worse.
        """
        changed: dict[Path, None] = {}
        for pair in list(dict.fromkeys(pair for _, pair in self._held)):
            if self._refresh_pair(pair, pair in forced):
                changed[pair.certificate] = None
        if changed:
            self._forget_choices()
        return list(changed)

    def _refresh_pair(self, pair: CertificatePair, forced: bool) -> bool:
        """Whether contexts of the pair were made anew."""
        stale = {}
        for (tls, of_pair), held in self._held.items():
            stamp = stamp_of(pair, self._absolute(tls.options))
            if of_pair == pair and (forced or stamp not in (held.stamp, held.bad_stamp)):
                stale[tls] = (held, stamp)
        if not stale:
            return False
        former = self._refused.pop(pair, None)
        reasons = [] if forced else self._objections(pair, [*stale], stale[next(iter(stale))][0].files)
        made: dict[ServerTls, ssl.SSLContext] = {}
        if not reasons:
            try:
                made = {tls: self._make(tls, pair) for tls in stale}
            except CertificateError as error:
                reasons = [str(error)]
        if reasons:
            self._refuse(pair, reasons, stale.values())
            return False
        files = read_pair(pair)
        for tls, (held, stamp) in stale.items():
            held.context, held.stamp, held.bad_stamp, held.files = made[tls], stamp, None, files
        if former is not None:
            self._on_refused(pair, "")
        return True

    def _objections(self, pair: CertificatePair, connectors: Sequence[ServerTls], old: "PairFiles") -> list[str]:
        """Why what lies on the disk now is worse than what these connectors show."""
        try:
            new = read_pair(pair)
            if new.certificate == old.certificate:
                return []
            before, after = read_chain(old.certificate), read_chain(new.certificate, str(pair.certificate))
        except (CertificateError, OSError) as error:
            return [str(error)]
        problems: dict[str, None] = {}
        for tls in connectors:
            for one in change_problems(before, after, fqdn=tls.fqdn, pin=tls.pin, now=time.time()):
                problems[f"{pair.certificate} was not taken for {tls.owner}: {one}"] = None
        return list(problems)

    def _refuse(
        self, pair: CertificatePair, reasons: Sequence[str], stale: "Collection[tuple[_Held, _Stamp]]"
    ) -> None:  # fmt: skip
        text = f"{'; '.join(reasons[:3])}; the certificate read before stays in use"
        for held, stamp in stale:
            held.bad_stamp = stamp
            self._refused[pair] = _Refused(held.files)
        self._known = None
        self._alarm(text)
        self._on_refused(pair, text)

    def look_again(self) -> None:
        """Choose anew: files may have changed. For those who make no contexts here."""
        self._forget_choices()

    def _forget_choices(self) -> None:
        self._chosen.clear()
        self._known = None

    def _context(self, tls: ServerTls, pair: CertificatePair) -> ssl.SSLContext:
        held = self._held.get((tls, pair))
        if held is None:
            stamp = stamp_of(pair, self._absolute(tls.options))
            kept = self._refused.get(pair)
            if kept is not None:
                held = _Held(self._make_of(tls, pair, kept.files), stamp, kept.files, bad_stamp=stamp)
            else:
                held = _Held(self._make(tls, pair), stamp, read_pair(pair))
            self._held[tls, pair] = held
        return held.context

    def _make_of(self, tls: ServerTls, pair: CertificatePair, files: "PairFiles") -> ssl.SSLContext:
        """A context of what was read before, though the files have changed since."""
        with in_memory(files.certificate) as certificate, in_memory(files.key) as key:
            return self._make(tls, CertificatePair(certificate, key), known_as=pair)

    def _make(
        self, tls: ServerTls, pair: CertificatePair, known_as: CertificatePair | None = None
    ) -> ssl.SSLContext:  # fmt: skip
        context = make_server_context(pair, self._absolute(tls.options))
        shown = known_as or pair
        if not tls.certificate_file and not tls.pin:

            def asked(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
                if name and self._pairs:
                    self._answer_to_name(tls, shown, connection, name)

            context.sni_callback = asked
        return context

    def _absolute(self, options: ContextOptions) -> ContextOptions:
        ca_file, crl_file = (
            str(self._directory / name) if name else "" for name in (options.ca_file, options.crl_file)
        )
        return msgspec.structs.replace(options, ca_file=ca_file, crl_file=crl_file)

    def _answer_to_name(self, tls: ServerTls, shown: CertificatePair, connection: ssl.SSLObject, name: str) -> None:
        """Show the certificate for the name that the client asked for, where there is one."""
        known = self.known()
        found = self._named.get(name)
        if found is None:
            if len(self._named) >= _NAMES_KEPT:
                self._named.clear()
            found = self._named[name] = [one for one in known if name_matches(one.facts.names, name)]
        if not found or any(one.pair == shown for one in found):
            return
        try:
            connection.context = self._context(tls, _best(found).pair)
        except CertificateError as error:
            log.error("the certificate for %r cannot be used, another is shown: %s", name[:255], error)


class PairFiles(msgspec.Struct, frozen=True):
    """A pair as it was read."""

    certificate: bytes
    key: bytes


class _Refused(msgspec.Struct, frozen=True):
    """A pair whose files are not taken; `files` are those in use."""

    files: PairFiles


class _Held(msgspec.Struct):
    context: ssl.SSLContext
    stamp: _Stamp
    files: PairFiles
    bad_stamp: _Stamp | None = None


def choose(
    tls: ServerTls, default: CertificatePair, pairs: Sequence[CertificatePair],
    known: Callable[[], Sequence[KnownCertificate]], directory: Path,
) -> CertificatePair:  # fmt: skip
    """The pair that a connector shows. Raises CertificateError for a pin that nothing fits.

    Args:
        default: the server's own.
        pairs: those to choose from by name.
        known: gives these with what they say of themselves, the default's first; asked only where that matters.
        directory: where relative names lie.
    """
    if tls.certificate_file:
        return CertificatePair(directory / tls.certificate_file, directory / tls.key_file)
    if tls.pin:
        found = [one for one in known() if fits_pin(one.facts, tls.pin)]
        if not found:
            successors = [one for one in known() if is_successor(one.facts, tls.pin)]
            hint = f"; its successor is issued by {_best(successors).facts.issuer}" if successors else ""
            raise CertificateError(f'no certificate fits tls_certificate_name = "{tls.pin}"{hint}')
        return _best(found).pair
    if not pairs or not tls.fqdn:
        return default
    found = [one for one in known() if name_matches(one.facts.names, tls.fqdn)]
    return _best(found).pair if found else default


def read_pair(pair: CertificatePair) -> PairFiles:
    """Both files. Raises CertificateError."""
    return PairFiles(read_bounded(pair.certificate), read_bounded(pair.key))


def _best(found: Sequence[KnownCertificate]) -> KnownCertificate:
    """Of several that would do: in force before not, issued before self-signed, then the one that lasts longest."""
    now = time.time()

    def worth(one: KnownCertificate) -> tuple[bool, bool, float]:
        facts = one.facts
        return facts.not_before <= now < facts.not_after, not facts.self_signed, facts.not_after

    return max(found, key=worth)


def stamp_of(pair: CertificatePair, options: ContextOptions = ContextOptions()) -> _Stamp:  # noqa: B008 - frozen
    """What changes when any of the files does; a file that is gone counts as a state of its own."""
    values: list[int] = []
    for file in (pair.certificate, pair.key, *(Path(name) for name in (options.ca_file, options.crl_file) if name)):
        try:
            status = file.stat()
            values += (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            values += (-1, -1, -1)
    return tuple(values)
