# SPDX-License-Identifier: MIT
"""sslyze and testssl.sh look at every kind of receive connector; their findings as JSON are the judge.

testssl.sh mostly waits, a minute for each connector, so all are scanned at once when the first is asked for.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority, intermediate
from support.configuration import ANONYMOUS, CLIENT, Settings, base, mailbox, receive_connector
from support.ports import free_port
from support.server import Server

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
NAME = "mx.contoso.test"
KINDS = ("default", "require-tls", "implicit", "client-certificates", "old")
OLD_VERSIONS = ("tls_1_0_cipher_suites", "tls_1_1_cipher_suites")
PLUGINS = (
    "certinfo", "sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "compression", "heartbleed", "openssl_ccs",
    "robot", "reneg", "resum", "fallback",
)  # fmt: skip
CHECKS = ("-p", "-f", "-S", "-H", "-I", "-T", "-R", "-C", "-W", "-4", "-B", "-O", "-Z")
"""testssl.sh: protocols, forward secrecy, certificate, Heartbleed, CCS, Ticketbleed, renegotiation, compression, SWEET32,
RC4, breach, POODLE, fallback. Those that a version does not know are left out."""
HARMLESS = {"cert_expirationStatus", "cert_notAfter", "cert_revocation", "cert_extlifeSpan"}
"""Of any certificate that a test makes."""
GRAVE = ("MEDIUM", "HIGH", "CRITICAL")


class Scanned:
    """A running server, and what the scanners found, by kind of connector."""

    def __init__(self, server: Server, folder: Path, root: Path) -> None:
        self.server, self._folder, self._root = server, folder, root
        self._pool = ThreadPoolExecutor(len(KINDS))
        self._testssl: dict[str, Future[list[dict[str, str]]]] = {}

    def _starttls(self, kind: str) -> list[str]:
        return [] if kind == "implicit" else ["--starttls", "smtp"]

    def sslyze(self, kind: str) -> dict[str, Any]:
        file = self._folder / f"sslyze-{kind}.json"
        command = [str(ROOT / ".venv/sslyze/bin/python"), "-m", "sslyze", "--json_out", str(file), "--quiet"]
        command += ["--sni", NAME, *self._starttls(kind)]
        command += [f"--{plugin}" for plugin in PLUGINS]
        # without proxies and settings of whoever runs the tests
        clean = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        target = f"127.0.0.1:{self.server.port(kind)}"
        subprocess.run([*command, target], env=clean, check=True, capture_output=True, timeout=120)
        (found,) = json.loads(file.read_text())["server_scan_results"]
        return {name: one["result"] for name, one in found["scan_result"].items() if one["status"] == "COMPLETED"}

    def testssl(self, kind: str) -> dict[str, dict[str, str]]:
        for one in () if self._testssl else KINDS:
            self._testssl[one] = self._pool.submit(self._scan, one)
        return {finding["id"]: finding for finding in self._testssl[kind].result()}

    def _scan(self, kind: str) -> list[dict[str, str]]:
        file = self._folder / f"testssl-{kind}.json"
        command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1"]
        command += ["--connect-timeout", "10", "--openssl-timeout", "10", "--add-ca", str(self._root)]
        command += [*CHECKS, "--jsonfile", str(file), *self._starttls(kind), f"{NAME}:{self.server.port(kind)}"]
        # its exit status counts the findings
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=360)
        assert file.exists(), done.stdout[-2000:] + done.stderr[-2000:]
        found: list[dict[str, str]] = json.loads(file.read_text())
        return found

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def connector(name: str, **settings: Any) -> Settings:
    return receive_connector(name, free_port(), fqdn=NAME, **settings)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanned]:
    subprocess.run([ROOT / "tools/install-sslyze"], check=True, timeout=300)
    directory = tmp_path_factory.mktemp("scanned")
    authority = Authority(directory / "ca")
    below = intermediate(authority)
    pair = below.issue(NAME)
    pair.certificate.write_bytes(pair.certificate.read_bytes() + below.root.read_bytes())
    settings = base(directory)
    settings["certificates"] = [{"certificate_file": str(pair.certificate), "key_file": str(pair.key)}]
    settings["receive_connectors"] = [
        connector("default", **ANONYMOUS),
        connector("require-tls", **ANONYMOUS, require_tls=True),
        connector("implicit", **CLIENT, implicit_tls=True),
        connector(
            "client-certificates", auth_mechanism=["Tls"], permission_groups=["AnonymousUsers", "Partners"],
            tls_ca_file=str(authority.root), tls_domain_capabilities=["partner.test:AcceptCloudServicesMail"],
        ),
        connector("old", **ANONYMOUS, tls_minimum_version="1.0"),
    ]  # fmt: skip
    with Server(directory, settings, [mailbox("bob", "bob@contoso.test")]) as server:
        found = Scanned(server, directory, authority.root)
        yield found
        found.close()
    assert "Traceback" not in server.stderr(), server.stderr()[-4000:]


def suites(found: dict[str, Any], name: str) -> list[str]:
    return [one["cipher_suite"]["name"] for one in found[name]["accepted_cipher_suites"]]


@pytest.mark.parametrize("kind", KINDS)
def test_sslyze_finds_modern_versions_and_ciphers_only(kind: str, scanned: Scanned) -> None:
    found = scanned.sslyze(kind)
    assert not suites(found, "ssl_2_0_cipher_suites") + suites(found, "ssl_3_0_cipher_suites")
    for version in OLD_VERSIONS:
        assert bool(suites(found, version)) is (kind == "old"), version
    assert suites(found, "tls_1_3_cipher_suites")
    modern = suites(found, "tls_1_2_cipher_suites")
    assert modern
    if kind != "old":
        for suite in modern:  # forward secrecy and authenticated encryption
            assert suite.startswith(("TLS_ECDHE_", "TLS_DHE_")), suite
            assert "GCM" in suite or "CHACHA20" in suite, suite
    for version in (*OLD_VERSIONS, "tls_1_2_cipher_suites"):
        for suite in suites(found, version):
            assert not any(weak in suite for weak in ("RC4", "3DES", "_DES_", "EXPORT", "NULL", "anon", "MD5")), suite


@pytest.mark.parametrize("kind", KINDS)
def test_sslyze_finds_no_known_vulnerability(kind: str, scanned: Scanned) -> None:
    found = scanned.sslyze(kind)
    assert not found["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert found["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    assert not found["tls_compression"]["supports_compression"]
    assert found["session_renegotiation"]["supports_secure_renegotiation"]
    assert not found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    if kind == "old":
        assert found["tls_fallback_scsv"]["supports_fallback_scsv"]


@pytest.mark.parametrize("kind", KINDS)
def test_sslyze_finds_the_whole_chain_the_right_name_and_sessions_resumed(kind: str, scanned: Scanned) -> None:
    found = scanned.sslyze(kind)
    for deployment in found["certificate_info"]["certificate_deployments"]:
        assert deployment["received_chain_has_valid_order"]
        assert len(deployment["received_certificate_chain"]) == 2
        leaf = deployment["received_certificate_chain"][0]
        assert leaf["subject_alternative_name"]["dns_names"] == [NAME]
    assert found["session_resumption"]["tls_ticket_resumption_result"] == "FULLY_SUPPORTED"


@pytest.mark.parametrize("kind", KINDS)
def test_testssl_finds_nothing_grave(kind: str, scanned: Scanned) -> None:
    findings = scanned.testssl(kind)
    allowed = HARMLESS
    if kind == "old":  # that is what the connector is for, and each audit says so
        allowed = HARMLESS | {"TLS1", "TLS1_1", "BEAST_CBC_TLS1", "BEAST"}
    grave = {
        name: one for name, one in findings.items() if one["severity"] in (*GRAVE, "FATAL") and name not in allowed
    }
    assert not grave
    for name in ("SSLv2", "SSLv3"):
        assert findings[name]["finding"] == "not offered"
    for name in ("TLS1", "TLS1_1"):
        assert findings[name]["finding"].startswith("offered" if kind == "old" else "not offered")
    assert findings["TLS1_3"]["finding"].startswith("offered")
    for name in ("heartbleed", "CCS", "ticketbleed", "secure_client_renego", "CRIME_TLS"):
        if name in findings:
            finding = findings[name][
                "finding"
            ]  # Ticketbleed was of one maker's load balancers, and is looked for there
            assert "not vulnerable" in finding or finding.startswith("not applicable"), findings[name]
    assert findings["cert_commonName"]["finding"] == NAME
    assert findings["cert_chain_of_trust"]["finding"].startswith("passed")
