# SPDX-License-Identifier: MIT
"""A private Dovecot with nothing but LMTP: every user known by a static file, mail in Maildir folders."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from support.ports import free_port, greets, wait_until
from support.programs import end, program

_CONFIGURATION = """\
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols = lmtp
ssl = no
mail_location = maildir:{base}/mail/%n
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_uid = {user}
mail_gid = {group}
auth_username_format = %Ln
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
}}
protocol lmtp {{
  mail_plugins = {plugins}
}}
{settings}
"""


class Dovecot:
    """One instance; a context manager.

    Args:
        users: names that have a mailbox; everybody else is refused with 550.
        settings: further configuration.
        plugins: mail plugins of LMTP, such as "quota".
    """

    def __init__(self, *users: str, settings: str = "", plugins: str = "") -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("run", "state", "mail"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "mail", "dovecot", "dovecot")
        (self.directory / "users").write_text("".join(f"{one}:{{PLAIN}}unused::::::\n" for one in users))
        self._configuration = self.directory / "dovecot.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                base=self.directory, port=self.port, user="dovecot", group="dovecot", settings=settings, plugins=plugins
            )
        )

    @property
    def unix_socket(self) -> Path:
        """Where it speaks LMTP besides its TCP port."""
        return self.directory / "run/lmtp"

    def __enter__(self) -> "Dovecot":
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [program("dovecot"), "-F", "-c", str(self._configuration)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=dict(os.environ),
            )  # fmt: skip
        wait_until(lambda: greets(self.port), 20, lambda: f"Dovecot greets; its log:\n{self.log()}")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            end(self._process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """What it said so far."""
        parts = [self.directory / "output", self.directory / "log"]
        return "".join(one.read_text(errors="replace") for one in parts if one.exists())

    def messages(self, user: str) -> list[bytes]:
        """What lies in a user's mailbox."""
        folder = self.directory / "mail" / user / "new"
        return [one.read_bytes() for one in sorted(folder.iterdir())] if folder.is_dir() else []

    def wait_for_mail(self, user: str, count: int = 1, seconds: float = 20.0) -> list[bytes]:
        """A mailbox's messages, once there are `count`."""
        wait_until(
            lambda: len(self.messages(user)) >= count,
            seconds,
            lambda: f"{count} messages for {user} in Dovecot; its log:\n{self.log()}",
        )
        return self.messages(user)
