# SPDX-License-Identifier: MIT
"""The jobs: what is done to a server and which figures come of it."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from meter import MemoryPeak, busy_seconds, disk_flushes
from servers import Server, Sink, TlsSink

Figures = dict[str, Any]
HERE = Path(__file__).parent


class Job(NamedTuple):
    """One job.

    Attributes:
        kind: relay: until everything is in the sink; accept: nobody listens at the next hop; latency: open loop;
            deep: fill, restart, drain.
        sessions: at a time. lasting: each takes many messages; else a session for each message.
        rate: messages a second, latency only.
    """

    kind: str
    messages: int
    size: int
    sessions: int
    lasting: bool
    rate: int = 0
    tls: str = ""
    """"12" or "13" for STARTTLS on both sides; then `resumed` says whether sessions are taken up again."""
    resumed: bool = False


JOBS = {
    "relay-sM-4k": Job("relay", 8000, 4096, 20, True),
    "relay-s1-4k": Job("relay", 6000, 4096, 20, False),
    "accept-4k": Job("accept", 8000, 4096, 20, True),
    "accept-64k": Job("accept", 2000, 65536, 20, True),
    "latency-200": Job("latency", 3000, 4096, 100, False, 200),
    "deep-4k": Job("deep", 100_000, 4096, 50, True),
    "handshake-13-full": Job("handshake", 6000, 0, 20, False, tls="13"),
    "handshake-13-resumed": Job("handshake", 6000, 0, 20, False, tls="13", resumed=True),
    "handshake-12-full": Job("handshake", 6000, 0, 20, False, tls="12"),
    "handshake-12-resumed": Job("handshake", 6000, 0, 20, False, tls="12", resumed=True),
    "relay-tls-sM-4k": Job("relay-tls", 8000, 4096, 20, True, tls="13", resumed=True),
    "relay-tls-s1-4k": Job("relay-tls", 4000, 4096, 20, False, tls="13", resumed=True),
    "relay-tls-s1-full-4k": Job("relay-tls", 4000, 4096, 20, False, tls="13"),
}
LISTENING = ("relay", "latency", "relay-tls")
"""Kinds of jobs whose sink listens from the start."""
SYNC_CALLS = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs")
STALL_SECONDS = 60.0
"""Without one more message in the sink for so long, a delivery is given up."""


class Incomplete(RuntimeError):
    """Not every message went through."""


def generator(folder: Path) -> Path:
    """The open-loop generator, compiled."""
    program = folder / "load"
    if not program.exists():
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "load.c"), "-lpthread"], check=True)
    return program


def tls_program(folder: Path) -> Path:
    """Load and sink over TLS, compiled."""
    program = folder / "tls"
    if not program.exists():
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O2", "-o", str(program), str(HERE / "tls.c"), "-lssl", "-lcrypto", "-lpthread"]
        subprocess.run(command, check=True)
    return program


def make_pair(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate with a P-256 key, as both servers and the sink show it."""
    certificate, key = folder / "pair.crt", folder / "pair.key"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=mx.bench.test"
    )
    command += " -addext subjectAltName=DNS:mx.bench.test"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def send_tls(program: Path, port: int, job: Job, messages: int) -> float:
    """Send over STARTTLS; the seconds it took. Raises Incomplete when a session failed, or was not taken up again."""
    each = messages // job.sessions if job.lasting else min(messages, 1) if job.size else 0
    sessions = job.sessions if job.lasting else messages
    command = [program, "load", port, sessions, each, job.size, job.sessions, job.tls]
    command += ["resumed" if job.resumed else "full"]
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, timeout=900)
    result = json.loads(done.stdout or b"{}")
    if done.returncode:
        raise Incomplete(f"{result.get('failed')} of {sessions} sessions failed")
    if job.resumed and not job.lasting and result["resumed"] < (sessions - job.sessions) * 0.25:
        raise Incomplete(f"only {result['resumed']} of {sessions} sessions were taken up again")
    return float(result["seconds"])


