# SPDX-License-Identifier: MIT
"""Passwords, tokens and content appear in no log, no file of ours, no message on stderr and no command's output.

Canaries go through every door; then every file is searched, and everything that was printed. Left out are exactly:
the files that the test itself wrote secrets into; for content also the queue database, the mailboxes, and the pickup
and replay directories, which are there to hold it.
"""

import base64
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.canaries import Canary, leaks, leaks_in_files
from support.certificates import Authority
from support.configuration import (
    ANONYMOUS,
    CLIENT,
    EXTERNALLY_SECURED,
    receive_connector,
    send_connector,
)
from support.identity_provider import CLIENT as APPLICATION
from support.identity_provider import TENANT, IdentityProvider
from support.openid_provider import OpenIdProvider
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Behaviour, Sink
from support.talk import Closed, Talk

PASSWORD, WRONG, TYPED, MECHANISM, SMART_HOST, REFUSED = (
    Canary("password"), Canary("wrongpassword"), Canary("typedascommand"), Canary("asmechanism"),
    Canary("smarthost"), Canary("refusedsmarthost"),
)  # fmt: skip
ADMINISTRATOR, LOGON, PROXY = Canary("administrator"), Canary("apilogon"), Canary("proxyheader")
CREDENTIALS = [PASSWORD, WRONG, TYPED, MECHANISM, SMART_HOST, REFUSED, ADMINISTRATOR, LOGON, PROXY]
BODY, HEADER, SUBJECT, PICKUP, BAD_PICKUP, REFUSED_BODY = (
    Canary("body"), Canary("headertoken"), Canary("subject"), Canary("pickup"), Canary("badpickup"),
    Canary("refusedbody"),
)  # fmt: skip
CONTENT = [BODY, HEADER, SUBJECT, PICKUP, BAD_PICKUP, REFUSED_BODY]

MESSAGE = (
    f"From: <ann@contoso.test>\r\nSubject: {SUBJECT.text}\r\nAuthorization: Bearer {HEADER.text}\r\n\r\n{BODY.text}\r\n"
).encode()


SEPARATOR = "\x01"
"""Of OAUTHBEARER and XOAUTH2."""


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(password: Canary) -> str:
    """What AUTH PLAIN sends."""
    return b64(f"\0ann\0{password.text}")


class World:
    """A server with every log in full, two smart hosts that ask for a login, and all that was printed."""

    def __init__(
        self, server: Server, tls: ssl.SSLContext, secrets: list[Path], issuer: OpenIdProvider | None = None
    ) -> None:
        self.server, self.tls, self.secrets, self.issuer = server, tls, secrets, issuer
        self.printed: list[bytes] = []

    def command(self, *arguments: str, data: bytes = b"") -> str:
        done = self.server.command(*arguments, data=data)
        self.printed += [done.stdout, done.stderr]
        return done.stdout.decode()


@pytest.fixture
def world(make_server: Callable[..., Server], tmp_path: Path) -> Iterator[World]:
    authority = Authority(tmp_path / "certificates")
    issuer = OpenIdProvider(authority)
    pair = authority.issue("localhost")
    secrets = [tmp_path / "relay.secret", tmp_path / "refused.secret"]
    for path, canary in zip(secrets, (SMART_HOST, REFUSED), strict=True):
        path.write_text(canary.text + "\n")
    taking = Sink(Behaviour(context=pair.server_context(), users={"relay": SMART_HOST.text}))
    refusing = Sink(Behaviour(context=pair.server_context(), users={"relay": "another"}))
    verbose = {"protocol_logging_level": "Verbose"}
    login = {
        "smart_host_auth_mechanism": "BasicAuthRequireTLS", "require_tls": True, "authentication_username": "relay",
        "tls_auth_level": "DomainValidation", "tls_domain": "localhost", "tls_ca_file": str(authority.root),
    }  # fmt: skip
    server = make_server(
        logs={
            "json_log_enabled": True, "queue_log_interval": 0.2,
            "message_tracking_log_subject_logging_enabled": False,
        },
        api={
            "binding": f"127.0.0.1:{free_port()}", "tls_certificate_file": str(pair.certificate),
            "tls_key_file": str(pair.key),
        },
        auth_servers=[issuer.settings()],
        receive_connectors=[
            receive_connector("anonymous", free_port(), **ANONYMOUS, **verbose),
            receive_connector(
                "secured", free_port(), **EXTERNALLY_SECURED, reject_unknown_recipients=False, **verbose
            ),
            receive_connector(
                "clients", free_port(), permission_groups=["ExchangeUsers"], implicit_tls=True, max_logon_failures=10,
                auth_mechanism=[*CLIENT["auth_mechanism"], "OAuth"], **verbose,
            ),
            receive_connector("starttls", free_port(), **CLIENT, max_logon_failures=10, **verbose),
            receive_connector(
                "proxied", free_port(), **ANONYMOUS, proxy_protocol_sources=["127.0.0.0/8"], **verbose
            ),
        ],
        send_connectors=[
            send_connector(
                "Taking", taking.port, spaces=("adatum.test",), authentication_password=f"file:{secrets[0]}", **login,
                **verbose,
            ),
            send_connector(
                "Refusing", refusing.port, spaces=("refused.test",), authentication_password=f"file:{secrets[1]}",
                **login, **verbose,
            ),
        ],
    ).start()  # fmt: skip
    yield World(server, ssl.create_default_context(cafile=str(authority.root)), secrets, issuer)
    issuer.close()


