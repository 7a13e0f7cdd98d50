# SPDX-License-Identifier: MIT
"""One running server with connectors of many kinds, for all conversations."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.configuration import (
    ANONYMOUS,
    ANONYMOUS_RELAY,
    CLIENT,
    EXTERNALLY_SECURED,
    Settings,
    base,
    mailbox,
    receive_connector,
    send_connector,
)
from support.ports import free_port
from support.server import Server
from support.sink import Sink

CONNECTORS: dict[str, Settings] = {
    "anonymous": ANONYMOUS,
    "secured": EXTERNALLY_SECURED,
    "relay": ANONYMOUS_RELAY,
    "client": CLIENT,
    "nobody": {"auth_mechanism": ["None"], "permission_groups": ["None"]},
    "lax": {**ANONYMOUS, "reject_unknown_recipients": False},
    "no-own-senders": {
        **ANONYMOUS,
        "extended_rights": [{"principal": "Anonymous", "deny": ["ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"]}],
    },
    "hello-required": {**ANONYMOUS, "require_ehlo_domain": True},
    "tls-only": {**ANONYMOUS, "require_tls": True},
    "implicit": {**ANONYMOUS, "implicit_tls": True},
    "repair": {**ANONYMOUS, "bare_linefeed_repair": True},
    "proxied": {**ANONYMOUS, "proxy_protocol_sources": ["127.0.0.1"], "remote_ip_ranges": ["192.0.2.0/24"]},
    "reserved": {
        **ANONYMOUS_RELAY,
        "reject_reserved_top_level_recipient_domains": True,
        "reject_reserved_second_level_recipient_domains": True,
        "reject_single_label_recipient_domains": True,
    },
    "small": {
        **ANONYMOUS,
        "max_message_size": 65536,
        "max_header_size": 4096,
        "max_recipients_per_message": 3,
        "max_hop_count": 3,
    },
    "bare": {
        "auth_mechanism": ["None"],
        "permission_groups": ["AnonymousUsers"],
        "pipelining_enabled": False,
        "eight_bit_mime_enabled": False,
        "binary_mime_enabled": False,
        "chunking_enabled": False,
        "smtp_utf8_enabled": False,
        "delivery_status_notification_enabled": False,
        "enhanced_status_codes_enabled": False,
        "size_enabled": "Disabled",
    },
}
TOLERANT: Settings = {"max_protocol_errors": "unlimited"}
"""Most scripts make errors on purpose; "small" keeps Exchange's limit of 5."""

RECIPIENTS = [
    mailbox("bob", "bob@contoso.test", "robert@contoso.test"),
    mailbox("carol", "carol@contoso.test"),
    mailbox("alice", "alice@contoso.test", "alice.a@contoso.test"),
    mailbox("postmaster", "postmaster@contoso.test"),
]


@pytest.fixture(scope="session")
def conversation_sink() -> Iterator[Sink]:
    """Where mail for other domains goes."""
    with Sink() as sink:
        yield sink


def settings_for(directory: Path, next_hop_port: int) -> tuple[Settings, list[Settings]]:
    """Configuration and recipients of what scripts talk to."""
    settings = base(directory)
    settings["receive_connectors"] = [
        receive_connector(name, free_port(), **({} if name == "small" else TOLERANT), **kind)
        for name, kind in CONNECTORS.items()
    ]
    settings["send_connectors"] = [send_connector("Everything", next_hop_port)]
    return settings, RECIPIENTS


@pytest.fixture(scope="session")
def conversation_settings() -> Callable[[Path, int], tuple[Settings, list[Settings]]]:
    """Makes configuration and recipients, for tests without the server."""
    return settings_for


@pytest.fixture(scope="session")
def conversation_server(tmp_path_factory: pytest.TempPathFactory, conversation_sink: Sink) -> Iterator[Server]:
    """The server, running."""
    directory: Path = tmp_path_factory.mktemp("conversations")
    server = Server(directory, *settings_for(directory, conversation_sink.port))
    server.add_user("alice", "correct horse", "alice@contoso.test", "alice.a@contoso.test")
    server.add_user("carol", "battery", "carol@contoso.test")
    with server:
        yield server


@pytest.fixture(scope="session")
def unique_name() -> "UniqueNames":
    return UniqueNames()


class UniqueNames:
    """Makes texts that no other run of a script used."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, stem: str = "u") -> str:
        with self._lock:
            self._count += 1
            return f"{stem.replace('_', '-')}-{self._count}"
