# SPDX-License-Identifier: MIT
"""One running server that incidents are repeated on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.configuration import (
    ANONYMOUS,
    CLIENT,
    EXTERNALLY_SECURED,
    base,
    mailbox,
    receive_connector,
    send_connector,
)
from support.ports import free_port
from support.server import Server
from support.sink import Sink

RECIPIENTS = [mailbox("bob", "bob@contoso.test"), mailbox("alice", "alice@contoso.test")]
MALICE = {"max_protocol_errors": "unlimited"}


@pytest.fixture(scope="session")
def incident_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("incident-authority"))


@pytest.fixture(scope="session")
def incident_sink() -> Iterator[Sink]:
    """Where mail for other domains goes."""
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def incident_server(
    tmp_path_factory: pytest.TempPathFactory, incident_sink: Sink, incident_authority: Authority
) -> Iterator[Server]:
    """The server, running. Its log must be free of tracebacks in the end, whatever was done to it."""
    directory: Path = tmp_path_factory.mktemp("incidents")
    settings = base(directory)
    trusted_proxy = {"proxy_protocol_sources": ["127.0.0.1"]}
    proxied = free_port()
    settings["receive_connectors"] = [
        receive_connector("internet", free_port(), **ANONYMOUS, **MALICE),
        receive_connector("impatient", free_port(), **ANONYMOUS, connection_inactivity_timeout=1),
        receive_connector(
            "few", free_port(),
            **{**ANONYMOUS, "max_inbound_connection_per_source": 2, "connection_inactivity_timeout": 1},
        ),
        receive_connector("tls-only", free_port(), **ANONYMOUS, require_tls=True),
        receive_connector("client", free_port(), **CLIENT, **MALICE),
        receive_connector("implicit", free_port(), **CLIENT, implicit_tls=True, **MALICE),
        # one port behind a proxy: strangers and the servers of one network that may relay
        receive_connector("behind-proxy", proxied, **{**ANONYMOUS, **trusted_proxy, "remote_ip_ranges": ["0.0.0.0/0"]}),
        receive_connector(
            "inside-proxy", proxied, **{**EXTERNALLY_SECURED, **trusted_proxy, "remote_ip_ranges": ["10.1.0.0/16"]}
        ),
        receive_connector(
            "cloud", free_port(), auth_mechanism=["Tls"], permission_groups=["AnonymousUsers", "Partners"],
            tls_ca_file=str(incident_authority.root), tls_domain_capabilities=["tenant-a.test:AcceptCloudServicesMail"],
        ),
    ]  # fmt: skip
    for connector in settings["receive_connectors"]:
        if "remote_ip_ranges" not in connector:
            connector["remote_ip_ranges"] = ["127.0.0.0/8"]
    settings["send_connectors"] = [send_connector("Everything", incident_sink.port)]
    server = Server(directory, settings, RECIPIENTS)
    server.add_user("alice", "correct horse", "alice@contoso.test")
    with server:
        yield server
    assert "Traceback" not in server.stderr(), server.stderr()[-4000:]
