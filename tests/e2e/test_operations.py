# SPDX-License-Identifier: MIT
"""What administrators do to a running server: stop, start, reload, check, look."""

import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

from support.certificates import Authority
from support.configuration import ANONYMOUS, changed, receive_connector, send_connector
from support.ports import free_port, greets, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Closed, Talk

MESSAGE = b"From: a@fabrikam.test\r\nSubject: operations\r\n\r\nhello\r\n"


def test_queued_mail_survives_a_restart(make_server: Callable[..., Server]) -> None:
    sink = Sink(port=free_port(), listening=False)
    server = make_server(sink.port).start()
    for number in range(20):
        server.send("a@fabrikam.test", f"x{number}@adatum.test", MESSAGE, "secured")
    large = MESSAGE + (b"x" * 76 + b"\r\n") * 10_000
    server.send("a@fabrikam.test", "large@adatum.test", large, "secured")
    assert server.stop() == 0
    sink.listen()
    server.start()
    sink.wait(21, 20)
    server.wait_until_empty()
    assert len(sink.transactions) == 21
    assert sink.to("large@adatum.test")[0].data.endswith(large[-1000:])
    sink.close()


def test_graceful_stop_tells_clients_and_exits_with_zero(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    with Talk(server.port("anonymous")) as talk:
        talk.hello()
        assert server.stop() == 0
        assert talk.read().code == "421"
        assert talk.closed()


def test_stop_loses_no_message_under_way(make_server: Callable[..., Server], sink: Sink) -> None:
    """SIGTERM in the middle of many sessions: what was acknowledged is delivered after the next start."""
    server = make_server(sink.port).start()
    acknowledged: list[str] = []
    with Talk(server.port("secured")) as talk:
        talk.hello()
        try:
            for number in range(2000):
                if number == 200:
                    assert server.process is not None
                    server.process.terminate()
                talk.message("a@fabrikam.test", f"s{number}@adatum.test", MESSAGE)
                acknowledged.append(f"s{number}@adatum.test")
        except (Closed, AssertionError, OSError):
            pass
    assert len(acknowledged) >= 200
    assert server.stop() == 0
    server.start()
    server.wait_until_empty()
    arrived = [path for one in sink.transactions for path in one.forward_paths]
    assert set(acknowledged) <= set(arrived)
    assert len(arrived) == len(set(arrived))


def test_reload_takes_effect_for_new_sessions_and_drops_none(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    new_port = free_port()
    with Talk(server.port("anonymous")) as before:
        before.hello()
        connectors = [{**one, "max_message_size": 70_000} for one in server.settings["receive_connectors"]]
        connectors.append(receive_connector("new", new_port, **ANONYMOUS))
        server.configure(changed(server.settings, {"receive_connectors": connectors}))
        server.reload()
        wait_until(lambda: greets(new_port), 10, "the new connector greets")
        before.message("a@fabrikam.test", "bob@contoso.test", MESSAGE)
        with Talk(server.port("anonymous")) as after:
            assert after.hello().has("SIZE 70000")
        removed = [one for one in connectors if one["name"] != "new"]
        server.configure(changed(server.settings, {"receive_connectors": removed}))
        server.hang_up()
        wait_until(lambda: not greets(new_port), 10, "the removed connector is gone")
        before.expect("NOOP", "250 *")


def test_reload_exchanges_what_it_can_and_names_what_needs_a_restart_each_time(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port).start()
    server.configure(
        changed(server.settings, {"logs": {"queue_log_enabled": False}, "server": {"fqdn": "mx2.contoso.test"}})
    )
    for _ in range(2):
        said = server.succeed("reload")
        assert "nothing changed" in said
        for name in ("[logs] queue_log_enabled", "[server] fqdn"):
            assert f"{name} (bridgehead.toml:" in said
    folder = "logs/Hub/PipelineTracing/MessageSnapshots"
    logs = {
        "message_tracking_log_max_file_size": "64 KB", "message_tracking_log_subject_logging_enabled": False,
        "pipeline_tracing_enabled": True, "pipeline_tracing_sender_address": "a@fabrikam.test",
    }  # fmt: skip
    changes = {"logs": logs, "pickup": {"pickup_directory_path": "letters", "poll_interval": 0.1}}
    server.configure(changed(server.settings, changes))
    said = server.succeed("reload")
    assert "logs changed" in said
    assert "pickup changed" in said
    assert "[logs] queue_log_enabled" in said
    assert "max_file_size" not in said
    many = [f"{'long-name-' * 6}{number}@adatum.test" for number in range(40)]
    for _ in range(12):
        server.send("a@fabrikam.test", many, MESSAGE, "secured")
    (server.data / "letters" / "one.eml").write_bytes(b"To: carol@contoso.test\r\n" + MESSAGE)
    server.wait_for_mail("carol")
    sink.wait(12)
    wait_until(lambda: len(list((server.data / "logs/MessageTracking").glob("MSGTRK*"))) > 1, 15, "the log is rolled")
    assert server.wait_for_event("DELIVER", recipient_address="carol@contoso.test")["message-subject"] == ""
    wait_until(lambda: len(list((server.data / folder).glob("*/Original.eml"))) == 13, 15, "13 messages are traced")
    server.configure(changed(server.settings, {"logs": {"pipeline_tracing_enabled": False}}))
    server.reload()
    server.send("a@fabrikam.test", "dave@contoso.test", MESSAGE)
    server.wait_for_mail("dave")
    assert len(list((server.data / folder).iterdir())) == 13


def test_a_bad_configuration_is_refused_by_reload_as_a_whole(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    good = server.config.read_text()
    server.config.write_text(good.replace("max_inbound_connection_per_source", "max_inbound_conection_per_source"))
    done = server.command("reload")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert b"bridgehead.toml" in said
    assert b"max_inbound_connection_per_source" in said
    server.config.write_text(good)
    server.send("a@fabrikam.test", "bob@contoso.test", MESSAGE)
    server.wait_for_mail("bob")


def test_check_names_every_error_at_once(make_server: Callable[..., Server]) -> None:
    server = make_server(1)
    assert server.command("check").returncode == 0
    bad = server.config.read_text().replace("fqdn =", "fqnd =").replace("address_spaces =", "adress_spaces =")
    server.config.write_text(bad)
    done = server.command("check")
    said = (done.stdout + done.stderr).decode()
    assert done.returncode != 0
    assert "fqdn" in said
    assert "address_spaces" in said
    launched = server.command("run")
    assert launched.returncode != 0


def test_a_route_that_appears_frees_the_unreachable_queue(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server().start()
    server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
    server.wait_for_event("DEFER")
    server.configure(changed(server.settings, {"send_connectors": [send_connector("New", sink.port)]}))
    server.reload()
    assert sink.wait(1)[0].forward_paths == ["x@adatum.test"]
    server.wait_until_empty()


def test_status_queue_and_message_commands(make_server: Callable[..., Server]) -> None:
    server = make_server(free_port()).start()
    server.send("a@fabrikam.test", "x@adatum.test", MESSAGE, "secured")
    wait_until(lambda: server.queued() == 1, 10, "one message queued")
    assert json.loads(server.succeed("status", "--json"))
    (queue,) = [one for one in server.queues() if int(one["message_count"])]
    assert "127.0.0.1" in str(queue["identity"])
    assert "adatum" not in str(queue["identity"])
    shown = server.succeed("queue", "show", str(queue["identity"]), "--json")
    assert "a@fabrikam.test" in shown
    assert server.succeed("queue", "verify")


def test_commands_say_so_when_no_server_runs(make_server: Callable[..., Server]) -> None:
    server = make_server(1)
    done = server.command("status")
    assert done.returncode != 0
    assert b"Traceback" not in done.stdout + done.stderr


def test_connector_match_explains(make_server: Callable[..., Server]) -> None:
    server = make_server(1)
    port = server.port("secured")
    said = server.succeed("connector", "match", "--from", "127.0.0.1", "--port", str(port))
    assert "secured" in said
    assert "Accept-Any-Recipient" in said


def test_a_certificate_is_taken_up_when_its_file_changes(make_server: Callable[..., Server], tmp_path: Path) -> None:
    directory = tmp_path / "certificates"
    authority = Authority(directory)
    old, new = authority.issue("old.test"), authority.issue("new.test")
    certificate, key = directory / "live.pem", directory / "live.key"
    shutil.copy(old.certificate, certificate)
    shutil.copy(old.key, key)
    server = make_server(1, server={"tls_certificate_file": str(certificate), "tls_key_file": str(key)}).start()

    def presented() -> bytes:
        with Talk(server.port("anonymous")) as talk:
            talk.hello()
            talk.expect("STARTTLS", "220 *")
            talk.start_tls()
            assert isinstance(talk.socket, ssl.SSLSocket)
            return talk.socket.getpeercert(binary_form=True) or b""

    assert presented() == ssl.PEM_cert_to_DER_cert(old.certificate.read_text())
    shutil.copy(new.key, key)
    shutil.copy(new.certificate, certificate)
    server.reload()
    wanted = ssl.PEM_cert_to_DER_cert(new.certificate.read_text())
    wait_until(lambda: presented() == wanted, 15, "the new certificate")
