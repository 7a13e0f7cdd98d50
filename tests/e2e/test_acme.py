# SPDX-License-Identifier: MIT
"""Certificates from a real ACME authority (Pebble), names looked up at a real name server (BIND), shown over STARTTLS."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.net.certificates.chain import read_chain
from support.named import Named
from support.pebble import Pebble
from support.ports import free_port, wait_until
from support.server import Server

pytestmark = pytest.mark.interop

NAME = "mx.contoso.test"


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Named]:
    records = ("mx IN A 127.0.0.1", "www IN A 127.0.0.1", "alias IN CNAME mx", "_acme-challenge.mx IN CNAME proof")
    with Named(tmp_path / "named", "contoso.test", *records) as one:
        yield one


@pytest.fixture
def pebble(tmp_path: Path, named: Named, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pebble]:
    with Pebble(tmp_path / "pebble", named.address, nonce_reject=30) as one:
        trust(one, tmp_path, monkeypatch)
        yield one


def trust(pebble: Pebble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine trust what Pebble issues."""
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pebble.root())
    monkeypatch.setenv("SSL_CERT_FILE", str(anchors))


def acme(pebble: Pebble, tmp_path: Path, named: Named | None = None, **changes: Any) -> dict[str, Any]:
    """The [acme] table."""
    settings: dict[str, Any] = {
        "directory_url": pebble.directory_url,
        "ca_file": str(pebble.ca_file),
        "terms_of_service_agreed": True,
        "contact": ["postmaster@contoso.test"],
        "http_binding": f"127.0.0.1:{pebble.http_port}",
        "tls_alpn_binding": f"127.0.0.1:{pebble.tls_port}",
        "timeout": 30,
        "certificates": [{"name": NAME}],
    }
    if named is not None:
        secret = tmp_path / "tsig"
        secret.write_text(named.secret)
        settings |= {
            "challenge": "dns-01", "dns_server": named.address, "dns_key_name": named.key_name,
            "dns_key_secret": f"file:{secret}", "dns_propagation_timeout": 10,
        }  # fmt: skip
    return settings | changes


def shown(server: Server, name: str = NAME) -> Any:
    """What a client that checks nothing gets, read."""
    context = ssl.create_default_context()  # trusts SSL_CERT_FILE
    with server.smtp() as client:
        client._host = name  # type: ignore[attr-defined] # what smtplib asks for by SNI and checks
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        leaf = client.sock.getpeercert(binary_form=True)
        assert leaf is not None
        return read_chain(ssl.DER_cert_to_PEM_cert(leaf).encode())


def renewal(server: Server) -> Any:
    return server.ask("certificate", "renew")[0]


def wait_for(server: Server, state: str) -> Any:
    wait_until(
        lambda: _state(server)["state"] == state, 40, lambda: f"{state}: {_state(server)} {server.stderr()[-2000:]}"
    )
    return _state(server)


def _state(server: Server) -> Any:
    import json

    return json.loads(server.command("certificate", "renew", "--json").stdout)[0]


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_certificate_is_fetched_by_itself_and_shown(
    make_server: Callable[..., Server], pebble: Pebble, tmp_path: Path, challenge: str
) -> None:
    """With three of ten nonces refused. The port is open only while a name is proved."""
    server = make_server(acme=acme(pebble, tmp_path, challenge=challenge)).start()
    done = wait_for(server, "done")
    assert any(step == f"{NAME}: proved" for step in done["steps"])
    found = shown(server)
    assert found.leaf.names == (NAME,)
    assert found.key_type == "ECDSA secp256r1"
    assert not is_open(pebble.http_port)
    assert not is_open(pebble.tls_port)
    view = server.ask("certificate", "show", NAME)
    assert (view["acme"], view["trusted"], view["chain_length"]) == (True, True, 2)
    for file in (view["key_file"], server.data / "acme/accounts"):
        assert Path(file).stat().st_mode & 0o077 == 0
    (key,) = (server.data / "acme/accounts").glob("*/account.key")
    assert key.stat().st_mode & 0o777 == 0o600


def test_dns_01_proves_wildcards_through_an_alias_with_a_signed_update(
    make_server: Callable[..., Server], pebble: Pebble, named: Named, tmp_path: Path
) -> None:
    certificates = [{"name": NAME, "names": [NAME, "*.contoso.test"]}]
    server = make_server(acme=acme(pebble, tmp_path, named, certificates=certificates, key_type="RSA")).start()
    wait_for(server, "done")
    found = shown(server)
    assert set(found.leaf.names) == {NAME, "*.contoso.test"}
    assert found.key_type == "RSA 2048"
    assert not named.texts("proof.contoso.test")  # cleaned up
    assert not named.texts("_acme-challenge.contoso.test")


