# SPDX-License-Identifier: MIT
"""Certificates of a running server: listed, checked, bound, rolled back, changed on the disk; seen over real STARTTLS."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridgehead.net.tls import sent_chain
from support.certificates import Authority, Pair, intermediate
from support.configuration import ANONYMOUS, receive_connector
from support.dns_thread import DnsThread
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink

NAME = "mx.contoso.test"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this machine trusts."""
    root = Authority(tmp_path / "ca", days=400)
    monkeypatch.setenv("SSL_CERT_FILE", str(root.root))
    return root


def shown(server: Server, connector: str = "", name: str = NAME) -> tuple[bytes, ...]:
    """The certificates that a client gets over STARTTLS, DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.smtp(connector) as client:
        client._host = name  # type: ignore[attr-defined] # what smtplib asks for by SNI
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return sent_chain(client.sock)


def der(pair: Pair) -> bytes:
    first, end, _ = pair.certificate.read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(first + end)


def bind(server: Server, pair: Pair, *options: str) -> Any:
    return server.ask("certificate", "bind", str(pair.certificate), str(pair.key), *options)


def refused(server: Server, *arguments: str) -> str:
    done = server.command("certificate", *arguments)
    assert done.returncode == 1, done.stdout.decode()
    return " ".join((done.stdout + done.stderr).decode().split())


def test_a_bound_certificate_is_shown_at_once_with_its_whole_chain(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    server = make_server().start()
    below = intermediate(authority)
    pair = below.issue(NAME, days=90)
    with pair.certificate.open("ab") as file:
        file.write(below.root.read_bytes())
    bound = bind(server, pair)
    assert (bound["name"], bound["forced"]) == (NAME, False)
    assert shown(server) == (der(pair), ssl.PEM_cert_to_DER_cert(below.root.read_text()))
    view = server.ask("certificate", "show", NAME)
    assert view["chain_length"] == 2
    assert view["trusted"]
    assert view["kept"]
    assert {use["by"] for use in view["uses"]} == {'receive connector "anonymous"', 'receive connector "secured"'}
    server.restart()
    assert shown(server)[0] == der(pair)


def test_what_fails_the_check_changes_nothing_unless_it_is_forced(
    make_server: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    server = make_server().start()
    good = authority.issue(NAME, days=90)
    bind(server, good)
    other = Authority(tmp_path / "other").issue("elsewhere.test")
    said = refused(server, "bind", str(other.certificate), str(other.key), "--name", NAME)
    assert "shows the one in use and would show that of" in said
    below = intermediate(authority)
    leaf_only = below.issue(NAME, days=200)
    said = refused(server, "bind", str(leaf_only.certificate), str(leaf_only.key))
    assert "CN=Test Intermediate" in said
    assert "missing" in said
    said = refused(server, "check", str(leaf_only.certificate), str(good.key))
    assert "the key does not belong to the certificate" in said
    assert "receive connector" not in said, "with such a pair nothing is to be said of connectors"
    said = refused(server, "check", str(good.key), str(good.key))
    assert "holds no certificate that can be read" in said
    assert "cryptography.io" not in said
    said = refused(server, "bind", str(leaf_only.certificate), str(good.key), "--force")
    assert "the key does not belong to the certificate" in said
    expired = Pair(*authority.issue(NAME, days=-1, since_days=9))
    said = refused(server, "bind", str(expired.certificate), str(expired.key))
    assert "expired on" in said
    assert "remove" not in said, "the good one that lasts longer is not in its way"
    first = shown(server)[0]
    leaf_only = below.issue(NAME, days=200)
    assert bind(server, leaf_only, "--force")["forced"]
    assert shown(server) == (der(leaf_only),)
    rolled = server.ask("certificate", "roll-back", NAME)
    assert not rolled["forced"]
    said = server.succeed("certificate", "bind", str(leaf_only.certificate), str(leaf_only.key), "--force")
    assert "Overruled by --force." in said
    assert "Refused" not in said
    server.succeed("certificate", "roll-back", NAME)
    own = next(one for one in server.ask("certificate", "list")["certificates"] if one["self_signed"])
    assert (own["uses"], own["warnings"]) == ([], []), "nobody shows the one of the first start any more"
    assert shown(server)[0] == first


def test_a_pin_by_issuer_that_the_new_one_does_not_fit_is_told_before(
    make_server: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    server = make_server()
    server.start()
    bind(server, authority.issue(NAME, days=90))
    server.settings["receive_connectors"].append(
        receive_connector("pinned", free_port(), **ANONYMOUS, tls_certificate_name=f"<I>CN=Test Root<S>CN={NAME}")
    )
    server.configure(server.settings)
    server.reload()
    other = Authority(tmp_path / "other", "New Root", days=400)
    renewed = other.issue(NAME, days=200)
    said = refused(server, "check", str(renewed.certificate), str(renewed.key))
    assert "its successor is issued by CN=New Root" in said
    assert "pin it by a name that it carries" in said


def test_tlsa_records_of_the_old_key_hold_up_a_new_one(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    with DnsThread() as dns:
        server = make_server(server={"dns_servers": [dns.address]}).start()
        first = authority.issue(NAME, days=50)
        bind(server, first)
        old = server.ask("certificate", "check", str(first.certificate), str(first.key))
        assert old["verdict"] != "failure"
        second = authority.issue(NAME, days=90)
        dns.add(f"_25._tcp.{NAME}", "TLSA", "3 1 1 " + "ab" * 32, ttl=1)
        server.succeed("reload")
        said = refused(server, "bind", str(second.certificate), str(second.key))
        assert said.count("DNS has TLSA records for _25._tcp.mx.contoso.test of another key") == 1, "once, for all"
        wanted = said.partition("IN TLSA ")[2].split(";")[0]
        dns.add(f"_25._tcp.{NAME}", "TLSA", "3 1 1 " + "ab" * 32, wanted, ttl=1)
        wait_until(
            lambda: server.command("certificate", "bind", str(second.certificate), str(second.key)).returncode == 0,
            15, lambda: "the new record is seen",
        )  # fmt: skip


def test_a_file_that_got_worse_is_not_taken_and_alarms_until_it_is_well(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    pair = authority.issue(NAME, days=90)
    server = make_server(certificates=[{"certificate_file": str(pair.certificate), "key_file": str(pair.key)}]).start()
    first = shown(server)[0]
    assert first == der(pair)

    def replace(new: Pair) -> None:
        pair.key.write_bytes(new.key.read_bytes())
        pair.certificate.write_bytes(new.certificate.read_bytes())

    def alarms() -> list[str]:
        return [one["text"] for one in _json(server, "alarm", "list")["alarms"] if "was not taken" in one["text"]]

    replace(authority.issue("elsewhere.test", days=90))
    server.succeed("reload")
    wait_until(lambda: bool(alarms()), 20, lambda: "an alarm")
    assert f"it does not carry {NAME}" in alarms()[0]
    assert shown(server)[0] == first
    renewed = authority.issue("again.test", NAME, days=200)
    replace(renewed)
    server.succeed("reload")
    assert shown(server)[0] == der(renewed)
    wait_until(lambda: not alarms(), 20, lambda: "the alarm is over")


def test_a_file_that_got_worse_is_not_shown_to_smart_hosts(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    pair = authority.issue("relay.contoso.test", days=90)
    asking = authority.issue("smart.test").server_context()
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(authority.root)
    with Sink(context=asking) as sink:
        server = make_server(sink.port)
        server.settings["send_connectors"][0].update(
            require_tls=True, tls_certificate_file=str(pair.certificate), tls_key_file=str(pair.key)
        )
        server.configure(server.settings)
        server.start()

        def sent(count: int) -> tuple[str, ...]:
            server.send("ann@fabrikam.test", f"x{count}@elsewhere.test", connector="secured")
            sink.wait(count)
            return sink.handshakes[-1][1]

        assert sent(1) == ("relay.contoso.test",)
        expired = Authority(authority.directory / "other", "Other Root").issue("expired.test", days=-1, since_days=9)
        pair.key.write_bytes(expired.key.read_bytes())
        pair.certificate.write_bytes(expired.certificate.read_bytes())
        wait_until(lambda: "was not taken" in server.command("alarm", "list").stdout.decode(), 25, lambda: "an alarm")
        assert sent(2) == ("relay.contoso.test",)
        assert len(sink.handshakes) == 2


def _json(server: Server, *arguments: str) -> Any:
    import json

    return json.loads(server.command(*arguments, "--json").stdout)


def test_a_certificate_that_went_away_before_it_was_first_needed(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    """STARTTLS is refused for now (RFC 3207 §4), and the session goes on; the next one finds the file again."""
    pair = authority.issue(NAME)
    connector = receive_connector(
        "pinned", free_port(), **ANONYMOUS, tls_certificate_file=str(pair.certificate), tls_key_file=str(pair.key)
    )
    server = make_server(receive_connectors=[connector]).start()
    kept = pair.key.read_bytes()
    pair.key.unlink()
    with server.smtp("pinned") as client:
        client.ehlo()
        assert client.docmd("STARTTLS")[0] == 454
        assert client.noop()[0] == 250
    pair.key.write_bytes(kept)
    assert shown(server, "pinned") == (der(pair),)
