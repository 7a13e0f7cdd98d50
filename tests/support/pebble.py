# SPDX-License-Identifier: MIT
"""Pebble, the ACME authority for tests (Debian package pebble)."""

import json
import os
import ssl
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from support.certificates import Authority
from support.ports import free_port, wait_until
from support.programs import end


class Pebble:
    """A context manager.

    Args:
        dns_server: "127.0.0.1:PORT", where it looks names up.
        nonce_reject: percent of good nonces that it refuses.
        valid_days: of certificates.
    """

    def __init__(
        self, directory: Path, dns_server: str, *, nonce_reject: int = 0, http_port: int = 0, tls_port: int = 0,
        bind_accounts: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.http_port, self.tls_port = http_port or free_port(), tls_port or free_port()
        self._port, self._management = free_port(), free_port()
        self._own = Authority(directory / "https", "Pebble's own HTTPS")
        pair = self._own.issue("localhost", days=2)
        self.ca_file = self._own.root
        self._dns, self._nonce_reject = dns_server, nonce_reject
        settings = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(pair.certificate),
            "privateKey": str(pair.key),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(bind_accounts),
            "externalAccountMACKeys": bind_accounts or {},
        }
        (directory / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory_url(self) -> str:
        return f"https://localhost:{self._port}/dir"

    def __enter__(self) -> Self:
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["pebble", "-config", str(self.directory / "pebble.json"), "-dnsserver", self._dns, "-strict"],
                stdout=log, stderr=log,
                env={
                    **os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(self._nonce_reject),
                    "PEBBLE_AUTHZREUSE": "0",
                },
            )  # fmt: skip
        wait_until(self._answers, 20, lambda: (self.directory / "log").read_text())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """It is gone."""
        if self._process is not None:
            end(self._process, 10)
            self._process = None

    def _answers(self) -> bool:
        try:
            self._get(f"https://localhost:{self._port}/dir")
        except OSError:
            return False
        return True

    def _get(self, url: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            data: bytes = answer.read()
            return data

    def root(self) -> bytes:
        """Its root certificate, PEM, made anew at each start."""
        return self._get(f"https://localhost:{self._management}/roots/0")
