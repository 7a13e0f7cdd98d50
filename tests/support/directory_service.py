# SPDX-License-Identifier: MIT
"""A server that behaves as Active Directory does where OpenLDAP does not: binds by user principal name, which is
looked for before the name of an account, refusals with codes of its own, references. Octets in the form of RFC 4511; speaks to one client at a
time as it comes.
"""

import asyncio
import contextlib
from typing import NamedTuple

from bridgehead.ldap import ber

_INVALID = "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data {}, v4563"


class Account(NamedTuple):
    """An account: its own name, the name it logs on by, its password; `trouble`: why it may not log on, "533"."""

    name: str
    principal: str
    password: str
    addresses: tuple[str, ...]
    trouble: str = "52e"
    enabled: bool = True

    @property
    def dn(self) -> str:
        return f"CN={self.name},CN=Users,DC=contoso,DC=test"


class DirectoryService:
    """A domain CONTOSO with these accounts, in clear on loopback."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = accounts
        self.port = 0
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "DirectoryService":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._conversations)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bound: Account | None = None
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            while True:
                head = await reader.readexactly(2)
                size = head[1]
                if size & 0x80:
                    size = int.from_bytes(await reader.readexactly(size & 0x7F), "big")
                message = ber.Reader(await reader.readexactly(size))
                number, (tag, content) = message.number(), message.read()
                request = ber.Reader(content)
                if tag == 0x60:
                    bound, answer = self._bind(request)
                    answers = [answer]
                else:
                    answers = self._search(request, bound)
                for answer in answers:
                    writer.write(ber.element(ber.SEQUENCE, ber.integer(number), answer))
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _bind(self, request: ber.Reader) -> tuple[Account | None, bytes]:
        request.number()
        name, password = request.text(), request.expect(0x80).decode()
        for account in self.accounts:
            if name.lower() in (account.principal.lower(), account.dn.lower()) and password == account.password:
                if account.enabled:
                    return account, _result(0x61, 0)
                return None, _result(0x61, 49, _INVALID.format(account.trouble))
        return None, _result(0x61, 49, _INVALID.format("52e"))

    def _search(self, request: ber.Reader, bound: Account | None) -> list[bytes]:
        """Whoever is named in the filter, to whoever is bound; and a reference, as from the root of a domain."""
        content = request._data
        found = []
        for account in self.accounts:
            named = (
                ber.octets("sAMAccountName") + ber.octets(account.name),
                ber.octets("userPrincipalName") + ber.octets(account.principal),
            )
            if bound is not None and any(one.lower() in content.lower() for one in named):
                found.append(_entry(account))
        reference = ber.element(0x73, ber.octets("ldap://ForestDnsZones.contoso.test/DC=ForestDnsZones"))
        return [*found, reference, _result(0x65, 0)]


def _result(tag: int, code: int, diagnostic: str = "") -> bytes:
    text = f"{diagnostic}\0" if diagnostic else ""
    return ber.element(tag, ber.integer(code, ber.ENUMERATED), ber.octets(""), ber.octets(text))


def _entry(account: Account) -> bytes:
    attributes = {
        "sAMAccountName": (account.name,),
        "userPrincipalName": (account.principal,),
        "proxyAddresses": account.addresses,
    }
    return ber.element(
        0x64,
        ber.octets(account.dn),
        ber.element(
            ber.SEQUENCE,
            *(
                ber.element(ber.SEQUENCE, ber.octets(name), ber.element(ber.SET, *map(ber.octets, values)))
                for name, values in attributes.items()
            ),
        ),
    )
