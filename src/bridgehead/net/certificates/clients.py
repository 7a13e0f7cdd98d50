# SPDX-License-Identifier: MIT
"""The certificates that send connectors show to servers, each as it was last found good.

A changed file that is worse for a connector than the one before (`change.py`), or whose key does not belong
to it, is not taken: what was read before is kept in memory and stays in use. Which pair a connector shows is chosen in
`store.py`.
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from bridgehead.net.certificates.chain import check_key, read_chain
from bridgehead.net.certificates.change import change_problems
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair
from bridgehead.net.certificates.store import PairFiles, ServerTls, read_pair, stamp_of

log = logging.getLogger("bridgehead.net")

_REASONS: Final = 3
_State = tuple[CertificatePair, tuple[int, ...]]
"""A pair and the state of its files (`stamp_of`)."""


class ClientCertificates:
    """Of one server; outlives changes of configuration.

    Args:
        refused: is told of a changed pair that is not taken, and why; with "" once it is well again.
    """

    def __init__(self, refused: Callable[[CertificatePair, str], None] = lambda *_: None) -> None:
        self._on_refused = refused
        self._held: dict[ServerTls, _Held] = {}

    def shown(self, tls: ServerTls, choose: Callable[[ServerTls], CertificatePair]) -> CertificatePair:
        """What a connector shows. Raises CertificateError where there is nothing to show yet.

        Args:
            choose: gives the pair on the disk that is meant for it. Raises CertificateError for none.
        """
        held = self._held.get(tls)
        try:
            chosen = choose(tls)
        except CertificateError as error:
            if held is None:
                raise
            self._refuse(tls, held, (held.source, stamp_of(held.source)), [str(error)])
            return held.in_memory.pair
        stamp = stamp_of(chosen)
        if held is None:
            held = self._held[tls] = _Held(chosen, stamp, read_pair(chosen))
        elif (chosen, stamp) not in ((held.source, held.stamp), held.refused):
            self._change(tls, held, chosen, stamp)
        elif (chosen, stamp) == (held.source, held.stamp):
            self._well_again(held)
        return held.in_memory.pair

    def take(self, forced: Collection[CertificatePair]) -> None:
        """Show these as they lie on the disk, even where they are worse: an administrator wants it so."""
        for tls, held in list(self._held.items()):
            if held.source in forced or (held.refused is not None and held.refused[0] in forced):
                self._well_again(held)
                del self._held[tls]

    def _change(self, tls: ServerTls, held: "_Held", chosen: CertificatePair, stamp: tuple[int, ...]) -> None:
        """Something else lies on the disk than what is shown."""
        files: PairFiles | None = None
        try:
            files = read_pair(chosen)
            reasons = _objections(tls, held.files, files, str(chosen.certificate))
        except CertificateError as error:
            reasons = [str(error)]
        if files is None or reasons:
            self._refuse(tls, held, (chosen, stamp), reasons)
            return
        self._well_again(held)
        held.source, held.stamp = chosen, stamp
        if files != held.files:
            held.files, held.in_memory = files, _InMemory(files)
            log.info("certificate %s was read again for %s", chosen.certificate, tls.owner)

    def _refuse(self, tls: ServerTls, held: "_Held", refused: "_State", reasons: Sequence[str]) -> None:
        if held.refused == refused:
            return
        held.refused = refused
        words = "; ".join(dict.fromkeys(reasons[:_REASONS]))
        source = refused[0].certificate
        text = f"{source} was not taken for {tls.owner}: {words}; the certificate read before stays in use"
        log.error("%s", text)
        self._on_refused(refused[0], text)

    def _well_again(self, held: "_Held") -> None:
        if held.refused is not None:
            self._on_refused(held.refused[0], "")
            held.refused = None


def _objections(tls: ServerTls, old: PairFiles, new: PairFiles, source: str) -> list[str]:
    """Why a pair should not be shown in place of another. Raises CertificateError."""
    after = read_chain(new.certificate, source)
    reasons = [problem] if (problem := check_key(new.key, after.ders[0])) else []
    if new.certificate == old.certificate:
        return reasons
    try:
        before = read_chain(old.certificate)
    except CertificateError:
        return reasons  # anything is better
    return reasons + change_problems(before, after, pin=tls.pin, now=time.time(), as_client=True)


class _InMemory:
    """A pair in files that only this process sees, as OpenSSL wants files; they last as long as this object."""

    def __init__(self, files: PairFiles) -> None:
        self._descriptors = [_written(files.certificate), _written(files.key)]
        certificate, key = (Path(f"/proc/self/fd/{one}") for one in self._descriptors)
        self.pair = CertificatePair(certificate, key)

    def __del__(self) -> None:
        for one in self._descriptors:
            os.close(one)


def _written(data: bytes) -> int:
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor


class _Held:
    """What one connector shows.

    Attributes:
        source, stamp: whence it is, and the state of those files.
        refused: what lies on the disk instead and is not taken, None for nothing.
    """

    def __init__(self, source: CertificatePair, stamp: tuple[int, ...], files: PairFiles) -> None:
        self.source, self.stamp, self.files = source, stamp, files
        self.in_memory = _InMemory(files)
        self.refused: _State | None = None
