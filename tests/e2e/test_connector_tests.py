# SPDX-License-Identifier: MIT
"""Tests of connectors, expectations and the audit on a running server, as operators use them."""

import json
import re
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.configuration import (
    ANONYMOUS,
    ANONYMOUS_RELAY,
    CLIENT,
    EXTERNALLY_SECURED,
    Settings,
    receive_connector,
    send_connector,
    to_toml,
)
from support.ports import free_port, greets, wait_until
from support.server import Server
from support.sink import Sink

RELAYING = Path(__file__).parent.parent / "support" / "relaying_server.py"


def asked(server: Server, *arguments: str, code: int = 0) -> Any:
    """A command with --json that ends with this code."""
    done = server.command(*arguments, "--json")
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
    return json.loads(done.stdout)


def walk(step: dict[str, Any]) -> list[dict[str, Any]]:
    return [step, *(below for one in step.get("steps", []) for below in walk(one))]


def sentences(result: dict[str, Any]) -> list[str]:
    return [step["sentence"] for step in walk(result["tree"])]


def expectation_alarms(server: Server) -> list[str]:
    report = json.loads(server.command("status", "--json").stdout)
    return [alarm for alarm in map(str, report["alarms"]) if "expected of it" in alarm]


def test_a_send_connector_that_works_and_one_that_does_not(make_server: Callable[..., Server], sink: Sink) -> None:
    dead = free_port()
    settings = {
        "send_connectors": [
            send_connector("Good", sink.port, spaces=("good.test",)),
            send_connector("Bad", dead, spaces=("bad.test",)),
        ]
    }
    server = make_server(**settings).start()
    good = asked(server, "test", "send-connector", "good")
    assert good["by"] == "the server"
    assert good["verdict"] == "warning"  # the sink offers no TLS
    assert server.command("test", "send-connector", "Good", "--strict").returncode == 1
    assert [line for _, line in sink.commands][-3:] == ["RCPT TO:<postmaster@good.test>", "RSET", "QUIT"]
    bad = asked(server, "test", "send-connector", "Bad", code=1)
    assert f"127.0.0.1:{dead} refuses the connection" in bad["cause"]
    text = server.command("test", "send-connector", "Bad").stdout.decode()
    assert "✗ 127.0.0.1" in text
    assert "→ see that the service runs there" in text
    missing = server.command("test", "send-connector", "Nothing")
    assert missing.returncode == 1
    assert b'"Good", "Bad"' in missing.stderr
    assert not sink.transactions  # nothing was sent
    assert not server.events("RECEIVE")


