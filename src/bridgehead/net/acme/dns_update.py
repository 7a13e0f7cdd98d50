# SPDX-License-Identifier: MIT
"""dns-01: TXT records by dynamic update (RFC 2136) with a TSIG key (RFC 8945), for ACME (RFC 8555 §8.4).

The name is followed where it is an alias, so that a zone of its own can be delegated for the purpose. Blocking; runs in
the thread that speaks to the authority.
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.secret import Secret
from bridgehead.net.acme.responders import ChallengeFailed
from bridgehead.net.dns.resolver import server_text

ALGORITHMS: Final = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
_TTL: Final = 60
_SECONDS: Final = 10.0
_ALIASES: Final = 8
_POLL_SECONDS: Final = 0.5


class DnsAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where updates go and who signs them.

    Attributes:
        server: the primary, "192.0.2.53" or "192.0.2.53:5353".
        zone: to update; "" asks the primary.
        secondaries: must show the record as well.
        propagation_seconds: how long that may take.
    """

    server: str
    zone: str = ""
    key_name: str = ""
    key_algorithm: str = "hmac-sha256"
    key_secret: Secret | None = None
    secondaries: Sequence[str] = ()
    propagation_seconds: float = 120.0


class DnsResponder:
    """Publishes TXT records and removes them.

    Args:
        stopped: asked while waiting; whether to give up.
    """

    def __init__(self, access: DnsAccess, stopped: Callable[[], bool] = lambda: False) -> None:
        self._access, self._stopped = access, stopped
        self._published: list[tuple[dns.name.Name, dns.name.Name, str]] = []

    def open(self) -> None:
        """Raises ChallengeFailed where the key cannot be used."""
        self._keyring()

    def present(self, domain: str, token: str, key_authorization: str) -> None:
        """Publish the answer and wait until it can be seen. Raises ChallengeFailed."""
        digest = hashlib.sha256(key_authorization.encode()).digest()
        value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        name = self._follow(dns.name.from_text(f"_acme-challenge.{domain.removeprefix('*.')}"))
        zone = dns.name.from_text(self._access.zone) if self._access.zone else self._zone_of(name)
        self._update(zone, lambda update: update.add(name, _TTL, "TXT", f'"{value}"'))
        self._published.append((zone, name, value))
        self._wait(name, value)

    def close(self) -> None:
        """Remove what was published; never raises."""
        for zone, name, value in self._published:
            try:
                self._withdraw(zone, name, value)
            except ChallengeFailed:
                continue  # a stale record harms nobody
        self._published.clear()

    def _withdraw(self, zone: dns.name.Name, name: dns.name.Name, value: str) -> None:
        self._update(zone, lambda update: update.delete(name, "TXT", f'"{value}"'))

    def _update(self, zone: dns.name.Name, change: Callable[[dns.update.UpdateMessage], None]) -> None:
        ring = self._keyring()
        algorithm = dns.name.from_text(self._access.key_algorithm)
        update = dns.update.UpdateMessage(zone, keyring=ring, keyalgorithm=algorithm)
        change(update)
        answer = self._ask(update, self._access.server)
        if answer.rcode() != dns.rcode.NOERROR:
            word = dns.rcode.to_text(answer.rcode())
            raise ChallengeFailed(f"{self._access.server} answered the update of {zone} with {word}")

    def _keyring(self) -> dict[dns.name.Name, dns.tsig.Key] | None:
        access = self._access
        if not access.key_name or access.key_secret is None:
            return None
        try:
            secret = base64.b64decode(access.key_secret.reveal(), validate=True)
        except binascii.Error:
            raise ChallengeFailed("the TSIG secret is not base64") from None
        name = dns.name.from_text(access.key_name)
        return {name: dns.tsig.Key(name, secret, dns.name.from_text(access.key_algorithm))}

    def _wait(self, name: dns.name.Name, value: str) -> None:
        """Until every server shows the record."""
        ends = time.monotonic() + self._access.propagation_seconds
        missing = [self._access.server, *self._access.secondaries]
        while True:
            missing = [server for server in missing if value not in self._texts(name, server)]
            if not missing:
                return
            if time.monotonic() > ends or self._stopped():
                raise ChallengeFailed(f"{', '.join(missing)} does not show the TXT record of {name}")
            time.sleep(_POLL_SECONDS)

    def _texts(self, name: dns.name.Name, server: str) -> set[str]:
        try:
            answer = self._ask(dns.message.make_query(name, "TXT"), server)
        except ChallengeFailed:
            return set()
        found = [one for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT for one in rrset]
        return {b"".join(one.strings).decode("ascii", "replace") for one in found}

    def _follow(self, name: dns.name.Name) -> dns.name.Name:
        """Where aliases lead, as far as the primary knows."""
        for _ in range(_ALIASES):
            answer = self._ask(dns.message.make_query(name, "CNAME"), self._access.server)
            found = [one for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CNAME for one in rrset]
            if not found:
                break
            name = found[0].target
        return name

    def _zone_of(self, name: dns.name.Name) -> dns.name.Name:
        """The zone that holds a name, by the SOA record that comes with the answer."""
        answer = self._ask(dns.message.make_query(name, "SOA"), self._access.server)
        for rrset in (*answer.answer, *answer.authority):
            if rrset.rdtype == dns.rdatatype.SOA:
                return rrset.name
        raise ChallengeFailed(f"{self._access.server} does not say which zone holds {name}: set dns_zone")

    @staticmethod
    def _ask(message: dns.message.Message, server: str) -> dns.message.Message:
        address, port = _endpoint(server)
        try:
            return dns.query.tcp(message, address, timeout=_SECONDS, port=port)
        except (dns.tsig.PeerError, dns.tsig.BadSignature, dns.message.UnknownTSIGKey) as error:
            said = clean_text(str(error), 100)
            raise ChallengeFailed(
                f"{server} and we differ about the TSIG key ({said}): compare name, algorithm, secret and the clocks"
            ) from None
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            said = clean_text(str(error) or type(error).__name__, 200)
            raise ChallengeFailed(f"{server} does not answer as it should: {said}") from None


def _endpoint(server: str) -> tuple[str, int]:
    text = server_text(server)
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        return host, int(port)
    host, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "53")
    return host, int(port)
