# SPDX-License-Identifier: MIT
"""The servers that are measured, each started from a fresh folder on loopback ports."""

import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from meter import ProcessGroup

POSTFIX_PROGRAMS = Path("/usr/lib/postfix/sbin")


def free_port() -> int:
    """A port of 127.0.0.1 outside the range of outgoing connections."""
    while True:
        port = random.randrange(11000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for_greeting(port: int, process: "subprocess.Popen[bytes]", seconds: float = 60.0) -> float:
    """Seconds until an SMTP server greets. Raises RuntimeError when it ends or time is up."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it greeted")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.settimeout(seconds)
                if connection.recv(200).startswith(b"220"):
                    connection.sendall(b"QUIT\r\n")
                    return time.monotonic() - began
        except OSError:
            time.sleep(0.002)
    raise RuntimeError(f"no greeting on port {port} within {seconds:g} s")


class Server:
    """A server under measurement.

    Args:
        folder: its own, empty.
        next_hop: port of the smart host for everything; nobody may listen there.
        tls: certificate and key; with them STARTTLS is offered, and asked of the next hop.
    """

    name = ""

    def __init__(self, folder: Path, next_hop: int, tls: tuple[Path, Path] | None = None) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.folder, self.next_hop, self.tls = folder, next_hop, tls
        self.port = free_port()
        self.group = ProcessGroup()
        self.process: subprocess.Popen[bytes] | None = None
        self.tracer: list[str] = []
        """What the command is started under."""
        self.prepare()

    def prepare(self) -> None:
        """Write its configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def flush(self) -> None:
        """Have it try everything queued now."""
        raise NotImplementedError

    def start(self) -> float:
        """Seconds until it greets."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.tracer, *self.command()],
                env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=self.group.join,
            )  # fmt: skip
        self.group.leader = self.process.pid
        return wait_for_greeting(self.port, self.process)

    def stop(self) -> None:
        """SIGTERM, and wait for all of its processes."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.group.end()
        if self.process is not None:
            self.process.wait()

    def close(self) -> None:
        self.stop()
        self.group.close()


class Bridgehead(Server):
    """Ours with its defaults: tracking log on, every message synced before its 250."""

    name = "bridgehead"
    interpreter = sys.executable
    workers = 1

    def prepare(self) -> None:
        pair = f'[[certificates]]\ncertificate_file = "{self.tls[0]}"\nkey_file = "{self.tls[1]}"\n' if self.tls else ""
        require = "require_tls = true" if self.tls else ""
        (self.folder / "bridgehead.toml").write_text(f"""\
[server]
fqdn = "mx.bench.test"
data_directory = "{self.folder}/data"
workers = {self.workers}

[[accepted_domains]]
domain_name = "bench.test"

[[receive_connectors]]
name = "Bench"
bindings = ["127.0.0.1:{self.port}"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls", "ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]
max_inbound_connection_per_source = "unlimited"
max_inbound_connection_percentage_per_source = 100

[[send_connectors]]
name = "Sink"
address_spaces = ["*"]
smart_hosts = ["[127.0.0.1]:{self.next_hop}"]
{require}

{pair}
""")

    def command(self) -> list[str]:
        return [self.interpreter, "-m", "bridgehead", "-c", str(self.folder / "bridgehead.toml"), "run"]

    def flush(self) -> None:
        control = [*self.command()[:-1], "queue", "retry", "--all"]
        subprocess.run(control, check=True, capture_output=True, timeout=120)


class TwoWorkers(Bridgehead):
    """The same with a second process that moves mail."""

    name = "bridgehead-2"
    workers = 2


class Profiled(Bridgehead):
    """The same under cProfile; its figures are for reading, not for comparing."""

    name = "profiled"

    def command(self) -> list[str]:
        profile = ["-m", "cProfile", "-o", str(self.folder / "profile")]
        config = str(self.folder / "bridgehead.toml")
        return [self.interpreter, *profile, "-m", "bridgehead", "-c", config, "run"]


class Postfix(Server):
    """Debian's, with Debian's settings: only what makes it a private relay to the sink differs."""

    name = "postfix"

    def prepare(self) -> None:
        base, owner = self.folder, pwd.getpwnam("postfix")
        for name in ("etc", "queue", "queue/pid", "data", "log"):
            (base / name).mkdir()
        queues = "active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public"
        for name in queues.split():
            (base / "queue" / name).mkdir(mode=0o710 if name == "public" else 0o700)
            os.chown(base / "queue" / name, owner.pw_uid, -1)
        os.chown(base / "data", owner.pw_uid, -1)
        (base / "etc/main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log/mail.log
maillog_file_prefixes = {base}
myhostname = mx.bench.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{self.next_hop}
disable_dns_lookups = yes
smtpd_peername_lookup = no
{self._tls_settings()}
message_size_limit = 52428800
""")
        services = [f"127.0.0.1:{self.port} inet n - n - - smtpd", "pickup unix n - n 60 1 pickup"]
        services += ["cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr"]
        services += ["rewrite unix - - n - - trivial-rewrite", "postlog unix-dgram n - n - 1 postlogd"]
        services += [f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")]
        services += ["flush unix n - n 1000? 0 flush", "showq unix n - n - - showq"]
        services += [f"{name} unix - - n - - {name}" for name in ("proxymap", "error", "discard")]
        services += ["retry unix - - n - - error", "smtp unix - - n - - smtp", "relay unix - - n - - smtp"]
        services += [f"{name} unix - - n - 1 {name}" for name in ("verify", "anvil", "scache")]
        services += ["tlsmgr unix - - n 1000? 1 tlsmgr"]
        (base / "etc/master.cf").write_text("\n".join([*services, ""]))

    def _tls_settings(self) -> str:
        if self.tls is None:
            return "smtpd_tls_security_level = none\nsmtp_tls_security_level = none"
        return f"""\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {self.tls[1]}, {self.tls[0]}
smtpd_tls_session_cache_database = btree:{self.folder}/data/smtpd_scache
smtp_tls_security_level = encrypt
smtp_tls_session_cache_database = btree:{self.folder}/data/smtp_scache
smtp_tls_CAfile =
smtp_tls_CApath ="""

    def environment(self) -> dict[str, str]:
        return {**os.environ, "MAIL_CONFIG": str(self.folder / "etc")}

    def command(self) -> list[str]:
        return [str(POSTFIX_PROGRAMS / "master"), "-c", str(self.folder / "etc"), "-d"]

    def flush(self) -> None:
        subprocess.run(["/usr/sbin/postqueue", "-c", str(self.folder / "etc"), "-f"], check=True, timeout=120)


SERVERS: dict[str, type[Server]] = {"bridgehead": Bridgehead, "bridgehead-2": TwoWorkers, "postfix": Postfix}


class Sink:
    """smtp-sink: takes everything, counts it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._file = folder / "sink"

    def start(self) -> None:
        """Listen."""
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with self._file.open("wb") as output:
            self.process = subprocess.Popen(
                ["/usr/sbin/smtp-sink", *user, "-c", f"127.0.0.1:{self.port}", "1000"],
                stdout=output, stderr=output, cwd="/",
            )  # fmt: skip
        wait_for_greeting(self.port, self.process)

    def count(self) -> int:
        """Messages so far. smtp-sink rewrites one line of counters for ever; the last figures are at its end."""
        with self._file.open("rb") as file:
            file.seek(max(0, self._file.stat().st_size - 256))
            figures = [part.partition(b"mesg=")[2].split() for part in file.read().split(b"sess=")]
        return max((int(one[0]) for one in figures if one and one[0].isdigit()), default=0)

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


class TlsSink(Sink):
    """The same over STARTTLS (`tls.c`).

    Args:
        resume: sessions may be taken up again.
    """

    def __init__(self, folder: Path, program: Path, pair: tuple[Path, Path], *, resume: bool) -> None:
        super().__init__(folder)
        self._command = [str(word) for word in (program, "sink", self.port, *pair, "resume" if resume else "full")]

    def start(self) -> None:
        """Listen."""
        with self._file.open("wb") as output:
            self.process = subprocess.Popen(self._command, stdout=output, stderr=output, cwd="/")
        wait_for_greeting(self.port, self.process)
