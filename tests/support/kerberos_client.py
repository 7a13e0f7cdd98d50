# SPDX-License-Identifier: MIT
"""A client of AUTH GSSAPI, on the library that clients use (MIT's, through python-gssapi)."""

import base64
import hashlib
import smtplib
from pathlib import Path

import gssapi
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from gssapi.raw import ChannelBindings

from support.certificates import Pair

SERVICE = "smtp/mx.contoso.test@CONTOSO.TEST"
SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")


class Client:
    """One logon.

    Args:
        cache: where its ticket is.
        binding: channel binding with its type, "tls-unique:…"; b"": none.
        layer: the security layer that it takes; 1: none.
        authorization: as whom it asks to act.
    """

    def __init__(
        self, cache: Path, service: str = SERVICE, *, binding: bytes = b"", layer: int = 1, authorization: str = "",
        spnego: bool = False, mutual: bool = True,
    ) -> None:  # fmt: skip
        mechanism = SPNEGO if spnego else gssapi.MechType.kerberos
        flags = gssapi.RequirementFlag
        self._context = gssapi.SecurityContext(
            name=gssapi.Name(service, gssapi.NameType.kerberos_principal), usage="initiate", mech=mechanism,
            creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{cache}"}),
            flags=[flags.integrity, *([flags.mutual_authentication, flags.out_of_sequence_detection] if mutual else [])],
            channel_bindings=ChannelBindings(application_data=binding) if binding else None,
        )  # fmt: skip
        self._layer, self._authorization = layer, authorization

    def first(self) -> bytes:
        """Its first token."""
        return bytes(self._context.step() or b"")

    def answer(self, challenge: bytes) -> bytes:
        """To a challenge of the server's."""
        if not self._context.complete:
            return bytes(self._context.step(challenge) or b"")
        if not challenge:
            return b""
        offer = self._context.unwrap(challenge).message
        assert offer == b"\1\0\0\0", "no security layer, and nothing that could come within one"
        return bytes(self._context.wrap(bytes((self._layer, 0, 0, 0)) + self._authorization.encode(), False).message)

    def log_in(self, client: smtplib.SMTP, first: bytes = b"") -> tuple[int, bytes]:
        """The last reply to a whole exchange."""
        code, text = client.docmd("AUTH", f"GSSAPI {encoded(first or self.first())}")
        while code == 334:
            code, text = client.docmd(encoded(self.answer(base64.b64decode(text))))
        return code, text


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def end_point(pair: Pair) -> bytes:
    """What binds a logon to a connection with this certificate (RFC 5929 §4.1)."""
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    return b"tls-server-end-point:" + hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
