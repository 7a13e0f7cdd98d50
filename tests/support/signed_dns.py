# SPDX-License-Identifier: MIT
"""Real DNS with DNSSEC for tests: NSD serves zones that are signed here, Unbound validates them.

    with SignedDns(tmp_path) as dns:
        dns.zone("signed.test", "@ MX 10 mx.signed.test.", "mx A 127.0.0.1", "_2525._tcp.mx TLSA 3 1 1 ab…")
        dns.zone("plain.test", "@ MX 10 mx.signed.test.", how=PLAIN)
        dns.zone("bogus.test", "@ MX 10 mx.signed.test.", how=BOGUS)
        dns.start()
        resolver = SecureResolver([dns.address], clock=SystemClock())

Each signed zone is an island of trust: Unbound gets its key as an anchor. Zones lie below `test`, of which nothing else
exists. A bogus zone is signed with another key than the anchor says; a dead one has no server.
"""

import base64
import datetime
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import dns.dnssec
import dns.dnssectypes
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.resolver
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.rdtypes.dnskeybase import Flag

from support.ports import free_port, wait_until
from support.programs import end, program

SIGNED: Final = "signed"
PLAIN: Final = "plain"
BOGUS: Final = "bogus"
EXPIRED: Final = "expired"
DEAD: Final = "dead"
_HEADER: Final = """$TTL 60
@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60
@ NS ns.test.
"""


def _key() -> tuple[ec.EllipticCurvePrivateKey, dns.rdtypes.ANY.DNSKEY.DNSKEY]:
    private = ec.generate_private_key(ec.SECP256R1())
    flags = Flag.ZONE | Flag.SEP
    public = dns.dnssec.make_dnskey(private.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=flags)
    return private, public


class SignedDns:
    """The two servers. `address` is the validating resolver's, in the form `dns_servers` takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dns"
        self.folder.mkdir()
        self._ports = free_port(), free_port()
        self.address = f"127.0.0.1:{self._ports[1]}"
        self._zones: dict[str, str] = {}
        self._anchors: list[str] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.zone("test", "alive TXT yes", how=PLAIN)

    def zone(self, name: str, *records: str, how: str = SIGNED) -> None:
        """A zone with records in zone-file form, names relative to it; replaces one of the same name at the next
        start."""
        self._anchors = [one for one in self._anchors if not one.startswith(f"{name}. ")]
        self._zones[name] = how
        text = f"$ORIGIN {name}.\n{_HEADER}" + "".join(f"{one}\n" for one in records)
        zone = dns.zone.from_text(text, origin=f"{name}.", relativize=False, check_origin=False)
        if how in (SIGNED, BOGUS, EXPIRED):
            private, public = _key()
            now = datetime.datetime.now(datetime.UTC)
            past = now - datetime.timedelta(days=30)
            dns.dnssec.sign_zone(
                zone, keys=[(private, public)], add_dnskey=True,
                inception=past if how == EXPIRED else now - datetime.timedelta(hours=1),
                expiration=past + datetime.timedelta(days=10) if how == EXPIRED else now + datetime.timedelta(days=10),
            )  # fmt: skip
            anchor = _key()[1] if how == BOGUS else public
            self._anchors.append(
                f"{name}. DNSKEY {anchor.flags} 3 {anchor.algorithm} {base64.b64encode(anchor.key).decode()}"
            )
        zone.to_file(self.folder / f"{name}.zone", relativize=False)

    def start(self) -> None:
        """Serve; once more after zones were changed, with nothing left in the resolver's cache."""
        self.stop()
        (self.folder / "nsd.conf").write_text(self._nsd())
        (self.folder / "unbound.conf").write_text(self._unbound())
        for command in (
            [program("nsd"), "-d", "-c", str(self.folder / "nsd.conf")],
            [program("unbound"), "-d", "-c", str(self.folder / "unbound.conf")],
        ):
            with (self.folder / f"{Path(command[0]).name}.log").open("wb") as log:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(self._answers, 15, lambda: f"DNS: {self.log()}")

    def stop(self) -> None:
        for process in reversed(self._processes):
            end(process)
        self._processes.clear()

    def log(self) -> str:
        """What the servers said."""
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _answers(self) -> bool:
        asker = dns.resolver.Resolver(configure=False)
        asker.nameservers, asker.port = ["127.0.0.1"], self._ports[1]
        asker.lifetime = 0.5
        try:
            asker.resolve("alive.test.", "TXT")
        except dns.exception.DNSException:
            return False
        return True

    def _nsd(self) -> str:
        zones = "".join(
            f'zone:\n  name: "{name}"\n  zonefile: "{name}.zone"\n'
            for name, how in self._zones.items() if how != DEAD
        )  # fmt: skip
        return (
            f'server:\n  ip-address: 127.0.0.1@{self._ports[0]}\n  username: ""\n  chroot: ""\n  server-count: 1\n'
            f'  zonesdir: "{self.folder}"\n  pidfile: "{self.folder}/nsd.pid"\n  database: ""\n'
            f'  xfrdfile: "{self.folder}/xfrd.state"\n  zonelistfile: "{self.folder}/zone.list"\n'
            f"remote-control:\n  control-enable: no\n{zones}"
        )

    def _unbound(self) -> str:
        dead = free_port()
        stubs = "".join(
            f'stub-zone:\n  name: "{name}"\n  stub-addr: 127.0.0.1@{dead if how == DEAD else self._ports[0]}\n'
            for name, how in self._zones.items()
        )  # fmt: skip
        anchors = "".join(f'  trust-anchor: "{anchor}"\n' for anchor in self._anchors)
        return (
            f"server:\n  interface: 127.0.0.1@{self._ports[1]}\n  port: {self._ports[1]}\n"
            '  username: ""\n  chroot: ""\n  use-syslog: no\n  do-ip6: no\n  do-not-query-localhost: no\n'
            f'  directory: "{self.folder}"\n  pidfile: "{self.folder}/unbound.pid"\n  do-daemonize: no\n'
            '  module-config: "validator iterator"\n  local-zone: "test." nodefault\n  ede: yes\n'
            f"  val-log-level: 2\n  access-control: 127.0.0.0/8 allow\n  infra-host-ttl: 1\n  num-threads: 1\n{anchors}"
            f"remote-control:\n  control-enable: no\n{stubs}"
        )
