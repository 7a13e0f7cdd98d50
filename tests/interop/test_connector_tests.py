# SPDX-License-Identifier: MIT
"""Connector tests against a real Postfix: what it offers, accepts and refuses, and a probe that it delivers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.certificates import Authority
from support.postfix import Postfix
from support.server import Server

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def postfix(authority: Authority) -> Iterator[Postfix]:
    settings = "smtpd_relay_restrictions = reject_unauth_destination"
    with Postfix(
        mailboxes=("joe@probed.test",), pair=authority.issue("postfix.test", days=90), settings=settings
    ) as one:
        yield one


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server], postfix: Postfix, authority: Authority) -> Server:
    return make_server(
        postfix.port,
        {
            "require_tls": True,
            "tls_auth_level": "DomainValidation",
            "tls_domain": "postfix.test",
            "tls_ca_file": str(authority.root),
        },
    )


def asked(server: Server, *arguments: str, code: int = 0) -> Any:
    done = server.command("test", *arguments, "--json")
    assert done.returncode == code, done.stdout.decode() + done.stderr.decode()
    return json.loads(done.stdout)


def sentences(step: dict[str, Any]) -> list[str]:
    return [step["sentence"], *(below for one in step.get("steps", []) for below in sentences(one))]


def test_postfix_takes_our_mail_over_validated_tls(server: Server, postfix: Postfix) -> None:
    connector = server.settings["send_connectors"][0]["name"]
    found = asked(server, "send-connector", connector, "--recipient", "joe@probed.test")
    said = sentences(found["tree"])
    assert any("carries the name postfix.test" in one for one in said), said
    assert any("The recipient <joe@probed.test> is accepted" in one for one in said)
    refused = asked(server, "send-connector", connector, "--recipient", "anybody@elsewhere.test", code=1)
    assert "refuses the recipient <anybody@elsewhere.test>" in refused["cause"]
    assert "relays for those it knows" in refused["remedy"]


def test_a_probe_is_delivered_by_postfix(server: Server, postfix: Postfix) -> None:
    found = asked(server, "domain", "probed.test", "--probe", "joe@probed.test")
    assert any("The probe message arrived for joe@probed.test" in one for one in sentences(found["tree"]))
    [message] = postfix.wait_for_mail("joe@probed.test")
    assert b"X-Bridgehead-Probe: " in message


def test_postfix_by_itself(server: Server, postfix: Postfix) -> None:
    found = asked(server, "smtp", f"127.0.0.1:{postfix.port}", "--tls", "required", "--recipient", "joe@probed.test")
    said = sentences(found["tree"])
    assert any("TLS works" in one for one in said)
    assert found["verdict"] == "pass", found["cause"]
