# SPDX-License-Identifier: MIT
"""What settings demand of one another: each rule says no, with the place and a remedy, and sound settings pass."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from bridgehead.mail.units import Duration
from bridgehead.server.config.bounds import BOUNDS
from bridgehead.server.config.check import check, load_checked
from bridgehead.server.config.default import default
from bridgehead.server.config.load import read
from bridgehead.server.config.problem import ConfigurationError, Severity

DOMAIN = '[[accepted_domains]]\ndomain_name = "contoso.test"\n'
CONNECTOR = (
    '[[receive_connectors]]\nname = "Default"\nbindings = ["0.0.0.0:25"]\npermission_groups = ["AnonymousUsers"]\n'
)
SEND = '[[send_connectors]]\nname = "Out"\naddress_spaces = ["*"]\n'


def findings(folder: Path, text: str) -> list[tuple[str, str]]:
    """Path and text of every problem, "warning" before the text of the milder ones."""
    path = folder / "bridgehead.toml"
    path.write_text(text)
    return [
        (problem.path, ("warning: " if problem.severity is Severity.WARNING else "") + problem.message)
        for problem in check(read(path))
    ]


def test_a_sound_configuration_has_no_problems(tmp_path: Path) -> None:
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND) == []


def test_the_embedded_default_has_no_problems_and_stays_on_loopback() -> None:
    loaded = default()
    assert check(loaded) == []
    for connector in loaded.configuration.receive_connectors:
        assert all(binding.startswith("127.0.0.1:") for binding in connector.bindings)
    assert loaded.configuration.send_connectors == []


@pytest.mark.parametrize(
    ("extra", "path", "message"),
    [
        ('auth_mechanism = ["Tls", "BasicAuthRequireTLS"]', "auth_mechanism", "needs BasicAuth"),
        ('auth_mechanism = ["BasicAuth", "BasicAuthRequireTLS"]', "auth_mechanism", "needs Tls"),
        ('auth_mechanism = ["BasicAuth"]', "auth_mechanism", "over TLS only"),
        ('auth_mechanism = ["None", "Tls"]', "auth_mechanism", "stands beside"),
        ("auth_mechanism = []\nrequire_tls = true", "require_tls", "required but not offered"),
        ("binary_mime_enabled = true\nchunking_enabled = false", "binary_mime_enabled", "chunks only"),
        ('connection_inactivity_timeout = "00:10:00"', "connection_inactivity_timeout", "not below"),
        ('banner = "hello"', "banner", "begins with 220"),
        ('default_domain = "fabrikam.test"', "default_domain", "not an accepted domain"),
        ('fqdn = "bad name"', "fqdn", "no host name"),
        ("max_hop_count = 0", "max_hop_count", "out of range"),
        ('max_message_size = "1 KB"', "max_message_size", "out of range"),
        ('connection_timeout = "2d"', "connection_timeout", "out of range"),
        ('proxy_protocol_sources = ["10.0.0.300"]', "proxy_protocol_sources[0]", "IP range such as"),
        ('remote_ip_ranges = ["10.0.0.9-10.0.0.1"]', "remote_ip_ranges[0]", "ends before it begins"),
        ('remote_ip_ranges = ["10.0.0.1-::1"]', "remote_ip_ranges[0]", "family"),
        ('tls_key_file = "a.pem"', "tls_key_file", "without its certificate"),
    ],
)
def test_receive_connector_rules(tmp_path: Path, extra: str, path: str, message: str) -> None:
    found = findings(tmp_path, DOMAIN + CONNECTOR + extra + "\n")
    assert [(where, text) for where, text in found if where == f"receive_connectors[0].{path}" and message in text], (
        found
    )


@pytest.mark.parametrize("binding", ["25", "0.0.0.0", "0.0.0.0:99999", "::25", "localhost:25", "[0.0.0.0]:25", ":25"])
def test_malformed_bindings(tmp_path: Path, binding: str) -> None:
    found = findings(tmp_path, DOMAIN + CONNECTOR.replace("0.0.0.0:25", binding))
    assert [path for path, _ in found] == ["receive_connectors[0].bindings[0]"]


def test_externally_secured_needs_its_group_and_nothing_but_tls(tmp_path: Path) -> None:
    extra = 'auth_mechanism = ["Tls", "BasicAuth", "ExternalAuthoritative"]\nremote_ip_ranges = ["10.0.0.5"]\n'
    messages = [message for _, message in findings(tmp_path, DOMAIN + CONNECTOR + extra)]
    assert "ExternalAuthoritative may be combined with Tls only" in messages
    assert "ExternalAuthoritative needs the permission group ExchangeServers" in messages


def second(ranges: str, name: str = "Second", binding: str = "0.0.0.0:25") -> str:
    return (
        f'[[receive_connectors]]\nname = "{name}"\nbindings = ["{binding}"]\n'
        f'permission_groups = ["AnonymousUsers"]\nremote_ip_ranges = {ranges}\n'
    )


def test_overlaps_by_containment_are_allowed(tmp_path: Path) -> None:
    assert (
        findings(tmp_path, DOMAIN + CONNECTOR + second('["10.0.0.0/8"]') + second('["10.2.0.1-10.2.0.99"]', "Third"))
        == []
    )


def test_crossing_and_identical_ranges_at_one_binding_are_errors(tmp_path: Path) -> None:
    crossing = second('["10.0.0.1-10.0.0.20"]') + second('["10.0.0.10-10.0.0.30"]', "Third")
    [(path, message)] = findings(tmp_path, DOMAIN + crossing)
    assert path == "receive_connectors[1].remote_ip_ranges[0]"
    assert "in part" in message
    [(path, message)] = findings(
        tmp_path, DOMAIN + second('["10.0.0.0/8"]') + second('["10.0.0.0-10.255.255.255"]', "Third")
    )
    assert "also belongs to connector" in message
    elsewhere = second('["10.0.0.0/8"]') + second('["10.0.0.0/8"]', "Third", "0.0.0.0:26")
    assert findings(tmp_path, DOMAIN + elsewhere) == []


def test_names_are_unique_whatever_their_case(tmp_path: Path) -> None:
    [(path, _)] = findings(tmp_path, DOMAIN + CONNECTOR + second('["10.0.0.0/8"]', "DEFAULT"))
    assert path == "receive_connectors[1].name"


@pytest.mark.parametrize("group", ["Partners", "ExchangeLegacyServers"])
def test_groups_without_members_are_pointed_out(tmp_path: Path, group: str) -> None:
    [(path, message)] = findings(tmp_path, DOMAIN + CONNECTOR.replace('"Anon', f'"{group}", "Anon'))
    assert path == "receive_connectors[0].permission_groups[0]"
    assert message.startswith(f"warning: {group} has no effect")
    right = 'principal = "Partners"\ngrant = ["ms-Exch-SMTP-Accept-Any-Recipient"]\n'
    [(path, message)] = findings(tmp_path, DOMAIN + CONNECTOR + "[[receive_connectors.extended_rights]]\n" + right)
    assert path == "receive_connectors[0].extended_rights[0].principal"
    assert "has no effect" in message


def test_open_relays_are_pointed_out(tmp_path: Path) -> None:
    right = 'principal = "Anonymous"\ngrant = ["ms-Exch-SMTP-Accept-Any-Recipient"]\n'
    grant = "[[receive_connectors.extended_rights]]\n" + right
    [(path, message)] = findings(tmp_path, DOMAIN + CONNECTOR + grant)
    assert path == "receive_connectors[0].extended_rights"
    assert "warning" in message
    assert "open relay" in message
    assert findings(tmp_path, DOMAIN + CONNECTOR + 'remote_ip_ranges = ["10.2.0.0/16"]\n' + grant) == []
    for loopback in ("127.0.0.1:25", "[::1]:25"):
        assert findings(tmp_path, DOMAIN + CONNECTOR.replace("0.0.0.0:25", loopback) + grant) == []
    trusted = CONNECTOR.replace("AnonymousUsers", "ExchangeServers") + 'auth_mechanism = ["ExternalAuthoritative"]\n'
    assert "open relay" in findings(tmp_path, DOMAIN + trusted)[0][1]
    found = findings(tmp_path, DOMAIN.replace("contoso.test", "*") + CONNECTOR)
    assert "open relay" in dict(found)["accepted_domains[0].domain_name"]


@pytest.mark.parametrize(
    ("domains", "path"),
    [
        (["contoso.test", "CONTOSO.test"], "accepted_domains[1].domain_name"),
        (["con toso"], "accepted_domains[0].domain_name"),
        (["*contoso.test"], "accepted_domains[0].domain_name"),
        (["[192.0.2.1]"], "accepted_domains[0].domain_name"),
    ],
)
def test_accepted_domain_rules(tmp_path: Path, domains: list[str], path: str) -> None:
    text = "".join(f'[[accepted_domains]]\ndomain_name = "{domain}"\n' for domain in domains)
    assert [where for where, _ in findings(tmp_path, text + CONNECTOR)] == [path]


def test_only_one_domain_is_the_default(tmp_path: Path) -> None:
    text = "".join(f'[[accepted_domains]]\ndomain_name = "{name}.test"\nmake_default = true\n' for name in "ab")
    assert [path for path, _ in findings(tmp_path, text + CONNECTOR)] == ["accepted_domains[1].make_default"]


@pytest.mark.parametrize(
    ("tls", "connector", "sound"),
    [
        ("", 'dns_servers = ["127.0.0.1"]', True),
        ('dnssec_resolvers = ["192.0.2.53"]', 'dns_servers = ["192.0.2.53:53"]', True),
        ('dnssec_resolvers = ["192.0.2.54"]', 'dns_servers = ["192.0.2.53"]', False),
        ('dnssec_resolvers = ["resolver.test"]', 'dns_servers = ["127.0.0.1"]', False),
        ("mta_sts_port = 0", 'dns_servers = ["127.0.0.1"]', False),
    ],
)
def test_mandatory_dane_needs_a_resolver_that_is_believed(
    tmp_path: Path, tls: str, connector: str, sound: bool
) -> None:  # fmt: skip
    text = f'{DOMAIN}{CONNECTOR}{SEND}smtp_dane_mode = "Mandatory"\n{connector}\n[tls]\n{tls}\n'
    assert (findings(tmp_path, text) == []) is sound


@pytest.mark.parametrize(
    ("extra", "path", "message"),
    [
        ("ignore_starttls = true\nrequire_tls = true", "ignore_starttls", "STARTTLS ignored"),
        ('tls_auth_level = "CertificateValidation"', "tls_auth_level", "needs require_tls"),
        (
            'require_tls = true\ntls_auth_level = "DomainValidation"\nsmart_hosts = ["a.test"]',
            "tls_auth_level",
            "must carry",
        ),
        ('tls_domain = "a.test"', "tls_domain", "DomainValidation only"),
        ('smart_hosts = ["a.test"]\ndns_routing_enabled = true', "dns_routing_enabled", "exclude each other"),
        ("dns_routing_enabled = false", "dns_routing_enabled", "must be smart hosts"),
        ('smart_hosts = ["not a host"]', "smart_hosts[0]", "no host"),
        ('smart_hosts = ["10.0.0.300"]', "smart_hosts[0]", "no host"),
        ('smart_hosts = ["[10.0.0.3]:x"]', "smart_hosts[0]", "no host"),
        ('smart_host_auth_mechanism = "BasicAuth"', "smart_host_auth_mechanism", "for smart hosts"),
        (
            'smart_hosts = ["a.test"]\nsmart_host_auth_mechanism = "BasicAuthRequireTLS"',
            "smart_host_auth_mechanism",
            "needs authentication_username",
        ),
        ('error_policies = ["Default", "DowngradeDnsFailures"]', "error_policies", "stands alone"),
        ('error_policies = ["DowngradeCustomFailures"]', "custom_failures", "needs codes"),
        ('custom_failures = ["250"]', "custom_failures[0]", "no failure code"),
        ('source_ip_addresses = ["192.0.2.1", "192.0.2.2"]', "source_ip_addresses[1]", "IPv4 address already"),
        ('dns_servers = ["192.0.2.53:0"]', "dns_servers[0]", "no address of a DNS server"),
        ("port = 0", "port", "out of range"),
        ('smart_hosts = ["a.test"]\ntls_ocsp_mode = "Check"', "tls_ocsp_mode", "no certificate is checked"),
        ('tls_ocsp_mode = "Soft"', "tls_ocsp_mode", "Check"),
        ('smtp_dane_mode = "Mandatory"\nignore_starttls = true', "smtp_dane_mode", "STARTTLS is ignored"),
        ('smtp_dane_mode = "Mandatory"\nsmart_hosts = ["a.test"]', "smtp_dane_mode", "not for smart hosts"),
        ('smtp_dane_mode = "Mandatory"\ndns_servers = ["192.0.2.53"]', "smtp_dane_mode", "no DNS server is believed"),
        (
            'smtp_dane_mode = "Mandatory"\nrequire_tls = true\ntls_auth_level = "CertificateValidation"',
            "smtp_dane_mode",
            "instead of DANE",
        ),
    ],
)
def test_send_connector_rules(tmp_path: Path, extra: str, path: str, message: str) -> None:
    found = findings(tmp_path, DOMAIN + CONNECTOR + SEND + extra + "\n")
    assert [(where, text) for where, text in found if where == f"send_connectors[0].{path}" and message in text], found


@pytest.mark.parametrize(
    "space", ["*contoso.test", "contoso.test;0", "contoso.test;101", "contoso.test;x", "a b", "FAX:*", ""]
)
def test_malformed_address_spaces(tmp_path: Path, space: str) -> None:
    found = findings(tmp_path, DOMAIN + CONNECTOR + SEND.replace('"*"', f'"{space}"'))
    assert [path for path, _ in found] == ["send_connectors[0].address_spaces[0]"]


@pytest.mark.parametrize(
    "space", ["SMTP:*;1", "contoso.test;5", "*.contoso.test", "smtp:contoso.test;100", "münchen.test"]
)
def test_sound_address_spaces(tmp_path: Path, space: str) -> None:
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND.replace('"*"', f'"{space}"')) == []


@pytest.mark.parametrize(
    "host", ["relay.contoso.test", "relay:587", "192.0.2.1", "192.0.2.1:25", "[192.0.2.1]:587", "[2001:db8::1]"]
)
def test_sound_smart_hosts(tmp_path: Path, host: str) -> None:
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND + f'smart_hosts = ["{host}"]\n') == []


def test_a_literal_password_is_refused_and_never_shown(tmp_path: Path) -> None:
    login = (
        'smart_hosts = ["a.test"]\nsmart_host_auth_mechanism = "BasicAuthRequireTLS"\nauthentication_username = "u"\n'
    )
    [(path, message)] = findings(tmp_path, DOMAIN + CONNECTOR + SEND + login + 'authentication_password = "hunter2"\n')
    assert path == "send_connectors[0].authentication_password"
    assert "hunter2" not in message
    [(_, message)] = findings(
        tmp_path, DOMAIN + CONNECTOR + SEND + login + 'authentication_password = "env:NO_SUCH_1"\n'
    )
    assert "NO_SUCH_1 is not set" in message
    (tmp_path / "secret").write_text("hunter2")
    password = f'authentication_password = "file:{tmp_path}/secret"\n'
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND + login + password) == []


def test_delay_notification_exceeds_the_retries(tmp_path: Path) -> None:
    text = '[queues]\ndelay_notification_timeout = "00:30:00"\n'
    assert [path for path, _ in findings(tmp_path, text + DOMAIN + CONNECTOR)] == ["queues.delay_notification_timeout"]


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ('protocol = "LMTP"', "mailbox_store.address"),
        ('protocol = "LMTP"\naddress = "localhost"', "mailbox_store.address"),
        ('protocol = "LMTP"\naddress = "unix:lmtp"', "mailbox_store.address"),
        ('path = ""', "mailbox_store.path"),
    ],
)
def test_mailbox_store_rules(tmp_path: Path, store: str, path: str) -> None:
    assert [where for where, _ in findings(tmp_path, f"[mailbox_store]\n{store}\n" + DOMAIN + CONNECTOR)] == [path]


def make_pair(folder: Path, days: int) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.contoso.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    files = (folder / f"cert{days}.pem", folder / f"key{days}.pem")
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_certificates_are_read(tmp_path: Path) -> None:
    good, other = make_pair(tmp_path, 365), make_pair(tmp_path, 366)
    expired, soon = make_pair(tmp_path, -1), make_pair(tmp_path, 20)

    def found(certificate: Path, key: Path) -> list[tuple[str, str]]:
        server = f'[server]\ntls_certificate_file = "{certificate}"\ntls_key_file = "{key}"\n'
        return findings(tmp_path, server + DOMAIN + CONNECTOR)

    assert found(*good) == []
    assert found(good[0], other[1])[0][0] == "server.tls_key_file"
    assert "is not the key of" in found(good[0], other[1])[0][1]
    assert "expired" in found(*expired)[0][1]
    assert found(*soon)[0][1].startswith("warning: ")
    assert "cannot be read" in found(tmp_path / "none.pem", good[1])[0][1]
    assert "no certificate" in found(good[1], good[1])[0][1]
    assert "no key" in found(good[0], good[0])[0][1]


def test_consequences_of_an_error_of_form_are_not_told_as_well(tmp_path: Path) -> None:
    found = findings(tmp_path, DOMAIN + CONNECTOR.replace('["0.0.0.0:25"]', "25"))
    assert [path for path, _ in found] == ["receive_connectors[0].bindings"]


def test_errors_of_form_and_of_meaning_come_together(tmp_path: Path) -> None:
    path = tmp_path / "bridgehead.toml"
    path.write_text("[servr]\n" + DOMAIN + CONNECTOR + "max_hop_count = 900\n")
    with pytest.raises(ConfigurationError) as caught:
        load_checked(path)
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (1, "servr"), (8, "receive_connectors[0].max_hop_count"),
    ]  # fmt: skip


def test_every_bound_names_a_setting_and_admits_its_default() -> None:
    for kind, bounds in BOUNDS.items():
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for name, bound in bounds.items():
            assert name in fields, f"{kind.__name__}.{name}"
            default_value = fields[name].default
            assert bound.admits(default_value), f"{kind.__name__}.{name}"


def test_every_numeric_setting_has_a_bound() -> None:
    for kind, bounds in BOUNDS.items():
        for field in msgspec.structs.fields(kind):
            numeric = field.type is float or (
                isinstance(field.type, type) and issubclass(field.type, int | Duration) and field.type is not bool
            )
            assert not numeric or field.name in bounds, f"{kind.__name__}.{field.name}"


def test_recipients_and_logins_are_read(tmp_path: Path) -> None:
    table = '[server]\ndata_directory = "."\n[directory]\nrecipients_file = "r.toml"\n'
    [(path, message)] = findings(tmp_path, table + DOMAIN + CONNECTOR)
    assert path == "directory.recipients_file"
    assert "No such file" in message
    (tmp_path / "r.toml").write_text('[[recipients]]\nname = "anna"\ntyp = "Mailbox"\n')
    found = findings(tmp_path, table + DOMAIN + CONNECTOR)
    assert {path for path, _ in found} == {"directory.recipients_file"}
    assert any("r.toml:3" in message for _, message in found), found
    (tmp_path / "r.toml").write_text("")
    assert findings(tmp_path, table + DOMAIN + CONNECTOR) == []
    (tmp_path / "users.toml").write_text("[users.anna]\npassword = 'x'\n")
    assert [path for path, _ in findings(tmp_path, table + DOMAIN + CONNECTOR)] == ["directory.users_file"]


EXCEPTION = """
[[sender_exceptions]]
name = "Scanners"
owner = "anna"
expires = 2999-12-31
senders = ["scanner@contoso.test"]
remote_ip_ranges = ["203.0.113.5"]
"""


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ('owner = "anna"', 'owner = ""', "owner", "the owner is empty"),
        ('owner = "anna"\n', "", "owner", "required setting is missing"),
        ("2999-12-31", '"soon"', "expires", "a date such as 2027-03-31 was expected"),
        ("2999-12-31", "2001-12-31", "expires", "warning: the exception"),
        ("scanner@contoso.test", "scanner", "senders[0]", "no @"),
        ("scanner@contoso.test", "*@fabrikam.test", "senders[0]", "warning: fabrikam.test is not an accepted domain"),
        ("203.0.113.5", "203.0.113", "remote_ip_ranges[0]", "an IP range such as"),
        ("203.0.113.5", "0.0.0.0/0", "remote_ip_ranges[0]", "warning: 0.0.0.0/0 holds strangers"),
    ],
)
def test_a_sender_exception_has_an_owner_an_end_and_a_place(
    tmp_path: Path, old: str, new: str, path: str, message: str
) -> None:
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND + EXCEPTION) == []
    found = findings(tmp_path, DOMAIN + CONNECTOR + SEND + EXCEPTION.replace(old, new))
    assert [(where, text) for where, text in found if where == f"sender_exceptions[0].{path}" and message in text]


def test_weights_and_the_safety_net_name_what_there_is(tmp_path: Path) -> None:
    sound = (
        '[queues]\nsafety_net_excluded_connectors = ["Out", "Mailboxes"]\n'
        + "".join(f'[[queues.sender_weights]]\nsender = "{one}"\n' for one in ("user:x", "a@b.test", "@b.test"))
    )  # fmt: skip
    assert findings(tmp_path, DOMAIN + CONNECTOR + SEND + sound) == []
    wrong = (
        '[queues]\nsafety_net_excluded_connectors = ["Outt"]\n'
        + "".join(f'[[queues.sender_weights]]\nsender = "{one}"\n' for one in ("nobody", "a@b.test", "A@b.test"))
    )  # fmt: skip
    assert [path for path, _ in findings(tmp_path, DOMAIN + CONNECTOR + SEND + wrong)] == [
        "queues.safety_net_excluded_connectors[0]",
        "queues.sender_weights[0].sender",
        "queues.sender_weights[2].sender",
    ]
