# SPDX-License-Identifier: MIT
"""Mail in our own name from outside, at a running server that asks a real DNS server."""

import asyncio
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from support.dns_server import ScriptedDns
from support.server import Server
from support.sink import Sink

FORGIVEN = (
    "boss @ contoso.test", "boss@(x)contoso.test", "Boss <boss @contoso.test>", "=?x?q?boss=40contoso.test?=",
    "=?utf-8?q?boss=40contoso.test=00?=@evil.test", "eve@evil.test (<boss@contoso.test>", '"<boss@contoso.test>"@evil.test',
)  # fmt: skip
"""What the strict reading finds no address of ours in, and some readers do."""


def message(author: str) -> bytes:
    return f"From: {author}\r\nTo: anna@contoso.test\r\nSubject: Invoice\r\n\r\nPlease pay.\r\n".encode()


async def answer(server: Server, path: str, author: str) -> tuple[int, str]:
    """The reply to the end of a message that a stranger sends."""

    def send() -> tuple[int, str]:
        with server.smtp("anonymous") as client:
            try:
                client.sendmail(path, "anna@contoso.test", message(author))
            except smtplib.SMTPResponseException as error:
                return error.smtp_code, bytes(error.smtp_error).decode()
        return 250, ""

    return await asyncio.to_thread(send)


@pytest.mark.parametrize("allowed", ["127.0.0.1", "192.0.2.25"])
async def test_d15_strangers_in_our_name_need_spf_dkim_or_an_exception(
    make_server: Callable[..., Server], sink: Sink, allowed: str
) -> None:
    async with ScriptedDns() as dns:
        dns.add("contoso.test", "TXT", f'"v=spf1 ip4:{allowed} -all"')
        dns.add("_dmarc.contoso.test", "TXT", '"v=DMARC1; p=reject"')
        server = make_server(
            sink.port,
            server={"dns_servers": [dns.address]},
            sender_exceptions=[
                {
                    "name": "Scanners", "owner": "anna", "expires": (datetime.now(UTC) + timedelta(days=9)).date(),
                    "senders": ["scanner@contoso.test"], "remote_ip_ranges": ["127.0.0.0/8"],
                }
            ],
        )  # fmt: skip
        server.settings["receive_connectors"][0]["anti_spoofing_enabled"] = True
        server.configure(server.settings)
        await asyncio.to_thread(server.start)

        by_spf = await answer(server, "boss@contoso.test", "boss@contoso.test")
        if allowed == "127.0.0.1":
            assert by_spf == (250, "")
        else:
            assert by_spf[0] == 550
            assert by_spf[1].startswith("5.7.26 ")
        assert (await answer(server, "eve@evil.test", "boss@contoso.test"))[0] == 550
        for author in FORGIVEN:
            assert (await answer(server, "eve@evil.test", author))[0] == 550, author
        assert (await answer(server, "scanner@contoso.test", "scanner@contoso.test"))[0] == 250
        assert (await answer(server, "eve@evil.test", "eve@evil.test"))[0] == 250
        dns.servfail("contoso.test")
        await asyncio.to_thread(server.restart)
        assert (await answer(server, "boss@contoso.test", "boss@contoso.test"))[0] == 451
        received = [line["custom-data"] for line in server.tracking() if line["event-id"] == "RECEIVE"]
        assert any("S:SenderAuth=exception=Scanners" in line for line in received)
        assert any("S:SenderAuth=spf=contoso.test" in line for line in received) is (allowed == "127.0.0.1")
