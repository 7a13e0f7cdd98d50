# SPDX-License-Identifier: MIT
"""`bridgehead test` and `bridgehead audit` without a server, and the page."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click import unstyle

from bridgehead.admin.cli.probe.page import page
from bridgehead.admin.cli.probe.text import tree_text
from bridgehead.admin.probe.steps import ProbeResult, Step, Verdict, first_cause
from bridgehead.receive.settings import PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import AcceptedDomain, SendConnector
from support.cli import Commands
from support.ports import free_port
from support.sink import Sink

_VOID = {"meta", "br", "link", "img"}


class Checked(HTMLParser):
    """Elements that are closed in order, and what a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def result(sentence: str = "It fails", remedy: str = "repair it", detail: str = "evidence") -> ProbeResult:
    bad = Step(sentence=sentence, verdict=Verdict.FAILURE, milliseconds=3, remedy=remedy, details=[detail])
    good = Step(sentence="It works", verdict=Verdict.PASS, milliseconds=1, details=["good evidence"])
    root = Step(sentence="All", verdict=Verdict.FAILURE, milliseconds=5, steps=[good, bad])
    guilty = first_cause(root)
    assert guilty is bad
    return ProbeResult(
        kind="send-connector", name="Out", started_at=datetime(2026, 11, 23, 9, tzinfo=UTC), verdict=Verdict.FAILURE,
        milliseconds=5, tree=root, cause=guilty.sentence, remedy=guilty.remedy,
    )  # fmt: skip


def test_the_tree_as_text() -> None:
    text = unstyle(tree_text(result(), everything=False))
    assert "✗ All (5 ms)" in text
    assert "├─ ✓ It works (1 ms)" in text
    assert "└─ ✗ It fails (3 ms)" in text
    assert "→ repair it" in text
    assert "evidence" in text
    assert "good evidence" not in text
    assert "good evidence" in tree_text(result(), everything=True)


def test_the_tree_keeps_its_branches_where_the_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "it fails with so many words that no terminal of forty columns holds them in one line"
    monkeypatch.setenv("COLUMNS", "40")
    lines = unstyle(tree_text(result(sentence=long, remedy=long), everything=True)).splitlines()
    assert max(map(len, lines[:-1])) <= 40
    place = next(number for number, line in enumerate(lines) if line.startswith("└─ ✗ it fails"))
    assert lines[place + 1].startswith("     ")
    monkeypatch.delenv("COLUMNS")
    assert f"└─ ✗ {long} (3 ms)" in unstyle(tree_text(result(sentence=long), everything=True)), "a pipe gets it whole"


def test_the_page_stands_alone_and_escapes_what_strangers_say() -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>&\"'"
    text = page(result(hostile, hostile, hostile))
    checked = Checked(text)
    assert checked.references == []
    assert not checked.seen & {"script", "img", "link", "iframe", "object"}
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"Content-Security-Policy.*default-src 'none'", text)
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def connectors(folder: Path, port: int, sink: Sink | None = None) -> Commands:
    return Commands(
        folder,
        accepted_domains=[AcceptedDomain(domain_name="contoso.test")],
        receive_connectors=[
            ReceiveConnector(
                name="Default",
                bindings=[f"127.0.0.1:{port}"],
                permission_groups=[PermissionGroup.ANONYMOUS_USERS],
            )
        ],
        send_connectors=[
            SendConnector(name="Out", address_spaces=["*"], smart_hosts=[f"127.0.0.1:{sink.port if sink else port}"])
        ],
    )


def test_exit_codes_and_outputs(tmp_path: Path) -> None:
    with Sink() as sink:
        commands = connectors(tmp_path, free_port(), sink)
        good = commands.json("test", "send-connector", "Out", "--recipient", "anna@fabrikam.test")
        assert good["verdict"] == "warning"
        commands("test", "send-connector", "Out", "--strict", code=1)
        commands("test", "smtp", f"127.0.0.1:{sink.port}")
        text = commands("test", "domain", "fabrikam.test", "--html", str(tmp_path / "page.html")).output
        assert "this command tests by itself" in text
        Checked((tmp_path / "page.html").read_text())
        commands("test", "smtp", f"127.0.0.1:{sink.port}", "--tls", "sometimes", code=2)
    bad = commands("test", "send-connector", "Out", "--timeout", "1", code=1).output
    assert "Cause: 127.0.0.1" in bad
    fault = commands.json("test", "send-connector", "Nothing", code=1)
    assert fault["error"]["code"] == "not_found"
    commands("test", "results", code=3)


def test_the_audit_without_a_server(tmp_path: Path) -> None:
    commands = connectors(tmp_path, free_port())
    text = commands("audit", "--rights").output
    assert '"Default": 127.0.0.1' in text
    assert "anonymous: may send to accepted domains only" in text
    assert "ms-Exch-SMTP-Submit" in text
    assert "none is relayed beyond what is granted" in text
    assert commands.json("audit")["verdict"] == "pass"
