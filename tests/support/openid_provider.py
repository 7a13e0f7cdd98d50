# SPDX-License-Identifier: MIT
"""An OpenID provider for tests: HTTPS on loopback, real keys, tokens with whatever is wrong with them."""

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from support.certificates import Authority

AUDIENCE = "api://bridgehead"
Keypair = RSAKey | ECKey


class OpenIdProvider:
    """Serves its description and its keys, counts who asks, and can be broken.

    Attributes:
        answers: path → body in place of the right one; None: the request is answered with status 500.
        asked: paths that were asked for.
    """

    def __init__(self, authority: Authority) -> None:
        self.ca_file = str(authority.root)
        pair = authority.issue("127.0.0.1")
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                body = provider.answers.get(self.path, provider.document(self.path))
                self.send_response(200 if body is not None else 500)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.issuer = f"https://127.0.0.1:{self.server.server_port}/realm"
        self.rsa: Keypair = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
        self.ec: Keypair = ECKey.generate_key("P-256", {"kid": "ec-1"})
        self.published: list[Any] = [self.rsa.as_dict(private=False), self.ec.as_dict(private=False)]
        self.answers: dict[str, bytes | None] = {}
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)

    def document(self, path: str) -> bytes | None:
        if path == "/realm/.well-known/openid-configuration":
            return json.dumps({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}).encode()
        return json.dumps({"keys": self.published}).encode() if path == "/realm/keys" else None

    def settings(self, **more: Any) -> dict[str, Any]:
        """As [[auth_servers]] has it."""
        return {
            "name": "Test", "issuer_identifier": self.issuer, "audiences": [AUDIENCE], "ca_file": self.ca_file, **more,
        }  # fmt: skip

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims of ann; None removes one."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": AUDIENCE, "preferred_username": "ann", "iat": now, "nbf": now, "exp": now + 600,
            "scp": "SMTP.Send openid", **changes,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: Keypair | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token signed with a key, the provider's first by default."""
        key = key or self.rsa
        algorithm = "RS256" if key.key_type == "RSA" else "ES256"
        fields = {"alg": algorithm, "kid": key.kid, **(header or {})}
        return jwt.encode({name: one for name, one in fields.items() if one is not None}, self.claims(**changes), key)


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    """A token without signature."""
    return f"{segment({'alg': algorithm, 'kid': 'rsa-1'})}.{segment(claims)}."


def segment(value: object) -> str:
    """One part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