def test_renewing_by_hand_shows_progress_and_uses_the_same_account(
    make_server: Callable[..., Server], pebble: Pebble, tmp_path: Path
) -> None:
    server = make_server(acme=acme(pebble, tmp_path)).start()
    wait_for(server, "done")
    first = shown(server).leaf.fingerprint
    said = server.succeed("certificate", "renew", NAME)
    assert f"{NAME}: ready for http-01" in said
    assert "in force: SHA-256" in said
    assert "a new account was made" not in said
    assert shown(server).leaf.fingerprint != first
    assert len(list((server.data / "certificates" / NAME).glob("2*"))) == 2


def test_a_name_that_is_answered_wrongly_keeps_the_old_certificate_and_alarms(
    make_server: Callable[..., Server], pebble: Pebble, tmp_path: Path
) -> None:
    server = make_server(acme=acme(pebble, tmp_path)).start()
    wait_for(server, "done")
    first = shown(server).leaf.fingerprint
    settings = server.settings | {"acme": acme(pebble, tmp_path, http_binding=f"127.0.0.1:{free_port()}")}
    server.configure(settings)
    server.reload()
    failed = server.command("certificate", "renew", NAME)
    assert failed.returncode == 1
    assert b"the authority says" in failed.stdout
    assert shown(server).leaf.fingerprint == first
    alarms = server.command("alarm", "list").stdout.decode()
    assert f"certificate {NAME} could not be renewed" in alarms
    view = _state(server)
    assert view["failures"] == 1
    assert view["next_at"] > view["began_at"]
    server.restart()  # it does not forget that it backs off
    assert _state(server)["failures"] == 1


def test_an_authority_that_is_gone_and_a_wrong_tsig_key_are_named(
    make_server: Callable[..., Server], pebble: Pebble, named: Named, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("d3Jvbmc=")
    wrong = acme(pebble, tmp_path, named) | {"dns_key_secret": f"file:{tmp_path / 'wrong'}"}
    server = make_server(acme=wrong).start()
    failed = wait_for(server, "failed")
    assert "TSIG" in failed["reason"] or "NOTAUTH" in failed["reason"]
    assert "d3Jvbmc=" not in server.stderr()
    pebble.stop()
    done = server.command("certificate", "renew", NAME)
    assert done.returncode == 1
    assert "refused" in done.stdout.decode()
    server.send("a@elsewhere.test", "anna@contoso.test")  # mail goes on


def test_what_the_authority_gave_and_the_check_refused_is_not_ordered_twice(
    make_server: Callable[..., Server], pebble: Pebble, tmp_path: Path
) -> None:
    """A connector that is pinned to the issuer of the old certificate keeps the old one."""
    server = make_server(acme=acme(pebble, tmp_path)).start()
    wait_for(server, "done")
    first = shown(server)
    connectors = server.settings["receive_connectors"]
    connectors[0] = {**connectors[0], "tls_certificate_name": f"<I>{first.leaf.issuer}<S>{first.leaf.subject}"}
    certificates = [{"name": NAME, "names": ["www.contoso.test"]}]
    server.configure(server.settings | {"acme": acme(pebble, tmp_path, certificates=certificates)})
    server.reload()
    failed = server.command("certificate", "renew", NAME)
    assert failed.returncode == 1
    said = " ".join(failed.stdout.decode().split())
    assert "the new certificate was not taken" in said
    assert shown(server).leaf.fingerprint == first.leaf.fingerprint
    again = server.command("certificate", "renew", NAME)
    assert again.returncode == 1
    assert "the certificate that was fetched before is checked again" in again.stdout.decode()


def test_an_account_that_the_authority_knows_already_is_bound(
    make_server: Callable[..., Server], named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with Pebble(tmp_path / "eab", named.address, bind_accounts={"kid-1": secret}) as pebble:
        trust(pebble, tmp_path, monkeypatch)
        (tmp_path / "hmac").write_text(secret)
        server = make_server(
            acme=acme(
                pebble, tmp_path, external_account_key_id="kid-1", external_account_secret=f"file:{tmp_path / 'hmac'}"
            )
        ).start()
        wait_for(server, "done")
        assert shown(server).leaf.names == (NAME,)
