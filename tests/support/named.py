# SPDX-License-Identifier: MIT
"""A real primary name server (BIND) for one zone, which takes dynamic updates signed with a key."""

import base64
import os
import secrets
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.message
import dns.query
import dns.rcode

from support.ports import free_port, wait_until
from support.programs import end


class Named:
    """A context manager. `add` before it starts.

    Args:
        zone: "contoso.test".
        records: lines of the zone file besides SOA and NS.
    """

    key_name = "acme-key"

    def __init__(self, directory: Path, zone: str, *records: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.zone = directory, zone
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()
        (directory / "zone").write_text(
            f"$TTL 1\n@ IN SOA ns.{zone}. root.{zone}. 1 60 60 600 1\n@ IN NS ns.{zone}.\nns IN A 127.0.0.1\n"
            + "".join(f"{one}\n" for one in records)
        )
        (directory / "named.conf").write_text(
            f'key "{self.key_name}" {{ algorithm hmac-sha256; secret "{self.secret}"; }};\n'
            f'options {{ directory "{directory}"; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};'
            f' recursion no; pid-file none; session-keyfile none; managed-keys-directory "{directory}"; }};\n'
            "controls { };\n"
            f'zone "{zone}" {{ type primary; file "{directory}/zone"; allow-update {{ key "{self.key_name}"; }}; }};\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        log = (self.directory / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                ["/usr/sbin/named", "-g", "-c", str(self.directory / "named.conf"), "-n", "1"], stdout=log, stderr=log,
                env={**os.environ},
            )  # fmt: skip
        wait_until(self._answers, 20, lambda: (self.directory / "log").read_text())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process, 10)

    def _answers(self) -> bool:
        try:
            question = dns.message.make_query(self.zone, "SOA")
            return dns.query.udp(question, "127.0.0.1", 1, self.port).rcode() == dns.rcode.NOERROR
        except OSError:
            return False
        except dns.exception.Timeout:
            return False

    def texts(self, name: str) -> set[str]:
        """TXT records of a name."""
        answer = dns.query.udp(dns.message.make_query(name, "TXT"), "127.0.0.1", 5, self.port)
        return {b"".join(one.strings).decode() for rrset in answer.answer for one in rrset}