def test_secrets_and_content_appear_nowhere(world: World) -> None:
    server = world.server
    log_on(world)
    log_on_wrongly(world)
    type_secrets_as_commands(world)
    send_through_smart_hosts(world)
    send_content(world)
    pick_up(world)
    speak_proxy(world)
    manage(world)
    ask_everything(world)
    wait_until(lambda: list((server.data / "logs/Hub/QueueViewer").glob("*.log")), 15, "the queue log")
    server.stop()
    assert_enough_was_logged(server.data / "logs")

    made_by_the_test = [*world.secrets, server.config]
    found = leaks_in_files(server.directory.parent, CREDENTIALS, made_by_the_test)
    holds_content = [server.data / name for name in ("queue", "mailboxes", "pickup", "replay")]
    found += leaks_in_files(server.directory.parent, CONTENT, [*made_by_the_test, *holds_content])
    found += [f"printed: {leak}" for text in world.printed for leak in leaks(text, [*CREDENTIALS, *CONTENT])]
    assert not found, "\n".join(found)


def log_on(world: World) -> None:
    """In every way there is, over TLS from the start and after STARTTLS."""
    world.command("user", "add", "ann", "--password-stdin", "--address", "ann@contoso.test",
                  data=PASSWORD.text.encode() + b"\n")  # fmt: skip
    port = world.server.port("clients")
    with Talk(port, tls=True) as talk:
        talk.hello()
        talk.expect(f"AUTH PLAIN {plain(PASSWORD)}", "235 *")
        talk.message("ann@contoso.test", "bob@contoso.test", MESSAGE)
    with Talk(port, tls=True) as talk:
        talk.hello()
        talk.expect("AUTH PLAIN", "334*")
        talk.expect(b64(f"ann\0ann\0{PASSWORD.text}"), "235 *")
    with Talk(port, tls=True) as talk:
        talk.hello()
        talk.expect("AUTH LOGIN", "334 *")
        talk.expect(b64("ann"), "334 *")
        talk.expect(b64(PASSWORD.text), "235 *")
    with Talk(port, tls=True) as talk:
        talk.hello()
        talk.scram("ann", PASSWORD.text)
    log_on_with_tokens(world, port)
    with Talk(world.server.port("starttls")) as talk:
        talk.hello()
        talk.ask(f"AUTH PLAIN {plain(PASSWORD)}")  # in clear, which is refused
        talk.expect("STARTTLS", "220 *")
        talk.start_tls()
        talk.hello()
        talk.expect(f"AUTH LOGIN {b64('ann')}", "334 *")
        talk.expect(b64(PASSWORD.text), "235 *")


def log_on_with_tokens(world: World, port: int) -> None:
    """A token that is good and one that is not; its signature is what must not be found."""
    assert world.issuer is not None
    for token, reply in ((world.issuer.token(), "235 *"), (world.issuer.token(aud="api://another"), "334 *")):
        made = Canary("accesstoken")
        made.text = token.rpartition(".")[2]
        CREDENTIALS.append(made)
        for message in (f"OAUTHBEARER {b64(f'n,,{SEPARATOR}auth=Bearer {token}{SEPARATOR * 2}')}",
                        f"XOAUTH2 {b64(f'user=ann{SEPARATOR}auth=Bearer {token}{SEPARATOR * 2}')}"):  # fmt: skip
            with Talk(port, tls=True) as talk:
                talk.hello()
                talk.expect(f"AUTH {message}", reply)


