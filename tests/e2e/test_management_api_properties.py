# SPDX-License-Identifier: MIT
"""The management interface does what its description says, whatever it is asked: schemathesis against a real server.

Everything is called, what destroys among it, with values that fit the description and values that do not. Each answer
must be one that the description knows, of the type and content it says, and none a fault of the server.
"""

from collections.abc import Iterator
from copy import deepcopy

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from bridgehead.admin.api.openapi import description
from support.certificates import Authority
from support.configuration import EXTERNALLY_SECURED, base, receive_connector, send_connector
from support.ports import free_port
from support.server import Server

CHECKS_OF_ANY_DATA = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CHECKS = [*CHECKS_OF_ANY_DATA, negative_data_rejection, unsupported_method]
EXAMPLES = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with queued mail that nobody takes, and its interface on TCP."""
    directory = tmp_path_factory.mktemp("api")
    configuration = base(directory)
    configuration["receive_connectors"] = [receive_connector("secured", free_port(), **EXTERNALLY_SECURED)]
    configuration["send_connectors"] = [send_connector("To everything/everywhere", free_port())]
    authority = Authority(directory / "certificates")
    pair = authority.issue("localhost")
    configuration["api"] = {
        "binding": f"127.0.0.1:{free_port()}",
        "tls_certificate_file": str(pair.certificate),
        "tls_key_file": str(pair.key),
    }
    with Server(directory / "server", configuration) as one:
        for number in range(5):
            one.send("ann@contoso.test", [f"{number}@example.net", f"{number}@example.org"])
        password = b"correct horse battery staple\n"
        one.succeed("administrator", "add", "anna", "--role", "administrator", "--password-stdin", data=password)
        yield one
        assert "Traceback" not in one.stderr(), one.stderr()


@pytest.fixture(scope="module")
def session(server: Server) -> Iterator[requests.Session]:
    """An administrator's, with a token, on one connection."""
    with requests.Session() as one:
        one.headers["Authorization"] = f"Bearer {server.ask('administrator', 'token', 'anna')['token']}"
        one.trust_env = False
        one.verify = str(server.directory.parent / "certificates" / "root.pem")
        yield one


@pytest.fixture(scope="module")
def existing(server: Server) -> dict[str, str]:
    """What names in paths may stand for, so that more is met than "there is no such"."""
    message = server.ask("message", "list")[-1]
    return {"name": message["queue"], "id": str(message["id"]), "identity": str(message["id"])}


def url(server: Server) -> str:
    """Where the interface is."""
    return f"https://localhost:{server.settings['api']['binding'].rpartition(':')[2]}"


DESCRIPTION = msgspec.json.decode(description())
schema = schemathesis.openapi.from_dict(deepcopy(DESCRIPTION))


@pytest.mark.timeout(600)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_interface_does_what_its_description_says(
    case: schemathesis.Case, server: Server, session: requests.Session, existing: dict[str, str]
) -> None:
    options = {"base_url": url(server), "session": session, "verify": session.verify, "timeout": 60}
    case.call_and_validate(checks=CHECKS, **options)
    if case.path_parameters:  # once more with a queue or a message that is there
        case.path_parameters = {name: existing.get(name, value) for name, value in case.path_parameters.items()}
        case.call_and_validate(checks=CHECKS_OF_ANY_DATA, **options)


def test_the_server_gives_the_same_description(server: Server, session: requests.Session) -> None:
    assert session.get(f"{url(server)}/v1/openapi.json", timeout=30).json() == DESCRIPTION


def test_numbers_that_no_store_holds_are_answered_like_other_strange_ones(
    server: Server, session: requests.Session
) -> None:
    huge = "9" * 23
    for path in (f"standing-rules/{huge}", f"actions/{huge}", f"messages?filter=Size -gt {huge}"):
        answer = session.get(f"{url(server)}/v1/{path}", timeout=30)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    for subject in (huge, "²"):
        said = server.command("why", subject)
        assert (said.returncode, b"Error: why failed" in said.stderr) == (1, False), said
