# SPDX-License-Identifier: MIT
"""The grammar of expectations, its errors, and what holds of real servers."""

import re
from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.connector.connector_tests import run_test
from bridgehead.admin.connector.expectations import FORMS, RECEIVE, SEND, ExpectationError, parse_expectation
from bridgehead.admin.probe.ports import RECEIVE_CONNECTOR, SEND_CONNECTOR, ProbeRequest
from bridgehead.admin.probe.steps import Verdict
from bridgehead.receive.settings import PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import SendConnector, TlsAuthLevel
from support.certificates import Authority
from support.ports import free_port
from support.probe_site import sentences, site, walk
from support.sink import Sink

EXAMPLES = {
    "tls at least VERSION": "TLS at least 1.2",
    "certificate name NAME": "certificate name mail.contoso.com",
    "certificate valid for N days": "certificate valid for 14 days",
    "auth MECHANISM offered": "auth SCRAM-SHA-256 offered",
    "size at least SIZE": "size at least 35MB",
    "KEYWORD offered": "SMTPUTF8 offered",
    "domain NAME": "domain fabrikam.com",
    "recipient ADDRESS accepted": "recipient anna@contoso.com accepted",
    "recipient ADDRESS refused": "recipient anna@contoso.com refused",
    "relay denied from IP": "relay denied from 198.51.100.1",
    "relay allowed from IP": "relay allowed from 2001:db8::1",
    "chosen for IP": "chosen for 10.2.0.17",
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_is_read(form: Any) -> None:
    text = EXAMPLES.get(form.name, form.name)
    for kind in form.kinds:
        assert parse_expectation(f"  {text.replace(' ', '  ')} ", kind).form == form.name


def test_the_manual_tells_of_every_form() -> None:
    manual = Path(__file__).parents[4] / "docs" / "howto" / "test-connectors.md"
    rows = re.findall(r"^\| (`.+?) \| (both|send|receive) \|", manual.read_text(), re.MULTILINE)
    values = {"NAME": "mail.contoso.com", "ADDRESS": "anna@contoso.com", "IP": "192.0.2.1"}
    told = set()
    for cell, of in rows:
        for text in re.findall(r"`([^`]+)`", cell):
            text = re.sub("NAME|ADDRESS|IP$", lambda match: values[match[0]], text)
            kinds = (SEND, RECEIVE) if of == "both" else (of,)
            told |= {(parse_expectation(text, kind).form, kind) for kind in kinds}
    assert told == {(form.name, kind) for form in FORMS for kind in form.kinds}


@pytest.mark.parametrize(
    ("text", "kind", "message", "remedy"),
    [
        ("starttls requird", SEND, "is no expectation", 'did you mean "starttls required"?'),
        ("certifcate name a.test", SEND, "is no expectation", 'did you mean "certificate name NAME"?'),
        ("nonsense", RECEIVE, "is no expectation", "one of: reachable, starttls offered"),
        ("relay denied from 192.0.2.1", SEND, "of a receive connector only", "write one of"),
        ("auth succeeds", RECEIVE, "of a send connector only", "write one of"),
        ("relay denied from 192.0.2.300", RECEIVE, "an IP address such as 198.51.100.1 was expected", ""),
        ("tls at least 1.1", SEND, "1.2 or 1.3 was expected", ""),
        ("certificate valid for many days", SEND, "a number of days was expected", ""),
        ("size at least huge", SEND, "a size such as", ""),
        ("recipient nobody accepted", SEND, "recipient nobody accepted", ""),
        ("domain a..b", SEND, "label", ""),
    ],
)
def test_what_is_no_expectation(text: str, kind: str, message: str, remedy: str) -> None:
    with pytest.raises(ExpectationError) as error:
        parse_expectation(text, kind)
    assert message in str(error.value)
    assert remedy in error.value.remedy


async def judged(folder: Path, sending: SendConnector) -> dict[str, bool]:
    """Each expectation: whether it holds."""
    result = await run_test(site(folder, send_connectors=[sending]), ProbeRequest(kind=SEND_CONNECTOR, name="Out"))
    return {
        step.sentence.split('"')[1]: " holds: " in step.sentence
        for step in walk(result.tree)
        if " hold: " in step.sentence or " holds: " in step.sentence
    }


async def test_what_holds_of_a_send_connector(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    holds = [
        "reachable", "starttls offered", "starttls required", "tls at least 1.2", "certificate name mail.fabrikam.test",
        "certificate valid", "certificate valid for 14 days", "auth not offered", "auth not offered in clear",
        "size at least 35MB", "smtputf8 offered", "recipient anna@fabrikam.test accepted",
        "recipient nobody@fabrikam.test refused",
    ]  # fmt: skip
    fails = [
        "starttls not offered", "certificate name www.fabrikam.test", "certificate valid for 400 days", "auth offered",
        "auth plain offered", "auth succeeds", "size at least 1GB", "binarymime offered",
        "recipient nobody@fabrikam.test accepted",
    ]  # fmt: skip
    context = authority.issue("mail.fabrikam.test", days=90).server_context()
    refuse = lambda argument: "550 5.1.1 who?" if "nobody" in argument else None  # noqa: E731
    with Sink(context=context, extensions=("SIZE 52428800", "SMTPUTF8", "8BITMIME"), on_rcpt=refuse) as sink:
        found = await judged(
            tmp_path,
            SendConnector(
                name="Out",
                address_spaces=["*"],
                smart_hosts=[f"127.0.0.1:{sink.port}"],
                require_tls=True,
                tls_auth_level=TlsAuthLevel.CERTIFICATE_VALIDATION,
                tls_ca_file=str(authority.root),
                expect=[*holds, *fails],
            ),
        )
    assert found == {**dict.fromkeys(holds, True), **dict.fromkeys(fails, False)}


async def test_nothing_holds_of_a_host_that_is_down(tmp_path: Path) -> None:
    sending = SendConnector(
        name="Out", address_spaces=["*"], smart_hosts=[f"127.0.0.1:{free_port()}"],
        expect=["reachable", "auth not offered"],
    )  # fmt: skip
    assert await judged(tmp_path, sending) == {"reachable": False, "auth not offered": False}


async def test_relaying_is_judged_by_the_connector_that_a_client_meets(tmp_path: Path) -> None:
    """By the rules, since no server runs: who meets another connector is judged by that one's rights."""
    port = free_port()
    anonymous = [PermissionGroup.ANONYMOUS_USERS]
    public = ReceiveConnector(
        name="Public", bindings=[f"127.0.0.1:{port}"], permission_groups=anonymous,
        expect=[
            "relay denied from 198.51.100.1", "relay allowed from 10.0.0.1", "chosen for 198.51.100.1",
            "chosen for 10.0.0.1", "relay denied from 2001:db8::1",
        ],
    )  # fmt: skip
    devices = ReceiveConnector(
        name="Devices", bindings=[f"127.0.0.1:{port}"], remote_ip_ranges=["10.0.0.0/8"],
        auth_mechanism=["ExternalAuthoritative"], permission_groups=[PermissionGroup.EXCHANGE_SERVERS],
    )  # type: ignore[arg-type] # fmt: skip
    given = site(tmp_path, receive_connectors=[public, devices])
    result = await run_test(given, ProbeRequest(kind=RECEIVE_CONNECTOR, name="public"))
    good = [one for one in sentences(result.tree, Verdict.PASS) if "holds" in one]
    bad = [one for one in sentences(result.tree, Verdict.FAILURE) if "does not hold" in one]
    assert [one.split('"')[1] for one in good] == [
        "relay denied from 198.51.100.1", "relay allowed from 10.0.0.1", "chosen for 198.51.100.1",
    ]  # fmt: skip
    assert 'meets "Devices"' in good[1]
    assert [one.split('"')[1] for one in bad] == ["chosen for 10.0.0.1", "relay denied from 2001:db8::1"]
