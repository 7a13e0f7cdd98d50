#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows Bridgehead at work: two servers on loopback, real messages between them, and where each went and why.

`contoso.test` is the server on show: a configuration like the embedded default, with mailboxes, a group, and a
connector from which devices may relay. `fabrikam.test` is the other SMTP server that some of the mail goes to.
Everything lies in ./demo and is left there to look at; both servers are stopped at the end.
"""

import os
import shutil
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
BRIDGEHEAD = (sys.executable, "-m", "bridgehead")
PATIENCE_SECONDS = 30.0

CONTOSO = """\
[server]
fqdn = "mail.contoso.test"
data_directory = "{folder}/contoso"

[directory]
recipients_file = "{folder}/contoso.recipients.toml"

[logs]
flush_interval = "100ms"

[[accepted_domains]]
domain_name = "contoso.test"
make_default = true

# Anybody: recipients of contoso.test only.
[[receive_connectors]]
name = "Default"
bindings = ["127.0.0.1:{port}"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = 0
max_inbound_connection_percentage_per_source = 100

# Devices that may relay, known by their address.
[[receive_connectors]]
name = "Devices"
bindings = ["127.0.0.1:{relay_port}"]
remote_ip_ranges = ["127.0.0.1"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_percentage_per_source = 100

[[receive_connectors.extended_rights]]
principal = "Anonymous"
grant = ["ms-Exch-SMTP-Accept-Any-Recipient"]

[[send_connectors]]
name = "To Fabrikam"
address_spaces = ["fabrikam.test"]
smart_hosts = ["127.0.0.1:{other_port}"]
"""

FABRIKAM = """\
[server]
fqdn = "mail.fabrikam.test"
data_directory = "{folder}/fabrikam"

[directory]
recipients_file = "{folder}/fabrikam.recipients.toml"

[[accepted_domains]]
domain_name = "fabrikam.test"

[[receive_connectors]]
name = "Default"
bindings = ["127.0.0.1:{other_port}"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = 0
max_inbound_connection_percentage_per_source = 100
"""

CONTOSO_RECIPIENTS = """\
[[recipients]]
name = "anna"
type = "Mailbox"
primary_smtp_address = "anna@contoso.test"
email_addresses = ["anna@contoso.test", "a.smith@contoso.test"]

[[recipients]]
name = "ben"
type = "Mailbox"
primary_smtp_address = "ben@contoso.test"
email_addresses = ["ben@contoso.test"]

[[recipients]]
name = "carol"
type = "MailContact"
primary_smtp_address = "carol@contoso.test"
email_addresses = ["carol@contoso.test"]
external_email_address = "carol@fabrikam.test"

[[recipients]]
name = "team"
type = "DistributionGroup"
primary_smtp_address = "team@contoso.test"
email_addresses = ["team@contoso.test"]
members = ["anna", "ben", "carol"]
"""

FABRIKAM_RECIPIENTS = """\
[[recipients]]
name = "carol"
type = "Mailbox"
primary_smtp_address = "carol@fabrikam.test"
email_addresses = ["carol@fabrikam.test"]
"""


class Server:
    """One of the two servers: its configuration and its process."""

    def __init__(self, name: str, ports: Sequence[int]) -> None:
        self.name = name
        self.config = DEMO / f"{name}.toml"
        self.log = DEMO / f"{name}.log"
        self.ports = ports
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*BRIDGEHEAD, "-c", str(self.config), "run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Until every port greets."""
        for port in self.ports:
            wait_for(lambda port=port: self._greets(port), f"{self.name} to listen on port {port}")  # type: ignore[misc]

    def _greets(self, port: int) -> bool:
        if self.process.poll() is not None:
            sys.exit(f"{self.name} ended:\n{self.log.read_text()}")
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=5):
                return True
        except OSError:
            return False

    def command(self, *arguments: str) -> str:
        """What one of our commands prints about this server."""
        environment = {**os.environ, "COLUMNS": "110"}
        command = [*BRIDGEHEAD, "-c", str(self.config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def is_idle(self) -> bool:
        """Whether every message has reached its end."""
        return self.command("queue", "list", "--json").strip() in ("[]", '{"queues":[]}')

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main() -> None:
    ports = free_ports(3)
    prepare(ports)
    heading("Two servers start on loopback")
    with running("fabrikam", ports[2:]) as fabrikam, running("contoso", ports[:2]) as contoso:
        print(f"contoso.test   127.0.0.1:{ports[0]} for everybody, 127.0.0.1:{ports[1]} for devices that may relay")
        print(f"fabrikam.test  127.0.0.1:{ports[2]}, the other SMTP server")
        heading("Messages are handed in by SMTP")
        send(ports[0], "1", "guest@fabrikam.test", "a.smith@contoso.test", "To a mailbox, by its second address")
        send(ports[1], "2", "scanner@contoso.test", "carol@fabrikam.test", "To the other server, from a device")
        send(ports[0], "3", "guest@fabrikam.test", "nobody@contoso.test", "To somebody unknown here")
        send(
            ports[0],
            "4",
            "guest@fabrikam.test",
            "carol@fabrikam.test",
            "To another domain, from somebody who may not relay",
        )
        send(ports[1], "5", "ben@contoso.test", "nobody@fabrikam.test", "To somebody unknown at the other server")
        send(
            ports[0],
            "6",
            "guest@fabrikam.test",
            "team@contoso.test",
            "To a group: two mailboxes and a contact elsewhere",
        )
        wait_for(contoso.is_idle, "contoso.test to finish")
        wait_for(fabrikam.is_idle, "fabrikam.test to finish")
        for number, subject in ACCEPTED:
            heading(f"Message {number}, {subject}: bridgehead trace")
            show_trace(contoso, number)
        heading("What lies in the mailboxes")
        show_mailboxes()
        heading("The server in numbers: bridgehead status")
        print(contoso.command("status").rstrip())
    print(f"\nEverything lies in {DEMO}. To look at the log again:")
    print(f"  .venv/bin/bridgehead -c {(DEMO / 'contoso.toml').relative_to(ROOT)} trace --recipient anna@contoso.test")


ACCEPTED: list[tuple[str, str]] = []
"""Number and subject of each message that got a 250."""


def prepare(ports: Sequence[int]) -> None:
    """Fresh folders and files."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    values = {"folder": DEMO, "port": ports[0], "relay_port": ports[1], "other_port": ports[2]}
    (DEMO / "contoso.toml").write_text(CONTOSO.format(**values))
    (DEMO / "fabrikam.toml").write_text(FABRIKAM.format(**values))
    (DEMO / "contoso.recipients.toml").write_text(CONTOSO_RECIPIENTS)
    (DEMO / "fabrikam.recipients.toml").write_text(FABRIKAM_RECIPIENTS)


@contextmanager
def running(name: str, ports: Sequence[int]) -> Iterator[Server]:
    server = Server(name, ports)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def send(port: int, number: str, sender: str, recipient: str, subject: str) -> None:
    """Hand a message in and print what the server said."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, recipient, subject
    message["Message-ID"] = f"<demo-{number}@client.test>"
    message.set_content("Sent by the demonstration.\n")
    print(f"\n{number}. {subject}\n   {sender} → {recipient}, port {port}")
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30) as client:
        client.ehlo()
        client.mail(sender)
        code, text = client.rcpt(recipient)
        print(f"   RCPT  {code} {text.decode()}")
        if code == 250:
            code, text = client.data(message.as_bytes(policy=SMTP))
            print(f"   DATA  {code} {text.decode()}")
            ACCEPTED.append((number, subject))


def show_trace(server: Server, number: str) -> None:
    """The story of a message, once the log tells its end."""
    arguments = ("trace", "--message-id", f"<demo-{number}@client.test>")
    last = ""

    def settled() -> bool:
        nonlocal last
        before, last = last, server.command(*arguments)
        return bool(last.strip()) and last == before

    wait_for(settled, f"the log of message {number}")
    print(last.rstrip())


def show_mailboxes() -> None:
    for name in ("contoso", "fabrikam"):
        for mailbox in sorted((DEMO / name / "mailboxes").iterdir()):
            files = sorted((mailbox / "new").iterdir())
            print(f"{name}.test  {mailbox.name}: {len(files)} message{'' if len(files) == 1 else 's'}")
            for file in files:
                lines = file.read_text(errors="replace").splitlines()
                subject = next((line for line in lines if line.lower().startswith("subject:")), "")
                print(f"    {file.relative_to(ROOT)}\n        {subject}")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Ask until it is so; give up with a message."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"gave up waiting for {what}; see the logs in {DEMO}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}\n{'-' * len(text)}")


if __name__ == "__main__":
    main()
