# SPDX-License-Identifier: MIT
"""Checks of the [server] table."""

import grp
import ipaddress
import pwd

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_server(configuration: Configuration, findings: Findings) -> None:
    """Name, DNS servers, certificate pair, account."""
    server = configuration.server
    check_host_name(server.fqdn, ("server", "fqdn"), findings)
    for index, address in enumerate(server.dns_servers):
        check_dns_server(address, ("server", "dns_servers", index), findings)
    check_pair(server.tls_certificate_file, server.tls_key_file, ("server",), findings)
    if server.user and not _exists(pwd.getpwnam, server.user):
        findings.error(
            ("server", "user"), f'there is no account "{server.user}" here', f"useradd --system {server.user}"
        )
    if server.group and not _exists(grp.getgrnam, server.group):
        findings.error(
            ("server", "group"), f'there is no group "{server.group}" here', f"groupadd --system {server.group}"
        )
    if server.group and not server.user:
        findings.error(("server", "group"), "a group without a user has no effect", "set server.user as well")


def check_logs(configuration: Configuration, findings: Findings) -> None:
    """Pipeline tracing says whose messages it keeps."""
    logs = configuration.logs
    address, path = logs.pipeline_tracing_sender_address, ("logs", "pipeline_tracing_sender_address")
    if logs.pipeline_tracing_enabled and not address:
        findings.error(path, "pipeline tracing keeps the messages of one sender", 'write its address, or "<>"')
    elif address and address != "<>":
        try:
            parse_mailbox(address)
        except AddressError as error:
            findings.error(path, f'"{address}" is no mail address: {error}', 'write "anna@contoso.com" or "<>"')


def check_host_name(name: str, path: KeyPath, findings: Findings) -> None:
    """A host name as it is sent in banners and EHLO; "" is allowed."""
    if not name:
        return
    try:
        parse_domain(name)
    except AddressError as error:
        findings.error(path, f'"{name}" is no host name: {error}', 'write a full name such as "mail.contoso.com"')
        return
    if not name.isascii():
        findings.error(path, f'"{name}" has letters that SMTP cannot carry here', "write its A-label form (xn--…)")


def check_dns_server(text: str, path: KeyPath, findings: Findings) -> None:
    """ "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"."""
    if not _is_address_with_port(text):
        findings.error(
            path,
            f'"{text}" is no address of a DNS server',
            'write "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:53"',
        )


def check_pair(certificate: str, key: str, table: KeyPath, findings: Findings) -> None:
    """A certificate needs its key and the other way round."""
    if certificate and not key:
        findings.error(
            (*table, "tls_certificate_file"), "a certificate without its key cannot be used", "set tls_key_file as well"
        )
    if key and not certificate:
        findings.error(
            (*table, "tls_key_file"), "a key without its certificate cannot be used", "set tls_certificate_file as well"
        )


def _is_address_with_port(text: str) -> bool:
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not port or (port.isascii() and port.isdigit() and 0 < int(port) < 65536)


def _exists(look_up: object, name: str) -> bool:
    assert callable(look_up)
    try:
        look_up(name)
    except KeyError:
        return False
    return True
