# SPDX-License-Identifier: MIT
"""Configurations of a server under test, built as plain dictionaries and written as TOML."""

import json
from datetime import date
from pathlib import Path
from typing import Any

Settings = dict[str, Any]


def to_toml(tables: Settings) -> str:
    """TOML for dictionaries of scalars, lists of scalars, dictionaries and lists of dictionaries."""
    lines: list[str] = []
    _table(lines, (), tables)
    return "\n".join(lines) + "\n"


def _table(lines: list[str], path: tuple[str, ...], table: Settings) -> None:
    nested: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            nested.append((key, value))
        else:
            lines.append(f"{key} = {_value(value)}")
    for key, value in nested:
        here = (*path, key)
        for one in value if isinstance(value, list) else [value]:
            lines += ["", ("[[{}]]" if isinstance(value, list) else "[{}]").format(".".join(here))]
            _table(lines, here, one)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(str(value))


def receive_connector(name: str, port: int, **settings: Any) -> Settings:
    """A receive connector on 127.0.0.1 that does not slow down or count the tests' one source."""
    return {
        "name": name,
        "bindings": [f"127.0.0.1:{port}"],
        "remote_ip_ranges": ["127.0.0.0/8"],
        "max_inbound_connection_per_source": "unlimited",
        "max_inbound_connection_percentage_per_source": 100,
        "tarpit_interval": 0,
        "auth_tarpit_interval": 0,
        **settings,
    }


ANONYMOUS: Settings = {"auth_mechanism": ["Tls"], "permission_groups": ["AnonymousUsers"]}
"""An Internet-facing connector: mail for accepted domains only."""

EXTERNALLY_SECURED: Settings = {
    "auth_mechanism": ["Tls", "ExternalAuthoritative"],
    "permission_groups": ["ExchangeServers"],
}
"""A trusted relay by address: to anywhere, as mail from inside."""

ANONYMOUS_RELAY: Settings = {
    "auth_mechanism": ["Tls"],
    "permission_groups": ["AnonymousUsers"],
    "extended_rights": [{"principal": "Anonymous", "grant": ["ms-Exch-SMTP-Accept-Any-Recipient"]}],
}
"""The other relay recipe: to anywhere, still anonymous."""

CLIENT: Settings = {
    "auth_mechanism": ["Tls", "BasicAuth", "BasicAuthRequireTLS", "ScramSha256"],
    "permission_groups": ["ExchangeUsers"],
}
"""People's programs, with a login."""


def send_connector(name: str, *ports: int, spaces: tuple[str, ...] = ("*",), **settings: Any) -> Settings:
    """A send connector to smart hosts on 127.0.0.1."""
    return {
        "name": name,
        "address_spaces": list(spaces),
        "smart_hosts": [f"[127.0.0.1]:{port}" for port in ports],
        **settings,
    }


def mailbox(name: str, *addresses: str, **settings: Any) -> Settings:
    """A mailbox with its addresses, the first being primary."""
    return {
        "name": name,
        "type": "Mailbox",
        "primary_smtp_address": addresses[0],
        "email_addresses": list(addresses),
        **settings,
    }


def group(name: str, address: str, *members: str, **settings: Any) -> Settings:
    """A distribution group."""
    return {
        "name": name,
        "type": "DistributionGroup",
        "primary_smtp_address": address,
        "email_addresses": [address],
        "members": list(members),
        **settings,
    }


OUT_OF_THE_WAY: Settings = dict.fromkeys(("low_to_medium", "medium_to_high", "high_to_medium", "medium_to_low"), 100)
"""Thresholds that only a drive without any room reaches: how full the drives are that tests run on is not what they are about."""


def base(directory: Path) -> Settings:
    """What all servers under test share: everything in `directory`, one authoritative domain, quick retries.

    Recipients come from `directory`/recipients.toml, logins from `directory`/users.toml.
    """
    return {
        "back_pressure": dict.fromkeys(("database_used_space", "used_disk_space"), OUT_OF_THE_WAY),
        "server": {"fqdn": "mx.contoso.test", "data_directory": str(directory / "data")},
        "directory": {
            "recipients_file": str(directory / "recipients.toml"),
            "users_file": str(directory / "users.toml"),
        },
        "logs": {"flush_interval": 0.05},
        "queues": {
            "queue_glitch_retry_interval": 1,
            "transient_failure_retry_interval": 1,
            "outbound_connection_failure_retry_interval": 1,
            "message_retry_interval": 1,
            "mailbox_delivery_queue_retry_interval": 1,
            "retry_jitter": 0.0,
        },
        "pickup": {"poll_interval": 0.2},
        "accepted_domains": [{"domain_name": "contoso.test", "make_default": True}],
        "receive_connectors": [],
        "send_connectors": [],
    }


def changed(settings: Settings, changes: Settings) -> Settings:
    """A copy with changes merged in, table by table; lists are replaced."""
    result = dict(settings)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = changed(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