def send(port: int, job: Job, messages: int) -> float:
    """Send with smtp-source; the seconds it took. Raises Incomplete when the server refused one."""
    lasting = ["-d"] if job.lasting else []
    command = ["/usr/sbin/smtp-source", *lasting, "-s", str(job.sessions), "-m", str(messages), "-l", str(job.size)]
    command += ["-f", "sender@load.test", "-t", "user@sink.test", f"127.0.0.1:{port}"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False, timeout=900)
    if done.returncode:
        raise Incomplete(f"smtp-source: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return time.monotonic() - began


def wait_for(sink: Sink, wanted: int) -> None:
    """Return when so many messages are in the sink. Raises Incomplete when they stop coming."""
    last, since = -1, time.monotonic()
    while (count := sink.count()) < wanted:
        if count != last:
            last, since = count, time.monotonic()
        elif time.monotonic() - since > STALL_SECONDS:
            raise Incomplete(f"{count} of {wanted} messages reached the sink")
        time.sleep(0.005)


@contextlib.contextmanager
def stage(
    kind: type[Server], base: Path | None, *, sink_listens: bool, keep: bool, job: Job | None = None
) -> Iterator[tuple[Server, Sink]]:
    """A fresh server, not started, and its sink. All is gone afterwards unless `keep`."""
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{kind.name}-", dir=base))
    folder.chmod(0o755)
    pair = make_pair(folder) if job is not None and job.tls else None
    sink = TlsSink(folder, tls_program(folder), pair, resume=job.resumed) if job is not None and pair else Sink(folder)
    server = kind(folder / "server", sink.port, pair)
    try:
        if sink_listens:
            sink.start()
        yield server, sink
    finally:
        server.close()
        sink.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class Spent:
    """What a server spends during a block, for so many messages."""

    def __init__(self, server: Server, messages: int) -> None:
        self._server, self._messages = server, messages
        self._peak = MemoryPeak(server.group)
        self.figures: Figures = {}

    def __enter__(self) -> "Spent":
        self._cpu, self._flushes = self._server.group.cpu_seconds(), disk_flushes(self._server.folder)
        self._began, self._busy = time.monotonic(), busy_seconds()
        own = os.times()
        self._own = own.user + own.system + own.children_user + own.children_system
        self._peak.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._peak.__exit__()
        cpu = self._server.group.cpu_seconds() - self._cpu
        flushes, seconds = disk_flushes(self._server.folder), time.monotonic() - self._began
        own = os.times()
        harness = own.user + own.system + own.children_user + own.children_system - self._own
        self.figures = {
            "cpu_per_1000": round(cpu * 1000 / self._messages, 4),
            "load_cpu_per_1000": round(harness * 1000 / self._messages, 4),
            "resident_mib": round(self._peak.peak.resident / 1024, 1),
            "proportional_mib": round(self._peak.peak.proportional / 1024, 1),
            # sink and other users of the machine together
            "other_cpu": round((busy_seconds() - self._busy - cpu - harness) / seconds, 2),
        }
        if flushes is not None and self._flushes is not None:
            self.figures["flushes_per_message"] = round((flushes - self._flushes) / self._messages, 3)


def syncs(kind: type[Server], name: str, scale: float, base: Path | None) -> Figures:
    """Calls that sync files to the disk, a message, counted by strace; rates under it mean nothing."""
    job = JOBS[name]
    messages = max(100, int(job.messages * scale))
    with stage(kind, base, sink_listens=job.kind == "relay", keep=False) as (server, sink):
        summary = server.folder / "syncs"
        server.tracer = ["strace", "-D", "-f", "-c", "-o", str(summary), "-e", f"trace={','.join(SYNC_CALLS)}"]
        server.start()
        send(server.port, job, messages)
        if job.kind == "relay":
            wait_for(sink, messages)
        server.stop()
        lines = [line.split() for line in summary.read_text().splitlines()]
    counts = {words[-1]: int(words[3]) for words in lines if words and words[-1] in SYNC_CALLS}
    return {"server": kind.name, "job": name, "messages": messages, **counts,
            "syncs_per_message": round(sum(counts.values()) / messages, 3)}  # fmt: skip


def relay(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """From the first connection until the last message is in the sink."""
    server.start()
    send(server.port, job, 200)
    wait_for(sink, 200)
    with Spent(server, messages) as spent:
        began = time.monotonic()
        sending = send(server.port, job, messages)
        wait_for(sink, 200 + messages)
        seconds = time.monotonic() - began
    return {"delivered_per_s": messages / seconds, "accepted_per_s": messages / sending, **spent.figures}


def accept(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """Until the last message is accepted; the next hop refuses connections."""
    server.start()
    send(server.port, job, 200)
    with Spent(server, messages) as spent:
        seconds = send(server.port, job, messages)
    if sink.process is not None:
        raise Incomplete("somebody listens at the next hop")
    return {"accepted_per_s": messages / seconds, **spent.figures}


def latency(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """At a steady rate, well below what the server can do."""
    server.start()
    send(server.port, job, 200)
    wait_for(sink, 200)
    program = generator(server.folder)
    with Spent(server, messages) as spent:
        command = [program, server.port, messages, job.rate, job.size, job.sessions]
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False, timeout=900)
        result = json.loads(done.stdout)
        wait_for(sink, 200 + messages - result["failed"])
    if result["failed"]:
        raise Incomplete(f"{result['failed']} of {messages} messages were refused")
    times = {
        f"{short}_{share}_ms": result[name][share]
        for short, name in (("transaction", "transaction_ms"), ("total", "total_ms"))
        for share in ("p50", "p99", "max")
    }
    return {**times, **spent.figures}


def deep(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """Fill while the next hop refuses; stop; start; let the next hop listen; drain."""
    server.start()
    tenth = messages // 10
    with Spent(server, messages) as spent:
        rates = [round(tenth / send(server.port, job, tenth), 1) for _ in range(10)]
    full = server.group.memory()
    server.stop()
    restart = server.start()
    sink.start()
    began = time.monotonic()
    server.flush()
    with MemoryPeak(server.group) as draining:
        wait_for(sink, 1)
        first = time.monotonic()
        wait_for(sink, messages)
    return {
        "accepted_per_s": tenth * 10 / sum(tenth / rate for rate in rates),
        "first_tenth_per_s": rates[0],
        "last_tenth_per_s": rates[-1],
        "last_to_first": round(rates[-1] / rates[0], 3),
        "tenths_per_s": rates,
        "full_resident_mib": round(full.resident / 1024, 1),
        "full_proportional_mib": round(full.proportional / 1024, 1),
        "restart_s": round(restart, 3),
        "drain_wait_s": round(first - began, 2),
        "drained_per_s": messages / (time.monotonic() - first),
        "drain_resident_mib": round(draining.peak.resident / 1024, 1),
        **spent.figures,
    }


def handshake(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """Sessions with nothing in them but STARTTLS."""
    program = tls_program(server.folder.parent)
    server.start()
    send_tls(program, server.port, job, 200)
    with Spent(server, messages) as spent:
        seconds = send_tls(program, server.port, job, messages)
    if sink.process is not None:
        raise Incomplete("somebody listens at the next hop")
    return {"handshakes_per_s": messages / seconds, **spent.figures}


def relay_tls(server: Server, sink: Sink, job: Job, messages: int) -> Figures:
    """As `relay`, over STARTTLS in and out."""
    program = tls_program(server.folder.parent)
    server.start()
    send_tls(program, server.port, job, 200)
    wait_for(sink, 200)
    messages = messages // job.sessions * job.sessions
    with Spent(server, messages) as spent:
        began = time.monotonic()
        sending = send_tls(program, server.port, job, messages)
        wait_for(sink, 200 + messages)
        seconds = time.monotonic() - began
    return {"delivered_per_s": messages / seconds, "accepted_per_s": messages / sending, **spent.figures}


KINDS = {
    "handshake": handshake,
    "relay-tls": relay_tls,
    "relay": relay,
    "accept": accept,
    "latency": latency,
    "deep": deep,
}


def run(kind: type[Server], name: str, scale: float = 1.0, base: Path | None = None, *, keep: bool = False) -> Figures:
    """Do one job with one server. A server that cannot do it gives {"error": why}."""
    job = JOBS[name]
    messages = max(100, int(job.messages * scale) // 10 * 10)
    os.sync()
    figures: Figures = {"server": kind.name, "job": name, "messages": messages}
    try:
        with stage(kind, base, sink_listens=job.kind in LISTENING, keep=keep, job=job) as (server, sink):
            found = KINDS[job.kind](server, sink, job, messages)
        figures |= {key: round(value, 1) if key.endswith("_per_s") else value for key, value in found.items()
                    if not isinstance(value, list)}  # fmt: skip
        figures |= {key: value for key, value in found.items() if isinstance(value, list)}
    except (Incomplete, RuntimeError, OSError, subprocess.SubprocessError, ValueError) as error:
        figures["error"] = f"{type(error).__name__}: {error}"
    return figures
