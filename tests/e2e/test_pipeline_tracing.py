# SPDX-License-Identifier: MIT
"""Pipeline tracing on a running server: copies of one sender's messages, and of nobody else's."""

from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

from support.ports import wait_until
from support.server import Server
from support.sink import Sink

END = b"X-EndOfInjectedXHeaders: MessageSnapshot-End injected headers\r\n"


def snapshots(server: Server) -> dict[str, dict[str, bytes]]:
    """Of each message its files by name."""
    folder = server.data / "logs" / "Hub" / "PipelineTracing" / "MessageSnapshots"
    return {
        one.name: {file.name: file.read_bytes() for file in sorted(one.iterdir())}
        for one in (folder.iterdir() if folder.is_dir() else ())
    }


def traced(make_server: Callable[..., Server], sink: Sink, sender: str) -> Server:
    return make_server(
        sink.port, logs={"pipeline_tracing_enabled": True, "pipeline_tracing_sender_address": sender}
    ).start()


def source_of(data: bytes) -> str:
    return str(message_from_bytes(data)["X-MessageSnapshot-Source"])


def test_one_senders_messages_are_copied_at_each_step(make_server: Callable[..., Server], sink: Sink) -> None:
    server = traced(make_server, sink, "Watched@Fabrikam.test")
    message = b"From: <watched@fabrikam.test>\r\nX-MS-Exchange-Organization-SCL: -1\r\nSubject: watched\r\n\r\n.dot\r\n"
    server.send("watched@fabrikam.test", ["bob@contoso.test", "x@adatum.test"], message, connector="secured")
    server.send("other@fabrikam.test", "bob@contoso.test", connector="anonymous")
    server.wait_for_mail("bob", 2)
    wait_until(lambda: len(next(iter(snapshots(server).values()), ())) == 6, 15, lambda: str(snapshots(server)))
    ((name, files),) = snapshots(server).items()
    assert name == server.wait_for_event("RECEIVE", sender_address="watched")["network-message-id"]
    assert list(files) == [
        "Original.eml", "Routing0001.eml", "Routing0002.eml", "Routing0003.eml", "SmtpReceive0001.eml",
        "SmtpReceive0002.eml",
    ]  # fmt: skip
    assert all(data.startswith(b"X-CreatedBy: MessageSnapshot-Begin injected headers\r\n") for data in files.values())
    contents = {name: data.partition(END)[2] for name, data in files.items()}
    assert contents["Original.eml"] == message
    assert contents["SmtpReceive0001.eml"] == message
    accepted = contents["SmtpReceive0002.eml"]
    assert accepted.startswith(b"Received: ")
    assert accepted.endswith(b"\r\n\r\n.dot\r\n")
    assert {contents[name] for name in contents if name.startswith("Routing")} == {accepted}
    assert [source_of(files[name]) for name in files] == [
        "Original", "OnSubmittedMessage", "OnRoutedMessage,Categorizer", "OnRoutedMessage,Categorizer",
        "OnEndOfHeaders", "OnEndOfHeaders,Header Firewall",
    ]  # fmt: skip
    before = message_from_bytes(files["Routing0001.eml"])
    assert before["X-Sender"] == "watched@fabrikam.test"
    assert before.get_all("X-Receiver") == ["bob@contoso.test", "x@adatum.test"]
    forks = [message_from_bytes(files[name])["X-Receiver"] for name in ("Routing0002.eml", "Routing0003.eml")]
    assert sorted(forks) == ["bob@contoso.test", "x@adatum.test"]
    folder = server.data / "logs" / "Hub" / "PipelineTracing" / "MessageSnapshots" / name
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_messages_of_the_system_and_large_ones(make_server: Callable[..., Server], sink: Sink) -> None:
    """ "<>" stands for reports; their original is what the server wrote. Large content goes through files."""
    server = traced(make_server, sink, "<>")
    server.send("carol@contoso.test", "nobody-here@contoso.test", connector="anonymous")
    server.wait_for_event("DSN")
    large = b"From: <>\r\nSubject: large\r\n\r\n" + b"x" * 70 + b"\r\n"
    large += b"y" * 70 + b"\r\n" + (b"z" * 70 + b"\r\n") * 5000
    with server.smtp("anonymous") as client:
        client.sendmail("", ["bob@contoso.test"], large)
    server.wait_for_mail("bob")
    wait_until(lambda: len(snapshots(server)) >= 2, 15, lambda: str(list(snapshots(server))))
    wait_until(lambda: all(len(files) >= 3 for files in snapshots(server).values()), 15)
    originals = [files["Original.eml"] for files in snapshots(server).values()]
    assert any(data.partition(END)[2] == large for data in originals)
    assert any(b"multipart/report" in data for data in originals)


def test_without_it_nothing_is_copied(make_server: Callable[..., Server], sink: Sink, tmp_path: Path) -> None:
    server = make_server(sink.port).start()
    server.send("watched@fabrikam.test", "bob@contoso.test", connector="anonymous")
    server.wait_for_mail("bob")
    assert not (server.data / "logs" / "Hub" / "PipelineTracing").exists()


def test_tracing_without_a_sender_is_a_mistake(make_server: Callable[..., Server]) -> None:
    server = make_server(logs={"pipeline_tracing_enabled": True})
    found = server.command("check")
    assert found.returncode != 0
    assert b"pipeline_tracing_sender_address" in found.stdout + found.stderr
