# SPDX-License-Identifier: MIT
"""A private Postfix: own configuration, queue and data folders, loopback ports; as next hop and as client.

Only Debian's package is used, none of its state. Master needs root, like Postfix itself.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from support.certificates import Pair
from support.ports import free_port, greets, wait_until
from support.programs import end, program

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_QUEUES = [
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
    "public",
    "maildrop",
]


class Postfix:
    """One instance; a context manager.

    Args:
        relay_port: smart host on 127.0.0.1 for everything that `mailboxes` does not hold; 0 for none.
        mailboxes: addresses delivered to Maildir folders of its own (`messages`).
        pair: certificate with which STARTTLS is offered.
        settings: further lines of main.cf.
    """

    def __init__(
        self, *, relay_port: int = 0, mailboxes: tuple[str, ...] = (), pair: Pair | None = None, settings: str = ""
    ) -> None:
        self.port = free_port()
        # in a folder of its own: the service user must get there, which pytest's folders do not let it
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare(relay_port, mailboxes, pair, settings)

    def _prepare(self, relay_port: int, mailboxes: tuple[str, ...], pair: Pair | None, settings: str) -> None:
        base, user = self.directory, pwd.getpwnam("postfix")
        for name in ("conf", "queue", "data", "log", "mail"):
            (base / name).mkdir()
        for name in _QUEUES:
            folder = base / "queue" / name
            folder.mkdir()
            os.chown(folder, user.pw_uid, -1)
            folder.chmod(0o710 if name == "public" else 0o700)
        (base / "queue/pid").mkdir()
        for name in ("data", "mail"):
            os.chown(base / name, user.pw_uid, user.pw_gid)
        (base / "conf/mailboxes").write_text("".join(f"{one} {one}/\n" for one in mailboxes))
        domains = sorted({one.partition("@")[2] for one in mailboxes})
        lines = [
            "compatibility_level = 3.6",
            f"queue_directory = {base}/queue",
            f"data_directory = {base}/data",
            f"maillog_file = {base}/log/maillog",
            f"maillog_file_prefixes = {base}",
            "myhostname = postfix.test",
            "mydestination =",
            "mynetworks = 127.0.0.0/8",
            "inet_interfaces = 127.0.0.1",
            "inet_protocols = ipv4",
            "alias_maps =",
            "alias_database =",
            f"virtual_mailbox_domains = {' '.join(domains)}",
            f"virtual_mailbox_maps = texthash:{base}/conf/mailboxes",
            f"virtual_mailbox_base = {base}/mail",
            f"virtual_uid_maps = static:{user.pw_uid}",
            f"virtual_gid_maps = static:{user.pw_gid}",
            "virtual_mailbox_limit = 0",
            f"relayhost = {f'[127.0.0.1]:{relay_port}' if relay_port else ''}",
            "disable_dns_lookups = yes",
            "smtp_dns_support_level = disabled",
            "smtpd_peername_lookup = no",
            "message_size_limit = 209715200",
            "smtputf8_enable = yes",
            "smtputf8_autodetect_classes = all",
            "maximal_queue_lifetime = 1h",
            "smtp_connect_timeout = 5s",
        ]
        if pair is not None:
            for source, name in ((pair.certificate, "cert.pem"), (pair.key, "key.pem")):
                shutil.copy(source, base / "conf" / name)
            lines += [
                "smtpd_tls_security_level = may",
                f"smtpd_tls_cert_file = {base}/conf/cert.pem",
                f"smtpd_tls_key_file = {base}/conf/key.pem",
                "smtpd_tls_received_header = yes",
            ]
        (base / "conf/main.cf").write_text("\n".join([*lines, settings, ""]))
        (base / "conf/master.cf").write_text(_MASTER.format(port=self.port))

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "MAIL_CONFIG": str(self.directory / "conf")}

    def __enter__(self) -> "Postfix":
        master = "/usr/lib/postfix/sbin/master"
        assert Path(master).exists(), (
            "postfix is not installed; `make install-test-packages` installs what the tests need"
        )
        with (self.directory / "log/master").open("wb") as log:
            self._process = subprocess.Popen(
                [master, "-c", str(self.directory / "conf"), "-d"],
                env=self._environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: greets(self.port), 20, lambda: f"Postfix greets; its log:\n{self.log()}")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            end(self._process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def submit(self, *options: str, data: bytes) -> None:
        """Hand a message to its sendmail command: options such as -f, -N, -V, and recipients."""
        command = [program("sendmail"), "-C", str(self.directory / "conf"), *options]
        done = subprocess.run(command, input=data, env=self._environment, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr.decode()

    def flush(self) -> None:
        """Try everything deferred now."""
        command = [program("postqueue"), "-c", str(self.directory / "conf"), "-f"]
        subprocess.run(command, env=self._environment, check=True, timeout=30)

    def messages(self, address: str) -> list[bytes]:
        """What lies in a mailbox, by age."""
        folder = self.directory / "mail" / address / "new"
        found = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns) if folder.is_dir() else []
        return [one.read_bytes() for one in found]

    def wait_for_mail(self, address: str, count: int = 1, seconds: float = 20.0) -> list[bytes]:
        """A mailbox's messages, once there are `count`."""
        wait_until(
            lambda: len(self.messages(address)) >= count,
            seconds,
            lambda: f"{count} messages for {address} in Postfix; its log:\n{self.log()}",
        )
        return self.messages(address)

    def log(self) -> str:
        """Its mail log so far."""
        parts = [self.directory / "log/master", self.directory / "log/maillog"]
        return "".join(one.read_text(errors="replace") for one in parts if one.exists())

    def wait_for_log(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        """The first match of a pattern in its log, once there is one."""
        return wait_until(
            lambda: re.search(pattern, self.log()), seconds, lambda: f"{pattern} in Postfix's log:\n{self.log()}"
        )  # type: ignore[return-value]
