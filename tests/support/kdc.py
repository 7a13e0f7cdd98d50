# SPDX-License-Identifier: MIT
"""A real Kerberos server (MIT) for two realms that trust one another, and tickets of its principals."""

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import answers, free_port, wait_until
from support.programs import end, program

REALM, FOREIGN = "CONTOSO.TEST", "FABRIKAM.TEST"
PASSWORD = "pencil"


class Kdc:
    """A context manager: while it lasts, KRB5_CONFIG names its configuration.

    Attributes:
        keytab: of the services added with `service`.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory, self.keytab = directory, directory / "smtp.keytab"
        port = self._port = free_port()
        self.config = self.write_config("krb5.conf")
        realms = "".join(
            f" {realm} = {{\n  database_name = {directory}/{realm}\n  key_stash_file = {directory}/{realm}.stash\n }}\n"
            for realm in (REALM, FOREIGN)
        )
        (directory / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n{realms}"
        )
        self._environment = {
            **os.environ, "KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
        }  # fmt: skip
        for realm in (REALM, FOREIGN):
            self._run("kdb5_util", "-r", realm, "create", "-s", "-P", "master")
            self.add(f"krbtgt/{REALM}@{FOREIGN}", realm=realm)
        self._process: subprocess.Popen[bytes] | None = None
        self._former = os.environ.get("KRB5_CONFIG")

    def write_config(self, name: str, clock_skew: int = 300) -> Path:
        """A krb5.conf. `clock_skew`: by how many seconds clocks may differ."""
        file = self.directory / name
        realms = "".join(f" {realm} = {{\n  kdc = 127.0.0.1:{self._port}\n }}\n" for realm in (REALM, FOREIGN))
        file.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"
            f" dns_canonicalize_hostname = false\n udp_preference_limit = 1\n clockskew = {clock_skew}\n[realms]\n{realms}"
        )
        return file

    def __enter__(self) -> Self:
        command = [program("krb5kdc"), "-n", "-r", REALM, "-r", FOREIGN, "-P", str(self.directory / "pid")]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        wait_until(lambda: answers(self._port), 20, lambda: (self.directory / "log").read_text())
        os.environ["KRB5_CONFIG"] = str(self.config)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._former is None:
            os.environ.pop("KRB5_CONFIG", None)
        else:
            os.environ["KRB5_CONFIG"] = self._former
        assert self._process is not None
        end(self._process)

    def add(self, principal: str, password: str = PASSWORD, realm: str = REALM) -> None:
        """A principal with a password."""
        self._kadmin(realm, f"addprinc -pw {password} {principal}")

    def service(self, principal: str, keytab: Path | None = None) -> None:
        """A service with a random key, which is exported; again: with a new key."""
        known = subprocess.run(
            [program("kadmin.local"), "-r", REALM, "-q", f"getprinc {principal}"], env=self._environment,
            capture_output=True, check=True,
        )  # fmt: skip
        if principal.encode() not in known.stdout:
            self._kadmin(REALM, f"addprinc -randkey {principal}")
        self._kadmin(REALM, f"ktadd -k {keytab or self.keytab} {principal}")

    def log_in(self, principal: str, lifetime: str = "1h") -> Path:
        """A cache with the ticket of a principal for getting tickets."""
        cache = self.directory / f"cache-{len(list(self.directory.glob('cache-*')))}"
        self._run("kinit", "-c", f"FILE:{cache}", "-l", lifetime, principal, data=f"{PASSWORD}\n")
        return cache

    def _kadmin(self, realm: str, query: str) -> None:
        self._run("kadmin.local", "-r", realm, "-q", query)

    def _run(self, name: str, *arguments: str, data: str = "") -> None:
        done = subprocess.run(
            [program(name), *arguments], input=data.encode(), env=self._environment, capture_output=True, check=False
        )
        assert done.returncode == 0, (name, arguments, done.stderr.decode(), done.stdout.decode())


def set_clock_ahead(cache: Path, seconds: int) -> None:
    """Let the client of a cache believe that its KDC's clock is ahead by this: the cache's header says so."""
    data = bytearray(cache.read_bytes())
    assert data[:2] == b"\5\4"
    assert data[4:8] == b"\0\1\0\x08", "the header begins with the offset of time"
    data[8:12] = seconds.to_bytes(4, "big", signed=True)
    cache.write_bytes(data)