def test_a_probe_is_awaited_in_a_mailbox_and_at_the_next_hop(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    local = asked(server, "test", "domain", "contoso.test", "--probe", "bob@contoso.test")
    assert local["verdict"] in ("pass", "warning")
    assert any("The probe message arrived for bob@contoso.test" in one for one in sentences(local))
    [message] = server.wait_for_mail("bob")
    assert b"X-Bridgehead-Probe: " in message
    relayed = asked(server, "test", "send-connector", "Everything", "--probe", "anna@adatum.test")
    assert any("The probe message arrived for anna@adatum.test" in one for one in sentences(relayed))
    [transaction] = sink.wait(1)
    assert transaction.reverse_path == ""
    number = transaction.message["X-Bridgehead-Probe"]
    assert transaction.message["Subject"] == f"Bridgehead probe {number}"
    assert any(number in line for step in walk(relayed["tree"]) for line in step.get("details", []))
    assert server.events("SEND", network_message_id=number)


def test_a_probe_that_is_refused_or_goes_elsewhere(make_server: Callable[..., Server]) -> None:
    with Sink(on_content=lambda _: "554 5.7.1 not wanted") as sink:
        server = make_server(sink.port).start()
        refused = asked(server, "test", "send-connector", "Everything", "--probe", "anna@adatum.test", code=1)
        assert "It failed" in refused["cause"]
        assert "554 5.7.1 not wanted" in refused["cause"]
        elsewhere = asked(server, "test", "send-connector", "Everything", "--probe", "bob@contoso.test", code=1)
        assert "contoso.test, which is ours" in elsewhere["cause"]


def test_a_probe_to_a_group_is_awaited_at_each_member(make_server: Callable[..., Server]) -> None:
    answers = {"real@adatum.test": ["451 4.2.1 not yet", "250 2.1.5 now", "550 5.1.1 no longer"]}

    def on_rcpt(argument: str) -> str | None:
        found = next((given for address, given in answers.items() if address in argument), None)
        return found.pop(0) if found else None

    with Sink(on_rcpt=on_rcpt) as sink:
        server = make_server(sink.port).start()
        # the contact is put off once: the test waits, while bob, carol and dave have it long since
        report = asked(server, "test", "domain", "contoso.test", "--probe", "team@contoso.test")
        assert "The probe message arrived for each of the 4 that team@contoso.test stands for" in sentences(report)
        assert any("451 4.2.1 not yet" in one for one in sentences(report))
        for name in ("bob", "carol", "dave"):
            server.wait_for_mail(name)
        failed = asked(server, "test", "domain", "contoso.test", "--probe", "team@contoso.test", code=1)
        assert "The probe message failed for 1 of the 4 that team@contoso.test stands for" in sentences(failed)
        assert "real@adatum.test: 550 5.1.1 no longer" in failed["cause"]
        answers["real@adatum.test"] += ["451 4.2.1 not today"] * 100
        late = asked(server, "test", "domain", "contoso.test", "--probe", "team@contoso.test", "--timeout", "2", code=1)
        assert "has not arrived for real@adatum.test" in late["cause"]
        assert "451 4.2.1 not today" in late["cause"]
        kept = asked(server, "test", "domain", "contoso.test", "--probe", "kept@contoso.test")
        assert "The probe message arrived for each of the 2 that kept@contoso.test stands for" in sentences(kept)


def test_receive_connectors_and_the_page(make_server: Callable[..., Server], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority", days=90)
    pair = authority.issue("mx.contoso.test", days=90)
    certificate = {"tls_certificate_file": str(pair.certificate), "tls_key_file": str(pair.key)}
    pair.certificate.write_bytes(pair.certificate.read_bytes() + authority.root.read_bytes())
    far = receive_connector("far", free_port(), **{**EXTERNALLY_SECURED, "remote_ip_ranges": ["198.51.100.0/24"]})
    server = make_server(
        receive_connectors=[
            receive_connector(
                "anonymous", free_port(), **ANONYMOUS, **certificate,
                expect=["relay denied from 127.0.0.1", "recipient nobody@contoso.test refused"],
            ),
            receive_connector("relay", free_port(), **ANONYMOUS_RELAY, **certificate),
            receive_connector("client", free_port(), **CLIENT, **certificate, require_tls=True),
            receive_connector("implicit", free_port(), **CLIENT, **certificate, implicit_tls=True),
            receive_connector("proxied", free_port(), **{
                **EXTERNALLY_SECURED, **certificate, "remote_ip_ranges": ["198.51.100.0/24"],
                "proxy_protocol_sources": ["127.0.0.1"],
            }),
            far,
        ]
    )  # fmt: skip
    server.launch()  # "far" greets nobody here, which `start` would wait for
    wait_until(lambda: greets(server.port("anonymous")) and greets(server.port("relay")), 20, "the server greets")
    expected = {
        "anonymous": '"relay denied from 127.0.0.1" holds: 127.0.0.1 is answered 550 5.7.1 Unable to relay (on the wire)',
        "relay": "may relay to anywhere, as configured: 250",
        "client": "Without TLS MAIL is refused: 530",
        "implicit": "may not send here, as configured: 530",
        "proxied": "introduced as 198.51.100.1 by the PROXY protocol",
        "far": "nothing beyond was tested on the wire",
    }
    for name, sentence in expected.items():
        found = asked(server, "test", "receive-connector", name)
        assert found["verdict"] == "pass", (name, found["cause"])
        assert any(sentence in one for one in sentences(found)), (name, sentences(found))
    file = tmp_path / "result.html"
    server.succeed("test", "receive-connector", "anonymous", "--html", str(file))
    assert "<h1>Test of receive connector anonymous</h1>" in file.read_text()


def test_a_host_by_itself(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server().start()
    found = asked(server, "test", "smtp", f"127.0.0.1:{sink.port}", "--recipient", "anna@adatum.test", "--source",
                  "127.0.0.9")  # fmt: skip
    assert any("from 127.0.0.9:" in one for one in sentences(found))
    strange = server.command("test", "smtp", f"127.0.0.1:{sink.port}", "--source", "192.0.2.1")
    assert strange.returncode == 1
    assert b"no address of this machine" in strange.stderr


def test_without_a_server_the_command_tests_by_itself(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port)
    server.directory.joinpath("bridgehead.toml").write_text(to_toml(server.settings))
    found = asked(server, "test", "send-connector", "Everything", "--recipient", "anna@adatum.test")
    assert found["by"] == "this command"
    down = asked(server, "test", "receive-connector", "anonymous", code=1)
    assert "start the server" in down["remedy"]
    probe = server.command("test", "send-connector", "Everything", "--probe", "anna@adatum.test")
    assert probe.returncode == 1
    assert b"a probe message needs the running server" in probe.stderr
    report = asked(server, "audit")
    assert all(one["tricks_on_the_wire"] == 0 for one in report["connectors"])
    assert all(one["tricks_tried"] for one in report["connectors"])


def test_expectations_run_by_themselves_alarm_and_clear(make_server: Callable[..., Server]) -> None:
    port = free_port()
    sink = Sink(port=port, listening=False)

    def settings(expect: list[str]) -> Settings:
        return {
            "connector_tests": {"interval": 1},
            "send_connectors": [send_connector("Everything", port, expect=expect)],
        }

    server = make_server(**settings(["reachable"])).start()
    wait_until(lambda: expectation_alarms(server), 20, "an alarm about what is expected")
    [alarm] = expectation_alarms(server)
    assert 'send connector "Everything"' in alarm
    assert "refuses the connection" in alarm
    sink.listen()
    wait_until(lambda: not expectation_alarms(server), 20, "the alarm is over")
    results = asked(server, "test", "results")
    assert {one["trigger"] for one in results} == {"start", "timer"}
    assert {one["verdict"] for one in results} == {"failure", "warning"}
    assert all(one["verdict"] == "failure" for one in asked(server, "test", "results", "everything", "--failed"))
    server.settings.update(settings(["reachable", "starttls offered"]))
    server.config.write_text(to_toml(server.settings))
    server.reload()
    wait_until(lambda: expectation_alarms(server), 20, "an alarm after the reload")
    assert '"starttls offered" does not hold' in expectation_alarms(server)[0]
    assert any(one["trigger"] == "reload" for one in asked(server, "test", "results"))
    server.restart()
    assert any(one["trigger"] == "reload" for one in asked(server, "test", "results"))
    sink.close()


def test_a_wrong_expectation_is_a_mistake_of_the_configuration(make_server: Callable[..., Server]) -> None:
    server = make_server(send_connectors=[send_connector("Everything", free_port(), expect=["starttls requird"])])
    done = server.command("check")
    assert done.returncode == 1
    assert b'"starttls requird" is no expectation' in done.stdout
    assert b'did you mean "starttls required"?' in done.stdout
    by_mx = {"name": "Internet", "address_spaces": ["*"], "expect": ["reachable"]}
    server.config.write_text(to_toml({**server.settings, "send_connectors": [by_mx]}))
    assert b"no domain is named to test the way to" in server.command("check").stdout


def test_the_audit_tries_every_connector_on_the_wire(make_server: Callable[..., Server]) -> None:
    server = make_server(
        accepted_domains=[
            {"domain_name": "contoso.test", "make_default": True},
            {"domain_name": "passed-on.test", "domain_type": "InternalRelay"},
        ],
        receive_connectors=[
            receive_connector("anonymous", free_port(), **ANONYMOUS),
            receive_connector("limited", free_port(), **ANONYMOUS, message_rate_limit=2),
            receive_connector("tls", free_port(), **ANONYMOUS, require_tls=True),
            receive_connector("implicit", free_port(), **CLIENT, implicit_tls=True),
            receive_connector("relay", free_port(), **ANONYMOUS_RELAY),
        ],
    ).start()
    report = asked(server, "audit")
    assert report["verdict"] == "pass"
    for one in report["connectors"]:
        granted = one["name"] == "relay"
        assert one["tricks_on_the_wire"] == one["tricks_tried"] == (1 if granted else one["tricks_tried"])
        assert granted or one["tricks_tried"] > 60
    assert [one["connector"] for one in report["accepted_tricks"]] == ["relay"]
    [exposure] = report["exposures"]
    assert exposure["verdict"] == "note"
    assert "granted by the configuration" in exposure["sentence"]
    assert asked(server, "audit", "--last")["at"] == report["at"]
    assert not json.loads(server.command("status", "--json").stdout)["alarms"]
    # the clients' rate is untouched: both messages of this minute are still to be had
    server.reload()
    wait_until(lambda: asked(server, "audit", "--last")["at"] != report["at"], 20, "an audit after the reload")
    for _ in range(2):
        server.send("a@fabrikam.test", "bob@contoso.test", connector="limited")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_audit_leaves_no_trace_in_logs_and_counters(make_server: Callable[..., Server], workers: int) -> None:
    """A hundred refusals at each start would bury those of real clients. With several workers the connections of a test
    come to all of them."""
    listen = f"127.0.0.1:{free_port()}"
    connector = receive_connector("anonymous", free_port(), **ANONYMOUS, protocol_logging_level="Verbose")
    server = make_server(
        receive_connectors=[{**connector, "max_inbound_connection": 4}],
        monitoring={"probe_listen": listen},
        server={"workers": workers},
    ).start()
    [report] = asked(server, "audit")["connectors"]
    assert report["tricks_on_the_wire"] == report["tricks_tried"] > 50
    with server.smtp() as client:
        client.ehlo("real.test")
        client.mail("a@fabrikam.test")
        assert client.rcpt("b@adatum.test")[0] == 550

    def lines(folder: str) -> list[str]:
        files = (server.data / "logs" / folder).glob("*.log")
        return [line for file in files for line in file.read_text("utf-8-sig").splitlines() if line[:1] != "#"]

    wait_until(lambda: lines("Hub/AgentLog"), 10, "the real client's refusal in the agent log")
    [refusal] = lines("Hub/AgentLog")
    assert "b@adatum.test" in refusal
    wait_until(lambda: any("QUIT" in line for line in lines("Hub/ProtocolLog/SmtpReceive")), 10, "the session's end")
    assert "relay-test" not in "".join(lines("Hub/ProtocolLog/SmtpReceive"))
    assert b"was refused once" in server.command("why", "127.0.0.1").stdout
    page = urllib.request.urlopen(f"http://{listen}/metrics", timeout=10).read().decode()
    refused = re.search(r'bridgehead_smtp_receive_rejections_total\{[^}]*class="permanent"[^}]*\} (\S+)', page)
    assert refused, page[:3000]
    assert float(refused[1]) == 1
    assert server.stderr().count("audit of receive connectors: ") == 2  # at the start, and asked for


def test_a_relay_that_is_planted_is_found_at_the_start(make_server: Callable[..., Server]) -> None:
    server = make_server(
        launcher=[sys.executable, str(RELAYING)],
        accepted_domains=[
            {"domain_name": "contoso.test", "make_default": True},
            {"domain_name": "passed-on.test", "domain_type": "InternalRelay"},
        ],
    ).start()

    def alarms() -> list[str]:
        report = json.loads(server.command("status", "--json").stdout)
        return [str(alarm) for alarm in report["alarms"] if "relays for anybody" in str(alarm)]

    wait_until(alarms, 30, "an alarm about the open relay")
    report = asked(server, "audit", "--last", code=1)
    opened = [one for one in report["accepted_tricks"] if one["verdict"] == "failure"]
    assert {one["trick"] for one in opened} >= {
        "percent at our domain (InternalRelay)", "quoted @ at our domain (InternalRelay)",
        "bang path at our domain (InternalRelay)",
    }  # fmt: skip
    assert {one["connector"] for one in opened} == {"anonymous"}
    assert "relays for anybody" in server.stderr()
