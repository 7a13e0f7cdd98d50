# SPDX-License-Identifier: MIT
"""Keeps the certificates of [[acme.certificates]] young: one order at a time, in a thread.

A new one goes live only after the check that `certificate bind` makes. What the authority gave and the check refused is
kept and checked again, since authorities count orders.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bridgehead.admin.faults import FAILED, NOT_FOUND, AdminFault
from bridgehead.admin.tls.certificate_binding import CertificateDesk, bind_candidate
from bridgehead.admin.tls.certificate_check import read_candidate
from bridgehead.admin.tls.certificate_views import RenewalView
from bridgehead.mail.limits import ACME_STEPS
from bridgehead.net.acme.client import AcmeAuthority, AcmeFailed, AcmeOrder, obtain
from bridgehead.net.acme.dns_update import DnsAccess, DnsResponder
from bridgehead.net.acme.responders import HttpResponder, Listener, Responder, TlsAlpnResponder, bind
from bridgehead.net.acme.settings import AcmeCertificate, AcmeChallenge, AcmeSettings
from bridgehead.net.certificates.chain import ChainFacts, read_chain, read_chain_file
from bridgehead.net.certificates.folder import CertificateFolder, folder_name
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.durable_files import replace_file
from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.net.secrets import read_secret
from bridgehead.server.tls.pending_certificates import PendingCertificates
from bridgehead.server.tls.renewal_times import delay_after, jitter, renewal_time
from bridgehead.tracking.alarms import Severity

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")

FOLDER: Final = "acme"
"""Below the data directory: accounts, state, what was fetched and not taken."""
LOOK_SECONDS: Final = 60.0
_URGENT_SECONDS: Final = 7 * 86400.0

Result = TypeVar("Result")


class _Progress(msgspec.Struct):
    """One certificate. `failures`, `next_at` survive a restart."""

    state: str = "never"
    steps: list[str] = []
    reason: str = ""
    began_at: float = 0.0
    next_at: float = 0.0
    failures: int = 0


class AcmeKeeper:
    """Implements `admin.tls.certificate_binding.Renewals`.

    Args:
        desk: checks and binds.
        sockets: bound before privileges were dropped, by binding.
    """

    def __init__(
        self, application: "Application", desk: CertificateDesk, sockets: dict[Binding, socket.socket] | None = None
    ) -> None:  # fmt: skip
        self._application, self._desk = application, desk
        self._sockets = sockets or {}
        self._folder = application.loaded.within(FOLDER)
        self._pending = PendingCertificates(self._folder)
        self._state_file = self._folder / "renewals.json"
        self._progress: dict[str, _Progress] = _read_state(self._state_file)
        self._stopped = threading.Event()
        self._one_at_a_time = asyncio.Lock()
        self._loop_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- for operators ----------------------------------------------------------------------------------------------

    def views(self) -> list[RenewalView]:
        """Each that is configured."""
        return [self._view(one) for one in self._settings.certificates]

    def cared_for(self) -> list[str]:
        """Files of certificates whose last renewal did not fail."""
        folder = CertificateFolder(self._application.loaded.data_directory)
        return [
            str(folder.pair(folder_name(one.name)).certificate)
            for one in self._settings.certificates
            if not self._of(one).failures
        ]

    def start(self, name: str) -> RenewalView:
        """Renew now. Raises AdminFault."""
        wanted = next((one for one in self._settings.certificates if one.name.lower() == name.lower()), None)
        if wanted is None:
            names = ", ".join(one.name for one in self._settings.certificates) or "none"
            raise AdminFault(NOT_FOUND, f"[[acme.certificates]] has none named {name}", f"there are: {names}")
        if self._stopped.is_set():
            raise AdminFault(FAILED, "the server stops", "")
        if self._of(wanted).state != "running":
            self._begin(wanted)
        return self._view(wanted)

    # --- by itself --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Begin to look after certificates."""
        self._loop_task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Give up what is under way, which a thread notices within a moment, and close the sockets."""
        self._stopped.set()
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for bound in self._sockets.values():
            bound.close()

    @property
    def _settings(self) -> AcmeSettings:
        return self._application.loaded.configuration.acme

    async def _loop(self) -> None:
        while True:
            for one in self._settings.certificates:
                try:
                    due = await asyncio.to_thread(self._is_due, one)
                    if due and self._of(one).state != "running":
                        self._begin(one)
                except Exception:
                    log.exception("renewal of %s", one.name)
            await asyncio.sleep(LOOK_SECONDS)

    def _is_due(self, wanted: AcmeCertificate) -> bool:
        """Whether to order now. Blocks for the disk."""
        now = self._application.clock.now()
        progress = self._of(wanted)
        if now < progress.next_at and progress.failures:
            return False
        facts = self._current(wanted)
        if facts is None or set(facts.leaf.names) != set(wanted.all_names):
            return True
        due_at = renewal_time(facts, self._settings.renew_before.total_seconds())
        if not progress.failures:
            progress.next_at = due_at
        return now >= due_at

    def _current(self, wanted: AcmeCertificate) -> ChainFacts | None:
        folder = CertificateFolder(self._application.loaded.data_directory)
        try:
            return read_chain_file(folder.pair(folder_name(wanted.name)).certificate)
        except CertificateError:
            return None

    def _begin(self, wanted: AcmeCertificate) -> None:
        progress = self._of(wanted)
        progress.state, progress.steps, progress.reason = "running", [], ""
        progress.began_at = self._application.clock.now()
        task = asyncio.get_running_loop().create_task(self._renew(wanted, progress))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self, wanted: AcmeCertificate, progress: _Progress) -> None:
        """One attempt, with what follows from its end."""

        def say(text: str) -> None:
            if len(progress.steps) < ACME_STEPS:
                progress.steps.append(text)

        try:
            async with self._one_at_a_time:
                await self._attempt(wanted, say)
        except AcmeFailed as error:
            self._failed(wanted, progress, error.reason, error.remedy, error.retry_after)
        except AdminFault as fault:
            self._failed(wanted, progress, f"the new certificate was not taken: {fault.message}", fault.remedy, 0.0)
        except asyncio.CancelledError:
            progress.state, progress.reason = "failed", "the server stopped"
            raise
        except Exception as error:
            log.exception("renewal of %s", wanted.name)
            self._failed(wanted, progress, f"{type(error).__name__}: {error}", "see the log", 0.0)
        else:
            progress.state, progress.failures, progress.next_at = "done", 0, 0.0
            self._application.alarms.clear(_alarm_id(wanted))
            await asyncio.to_thread(self._is_due, wanted)
            log.info("ACME: %s is renewed", wanted.name)
        await asyncio.to_thread(_write_state, self._state_file, self._progress)

    async def _attempt(self, wanted: AcmeCertificate, say: Callable[[str], None]) -> None:
        """Raises AcmeFailed, AdminFault."""
        name = folder_name(wanted.name)
        kept = await asyncio.to_thread(self._pending.read, name)
        if kept is None or not self._is_good(kept[0], wanted):
            settings = self._settings
            seconds = settings.timeout.total_seconds()
            kept = await _in_thread(lambda: self._obtain(wanted, settings, seconds, say))
            await asyncio.to_thread(self._pending.keep, name, *kept)
        else:
            say("the certificate that was fetched before is checked again")
        candidate = await asyncio.to_thread(read_candidate, *kept, name)
        bound = await bind_candidate(self._desk, candidate, force=False)
        for finding in bound.check.findings:
            say(f"{finding.verdict.value}: {finding.subject}: {finding.sentence}")
        await asyncio.to_thread(self._pending.forget, name)
        say(f"in force: SHA-256 {bound.fingerprint}")

    def _is_good(self, chain: bytes, wanted: AcmeCertificate) -> bool:
        """Whether what was fetched before is still worth anything."""
        try:
            facts = read_chain(chain)
        except CertificateError:
            return False
        due_at = renewal_time(facts, self._settings.renew_before.total_seconds())
        return set(facts.leaf.names) == set(wanted.all_names) and self._application.clock.now() < due_at

    def _obtain(
        self, wanted: AcmeCertificate, settings: AcmeSettings, seconds: float, say: Callable[[str], None]
    ) -> tuple[bytes, bytes]:  # fmt: skip
        """In the thread. Raises AcmeFailed."""
        challenge = wanted.challenge or settings.challenge
        loaded = self._application.loaded
        try:
            secret = settings.external_account_secret
            authority = AcmeAuthority(
                directory_url=settings.directory_url,
                account_folder=self._account_folder(settings.directory_url),
                contact=settings.contact,
                terms_agreed=settings.terms_of_service_agreed,
                ca_file=str(loaded.within(settings.ca_file)) if settings.ca_file else "",
                external_key_id=settings.external_account_key_id,
                external_secret=read_secret(secret, loaded.data_directory) if secret else None,
            )
            responder = self._responder(challenge, settings)
        except (OSError, ValueError) as error:
            raise AcmeFailed(str(error), "see [acme]") from None
        order = AcmeOrder(
            names=wanted.all_names, challenge=challenge, key_type=settings.key_type, seconds=seconds, say=say,
            stopped=self._stopped,
        )  # fmt: skip
        return obtain(authority, order, responder)

    def _account_folder(self, directory_url: str) -> Path:
        """One for each authority. Raises OSError."""
        for folder in (self._folder, self._folder / "accounts"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / "accounts" / account_name(directory_url)

    def _responder(self, challenge: AcmeChallenge, settings: AcmeSettings) -> Responder:
        """Raises ValueError."""
        if challenge is AcmeChallenge.DNS_01:
            secret = settings.dns_key_secret
            return DnsResponder(
                DnsAccess(
                    server=settings.dns_server,
                    zone=settings.dns_zone,
                    key_name=settings.dns_key_name,
                    key_algorithm=settings.dns_key_algorithm,
                    key_secret=read_secret(secret, self._application.loaded.data_directory) if secret else None,
                    secondaries=settings.dns_secondaries,
                    propagation_seconds=settings.dns_propagation_timeout.total_seconds(),
                ),
                self._stopped.is_set,
            )
        alpn = challenge is AcmeChallenge.TLS_ALPN_01
        binding = parse_binding(settings.tls_alpn_binding if alpn else settings.http_binding)
        listener = Listener(binding, self._sockets.get(binding))
        return TlsAlpnResponder(listener) if alpn else HttpResponder(listener)

    def _failed(
        self, wanted: AcmeCertificate, progress: _Progress, reason: str, remedy: str, retry_after: float
    ) -> None:  # fmt: skip
        """Back off, and say so."""
        now = self._application.clock.now()
        progress.state, progress.reason = "failed", reason
        progress.failures += 1
        progress.next_at = now + max(retry_after, delay_after(progress.failures, jitter()))
        facts = self._current(wanted)
        urgent = facts is None or facts.leaf.not_after - now < _URGENT_SECONDS
        until = f"; the one in use ends {_moment(facts.leaf.not_after)}" if facts else "; there is none yet"
        self._application.alarms.raise_(
            _alarm_id(wanted), Severity.CRITICAL if urgent else Severity.WARNING,
            f"certificate {wanted.name} could not be renewed: {reason}{until}",
            f"{remedy + '; then: ' if remedy else ''}bridgehead certificate renew {wanted.name}",
        )  # fmt: skip
        log.error("ACME: %s could not be renewed: %s", wanted.name, reason)

    def _of(self, wanted: AcmeCertificate) -> _Progress:
        return self._progress.setdefault(wanted.name.lower(), _Progress())

    def _view(self, wanted: AcmeCertificate) -> RenewalView:
        progress = self._of(wanted)
        return RenewalView(
            name=wanted.name,
            names=wanted.all_names,
            challenge=(wanted.challenge or self._settings.challenge).value,
            state=progress.state,
            steps=list(progress.steps),
            reason=progress.reason,
            began_at=_time(progress.began_at),
            next_at=_time(progress.next_at),
            failures=progress.failures,
        )


def bind_early(settings: AcmeSettings) -> dict[Binding, socket.socket]:
    """The ports of challenges that are in use, bound while ports below 1024 may still be had. Raises OSError."""
    wanted = {one.challenge or settings.challenge for one in settings.certificates}
    texts = {AcmeChallenge.HTTP_01: settings.http_binding, AcmeChallenge.TLS_ALPN_01: settings.tls_alpn_binding}
    bindings = [parse_binding(texts[one]) for one in wanted if one in texts]
    return {binding: bind(binding) for binding in bindings}


def account_name(directory_url: str) -> str:
    """The folder of an account: one for each authority."""
    kept = "".join(one if one.isalnum() or one in ".-" else "_" for one in directory_url.partition("://")[2])
    return kept[:100] or "_"


async def _in_thread(work: Callable[[], Result]) -> Result:
    """A thread of its own that does not hold up the end of the process, however long an authority takes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the server has stopped meanwhile

    threading.Thread(target=run, name="acme", daemon=True).start()
    return await future


def _alarm_id(wanted: AcmeCertificate) -> str:
    return f"acme/{wanted.name}"


def _time(moment: float) -> datetime | None:
    return datetime.fromtimestamp(moment, UTC) if moment else None


def _moment(value: float) -> str:
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"


def _read_state(file: Path) -> dict[str, _Progress]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, _Progress])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write_state(file: Path, progress: dict[str, _Progress]) -> None:
    """Only what a restart needs: that it backed off."""
    kept = {
        name: _Progress(state=one.state, reason=one.reason, next_at=one.next_at, failures=one.failures)
        for name, one in progress.items()
        if one.state != "running"
    }
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, msgspec.json.encode(kept), durable=False)
    except OSError as error:
        log.error("%s cannot be written: %s", file, error)