def log_on_wrongly(world: World) -> None:
    """Wrong passwords, and right ones where they do not belong."""
    for attempt in (
        [f"AUTH PLAIN {plain(WRONG)}"],
        [f"AUTH PLAIN {b64(f'ann {WRONG.text}')}"],
        [f"AUTH PLAIN {WRONG.text}"],
        [f"AUTH PLAIN {b64(WRONG.text)} {WRONG.text}"],
        [f"AUTH PLAIN {b64(WRONG.text)}!"],
        ["AUTH PLAIN", WRONG.text],
        ["AUTH PLAIN", b64(WRONG.text) * 2000],
        ["AUTH LOGIN", b64("ann"), b64(WRONG.text)],
        ["AUTH LOGIN", b64("ann"), WRONG.text],
        ["AUTH LOGIN", b64("ann"), "*", WRONG.text],
        ["AUTH SCRAM-SHA-256", b64(f"n,,n=ann,r={WRONG.text}"), b64(f"c=biws,r={WRONG.text},p={WRONG.text}")],
        [f"AUTH SCRAM-SHA-256 {b64(WRONG.text)}"],
        [f"AUTH {MECHANISM.text}"],
        [f"AUTH {b64(MECHANISM.text)}"],
        [f"AUTH XOAUTH2 {b64(f'user=ann auth=Bearer {WRONG.text}')}"],
        [f"AUTH={MECHANISM.text}"],
    ):
        for connector, tls in (("clients", True), ("anonymous", False)):
            say(world.server.port(connector), tls, attempt)


def type_secrets_as_commands(world: World) -> None:
    """What clients send that have lost their place in the dialogue, or speak another protocol."""
    for port, tls in ((world.server.port("clients"), True), (world.server.port("anonymous"), False)):
        say(port, tls, [TYPED.text, b64(TYPED.text), f"PASS {TYPED.text}", f"USER ann {TYPED.text}"])
        say(port, tls, [f"{TYPED.text} {TYPED.text}", f"NOOP {TYPED.text}", f"HELP {TYPED.text}", "QUIT"])
        say(port, tls, [f"RSET {TYPED.text}", f"XCLIENT LOGIN={TYPED.text}", f"a001 LOGIN ann {TYPED.text}"])
        say(port, tls, [f"GET /?password={TYPED.text} HTTP/1.1", f"Authorization: Basic {b64(TYPED.text)}"])
        say(port, tls, [f"STARTTLS {TYPED.text}", f"DATA {TYPED.text}", f"QUIT {TYPED.text}"])


def say(port: int, tls: bool, lines: list[str]) -> None:
    """Say lines whatever the answers are."""
    with Talk(port, tls=tls) as talk:
        try:
            talk.hello()
            for line in lines:
                talk.ask(line)
        except Closed:
            pass  # too many errors, which is the server's right


def send_through_smart_hosts(world: World) -> None:
    """One takes our password, one refuses it: the failed conversation is what is kept longest."""
    server = world.server
    server.send("ann@fabrikam.test", ["x@adatum.test", "x@refused.test"], MESSAGE, "secured")
    server.wait_for_event("SEND", recipient_address="x@adatum.test")
    wait_until(lambda: any(one["last_error"] for one in server.queues()), 15, "the other smart host refused us")


def send_content(world: World) -> None:
    """Delivered, reported as undeliverable, and refused half way."""
    server = world.server
    server.send("bob@contoso.test", "carol@contoso.test", MESSAGE, "anonymous")
    server.wait_for_mail("carol")
    server.send("bob@contoso.test", "nobody-here@contoso.test", MESSAGE, "secured")
    server.wait_for_event("DSN")
    with Talk(server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<bob@contoso.test>", "250 *")
        talk.expect("RCPT TO:<carol@contoso.test>", "250 *")
        talk.expect("DATA", "354 *")
        secret = REFUSED_BODY.text.encode()
        talk.send(b"Subject: " + secret + b"\r\n\r\n" + secret + b"\n" + secret + b"\r\n.\r\n" + secret + b"\r\n")
        assert str(talk.read()).startswith("550 5.6.11")


def pick_up(world: World) -> None:
    folder = world.server.data / "pickup"
    for name, data in (
        (
            "good.eml",
            f"From: a@contoso.test\r\nTo: bob@contoso.test\r\nX-Token: {PICKUP.text}\r\n\r\n{PICKUP.text}\r\n",
        ),
        (
            "bad.eml",
            f"{BAD_PICKUP.text}\r\nFrom: {BAD_PICKUP.text}\r\nTo: {BAD_PICKUP.text}\r\n\r\n{BAD_PICKUP.text}\r\n",
        ),
    ):
        (folder / f"{name}.new").write_text(data)
        (folder / f"{name}.new").rename(folder / name)
    world.server.wait_for_event("RECEIVE", source="PICKUP")
    world.server.wait_for_event("BADMAIL")


def speak_proxy(world: World) -> None:
    port = world.server.port("proxied")
    secret = PROXY.text.encode()
    address = b"\x7f\0\0\1\x7f\0\0\1\x04\xd2\x00\x19"
    tlv = b"\x02" + len(secret).to_bytes(2, "big") + secret
    body = address + tlv
    with Talk(port, preamble=b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(body).to_bytes(2, "big") + body) as talk:
        talk.hello()
    for preamble in (
        b"PROXY TCP4 " + secret + b" 127.0.0.1 1 2\r\n",
        b"PROXY UNKNOWN " + secret + b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x99" + secret,
        secret + b"\r\n",
    ):
        try:
            with Talk(port, preamble=preamble) as talk:
                talk.ask("QUIT")
        except (Closed, ConnectionError):
            pass  # no proxy of ours speaks like that


def manage(world: World) -> None:
    """The management interface: right and wrong logins, a token, and secrets where none belong."""
    world.command("administrator", "add", "eve", "--role", "viewer", "--password-stdin",
                  data=ADMINISTRATOR.text.encode() + b"\n")  # fmt: skip
    token = json.loads(world.server.command("administrator", "token", "eve", "--json").stdout)["token"]
    made = Canary("token")
    made.text = token
    CREDENTIALS.append(made)
    port = int(world.server.settings["api"]["binding"].rpartition(":")[2])
    for authorization, status in (
        (f"Basic {b64(f'eve:{ADMINISTRATOR.text}')}", 200),
        (f"Bearer {token}", 200),
        (f"Basic {b64(f'eve:{LOGON.text}')}", 401),
        (f"Bearer {LOGON.text}", 401),
        (f"{LOGON.text} {LOGON.text}", 401),
    ):
        connection = http.client.HTTPSConnection("localhost", port, context=world.tls, timeout=15)
        connection.request("GET", "/v1/status", headers={"Authorization": authorization})
        assert connection.getresponse().status == status, authorization
        connection.close()


def ask_everything(world: World) -> None:
    """Each command that shows what the server knows; content is for `message show` alone, which is not asked here."""
    commands = (
        "status", "status", "back-pressure", "check", "queue list", "queue show Submission", "queue verify", "connector list",
        "user list", "recipient list", "administrator list", "audit", "audit-log", "action list", "reload",
        "trace --sender ann@fabrikam.test", "trace --recipient bob@contoso.test", "why x@refused.test",
        "why refused.test", "test send-connector Refusing", "test send-connector Taking",
        "test receive-connector clients",
    )  # fmt: skip
    for number, command in enumerate(commands):
        world.command(*command.split(), *(["--json"] if number % 2 else []))
    assert b"Refusing" in b"".join(world.printed)


def assert_enough_was_logged(logs: Path) -> None:
    """The search means something only where the logs are full."""
    receive = b"".join(file.read_bytes() for file in (logs / "Hub/ProtocolLog/SmtpReceive").glob("*.log"))
    for text in (
        b"AUTH PLAIN",
        b"AUTH LOGIN",
        b"AUTH SCRAM-SHA-256",
        b"AUTH OAUTHBEARER",
        b"<authentication data>",
        b"that are no command",
    ):
        assert text in receive
    send = b"".join(file.read_bytes() for file in (logs / "Hub/ProtocolLog/SmtpSend").glob("*.log"))
    assert b"AUTH" in send
    assert b"535 5.7.8" in send
    for pattern in ("MSGTRK*.log", "MSGTRK*.jsonl", "RECV*.jsonl", "AGENTLOG*.log", "CONNECTLOG*.log", "*.xml"):
        assert list(logs.rglob(pattern)), pattern


# --- access tokens -------------------------------------------------------------------------------------------------------


def test_tokens_and_their_secrets_appear_nowhere(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """One smart host takes our tokens, one refuses them, and one provider repeats the wrong secret that we sent it."""
    authority = Authority(tmp_path / "certificates", days=90)
    pair = authority.issue("localhost", days=90)
    good, wrong = tmp_path / "good.secret", tmp_path / "wrong.secret"
    refused = ("{}", "535 5.7.3 Authentication unsuccessful")
    with (
        IdentityProvider(pair.server_context()) as provider,
        Sink(Behaviour(context=pair.server_context(), on_token=provider.check)) as taking,
        Sink(Behaviour(context=pair.server_context(), on_token=lambda *_: refused)) as refusing,
    ):
        canaries = [Canary("clientsecret"), Canary("wrongclientsecret")]
        provider.secret = canaries[0].text
        good.write_text(canaries[0].text)
        wrong.write_text(canaries[1].text)

        def connector(name: str, sink: Sink, **oauth: str) -> dict[str, object]:
            return send_connector(
                name, sink.port, spaces=(f"{name.lower()}.test",), smart_host_auth_mechanism="OAuth",
                authentication_username="ann@contoso.test", tls_domain="localhost", require_tls=True,
                tls_auth_level="DomainValidation", tls_ca_file=str(authority.root), protocol_logging_level="Verbose",
                oauth={"tenant": TENANT, "client_id": APPLICATION, "token_url": provider.token_url,
                       "device_authorization_url": provider.device_url, "ca_file": str(authority.root), **oauth},
            )  # fmt: skip

        server = make_server(
            logs={"json_log_enabled": True, "queue_log_interval": 0.2},
            receive_connectors=[receive_connector("secured", free_port(), **EXTERNALLY_SECURED)],
            send_connectors=[
                connector("Taking", taking, client_secret=f"file:{good}"),
                connector("Refusing", refusing, client_secret=f"file:{good}"),
                connector("Wrong", taking, client_secret=f"file:{wrong}"),
                connector("Kept", taking, grant="RefreshToken"),
                connector("Coded", taking, grant="DeviceCode"),
            ],
        ).start()  # fmt: skip
        world = World(server, ssl.create_default_context(), [good, wrong])
        world.command("oauth", "login", "Kept", "--refresh-token-stdin", data=provider.new_refresh_token().encode())
        world.command("oauth", "login", "Kept", "--refresh-token-stdin", data=canaries[1].text.encode())
        world.command("oauth", "login", "Coded", "--no-wait", "--json")
        provider.entered = True
        world.command("oauth", "login", "Coded", "--json")
        domains = [f"x@{name}.test" for name in ("taking", "refusing", "wrong", "kept", "coded")]
        server.send("ann@fabrikam.test", domains, MESSAGE, "secured")
        taking.wait(3)
        wait_until(lambda: sum(bool(one["last_error"]) for one in server.queues()) >= 2, 15, "two that fail")
        for command in (
            "status", "queue list", "why x@refusing.test", "why x@wrong.test", "why x@wrong.test --transcript",
            "oauth status", "oauth refresh Taking", "oauth refresh Wrong", "test send-connector Refusing",
            "test send-connector Wrong", "test send-connector Kept", "alarm list", "audit-log", "connector list",
        ):  # fmt: skip
            world.command(*command.split())
            if "--transcript" not in command:
                world.command(*command.split(), "--json")
        server.stop()

        tokens = {text for _, form in provider.requests for name, text in form.items()
                  if name in ("refresh_token", "device_code", "client_assertion")}  # fmt: skip
        tokens |= {*provider.issued, *provider.refresh_tokens}
        assert len(tokens) >= 8
        for number, text in enumerate(tokens):
            canary = Canary(f"token {number}")
            canary.text = text[-60:]  # the signature of a token; a piece is as bad as the whole
            canaries.append(canary)
        found = leaks_in_files(server.directory.parent, canaries, [good, wrong, authority.directory])
        found += [f"printed: {leak}" for text in world.printed for leak in leaks(text, canaries)]
        assert not found, "\n".join(found)
        sent = b"".join(file.read_bytes() for file in (server.data / "logs/Hub/ProtocolLog/SmtpSend").glob("*.log"))
        assert b"AUTH XOAUTH2" in sent
        assert b"535 5.7.3" in sent
        assert b"AADSTS7000215" in b"".join(world.printed)
