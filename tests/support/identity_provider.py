# SPDX-License-Identifier: MIT
"""An OAuth 2.0 identity provider on 127.0.0.1: HTTPS with a real certificate, real signatures made and checked.

It behaves as Microsoft Entra and Google do where they differ from the RFCs, and fails as it is told.
"""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

TENANT, CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555", "00001111-aaaa-2222-bbbb-3333cccc4444"
AUDIENCE = "https://outlook.office365.com"


@dataclass
class Answer:
    """What is answered in place of a token. `raw`: the octets in place of all of it."""

    status: int = 400
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""


def entra(code: int, words: str, error: str = "invalid_client", status: int = 401) -> Answer:
    """A refusal as Microsoft Entra words it."""
    description = f"AADSTS{code}: {words} Trace ID: 0e1b Correlation ID: 6f2d Timestamp: 2026-11-23 12:00:00Z"
    return Answer(status, {"error": error, "error_description": description, "error_codes": [code]})


class IdentityProvider:
    """Runs from construction until `close`; a context manager.

    Attributes:
        secret: of the one client; `certificates`: those that may sign assertions in its place.
        seconds: how long tokens live.
        roles: in the tokens of applications.
        next: answers in place of tokens, used up one after the other; `always`: one that stays.
        before: called before each answer, to be slow.
        requests: (path, form) of each, in order; `grants`: how many tokens were given.
        skew: seconds by which the provider's clock is ahead.
        entered: whether somebody entered the user's code.
        rotates: refresh tokens are exchanged at each use, and the old one is void.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.secret = "Cnry-clientsecret-7Kq9"
        self.certificates: list[bytes] = []
        self.service_account: Any = None
        self.seconds: float = 3600
        self.roles = ["SMTP.SendAsApp"]
        self.next: list[Answer] = []
        self.always: Answer | None = None
        self.before: Callable[[], None] = lambda: None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.grants = 0
        self.skew = 0.0
        self.entered = False
        self.rotates = True
        self.interval = 1
        self.refresh_tokens: set[str] = set()
        self.issued: list[str] = []
        self.revoked: set[str] = set()
        self._used_ids: set[str] = set()
        self._devices: set[str] = set()
        self._key = rsa.generate_private_key(65537, 2048)
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
                provider.before()
                with provider._lock:
                    provider.requests.append((self.path, form))
                    answer = provider.answer(self.path, form)
                if answer.raw:
                    self.wfile.write(answer.raw)
                    self.close_connection = True
                    return
                data = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(time.time() + provider.skew)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def token_url(self) -> str:
        return f"https://localhost:{self.port}/{TENANT}/oauth2/v2.0/token"

    @property
    def device_url(self) -> str:
        return f"https://localhost:{self.port}/{TENANT}/oauth2/v2.0/devicecode"

    # --- tokens ------------------------------------------------------------------------------------------------------

    def answer(self, path: str, form: dict[str, str]) -> Answer:
        if self.always is not None:
            return self.always
        if self.next:
            return self.next.pop(0)
        if path.endswith("/devicecode"):
            return self._device_code(form)
        grant = form.get("grant_type", "")
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return self._service_account(form)
        if (refusal := self._check_client(form, public=grant != "client_credentials")) is not None:
            return refusal
        if grant == "client_credentials":
            if not form.get("scope", "").endswith("/.default"):
                return entra(1002012, "The provided value for scope is not valid.", "invalid_scope", 400)
            return self._token({"roles": self.roles, "appid": form["client_id"]})
        if grant == "refresh_token":
            return self._refresh(form["refresh_token"])
        return self._poll(form)

    def check(self, user: str, token: str) -> tuple[str, str] | None:
        """As `Behaviour.on_token`: a token of ours that is good now."""
        challenge = json.dumps({"status": "401", "schemes": "Bearer", "scope": f"{AUDIENCE}/.default"})
        head, payload, signature = token.split(".")
        self._key.public_key().verify(
            _decode(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claims = json.loads(_decode(payload))
        if claims["exp"] < time.time() or token in self.revoked or claims["aud"] != AUDIENCE:
            return challenge, "535 5.7.3 Authentication unsuccessful"
        if "roles" in claims and "SMTP.SendAsApp" not in claims["roles"]:
            return challenge, "535 5.7.3 Authentication unsuccessful"
        return None

    def _token(self, claims: dict[str, Any], refresh: str = "") -> Answer:
        self.grants += 1
        now = time.time()
        document = {"aud": AUDIENCE, "exp": now + self.seconds, "jti": secrets.token_hex(8), **claims}
        text = f"{_encode(json.dumps({'alg': 'RS256', 'typ': 'JWT'}))}.{_encode(json.dumps(document))}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        token = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        self.issued.append(token)
        more = {"refresh_token": refresh} if refresh else {}
        return Answer(200, {"token_type": "Bearer", "expires_in": self.seconds, "access_token": token, **more})

    def new_refresh_token(self) -> str:
        token = f"0.{secrets.token_urlsafe(300)}"
        self.refresh_tokens.add(token)
        return token

    def _refresh(self, token: str) -> Answer:
        if token not in self.refresh_tokens:
            return entra(700082, "The refresh token has expired due to inactivity.", "invalid_grant", 400)
        if not self.rotates:
            return self._token({"scp": "SMTP.Send"})
        self.refresh_tokens.discard(token)
        return self._token({"scp": "SMTP.Send"}, self.new_refresh_token())

    def _device_code(self, form: dict[str, str]) -> Answer:
        if form.get("client_id") != CLIENT:
            return entra(700016, "Application with identifier was not found in the directory.", "unauthorized_client")
        code = secrets.token_urlsafe(40)
        self._devices.add(code)
        document = {
            "device_code": code, "user_code": "FJX8-QZ2C", "verification_uri": "https://microsoft.com/devicelogin",
            "expires_in": 900, "interval": self.interval,
        }  # fmt: skip
        return Answer(200, document)

    def _poll(self, form: dict[str, str]) -> Answer:
        if form.get("device_code") not in self._devices:
            return entra(70008, "The provided authorization code has expired.", "expired_token", 400)
        if not self.entered:
            return entra(70016, "Authorization is pending.", "authorization_pending", 400)
        self._devices.discard(form["device_code"])
        return self._token({"scp": "SMTP.Send"}, self.new_refresh_token())

    # --- who asks ------------------------------------------------------------------------------------------------------

    def _check_client(self, form: dict[str, str], *, public: bool) -> Answer | None:
        if form.get("client_id") != CLIENT:
            return entra(700016, f"Application with identifier '{form.get('client_id')}' was not found.", status=400)
        if "client_assertion" in form:
            return self._check_assertion(form["client_assertion"])
        if "client_secret" in form:
            if form["client_secret"] == self.secret:
                return None
            words = f"Invalid client secret provided. Yours was {form['client_secret']}."  # as a careless one would
            return entra(7000215, words)
        return None if public else entra(7000218, "The request body must contain: client_assertion or client_secret.")

    def _check_assertion(self, text: str) -> Answer | None:
        head, payload, signature = text.split(".")
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
        known = {
            base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode(): der
            for der in self.certificates
        }
        if header.get("x5t#S256") not in known:
            return entra(700027, "The certificate with identifier used to sign the client assertion is not registered.")
        key = x509.load_der_x509_certificate(known[header["x5t#S256"]]).public_key()
        try:
            _verify(key, header["alg"], f"{head}.{payload}".encode(), _decode(signature))
        except InvalidSignature:
            return entra(700027, "Client assertion failed signature validation.")
        now = time.time() + self.skew
        if not claims["nbf"] <= now < claims["exp"]:
            return entra(700024, "Client assertion is not within its valid time range.")
        if (claims["iss"], claims["sub"], claims["aud"]) != (CLIENT, CLIENT, self.token_url):
            return entra(700023, "Client assertion audience or issuer is wrong.")
        if claims["jti"] in self._used_ids:
            return entra(700025, "Client assertion was used before.")
        self._used_ids.add(claims["jti"])
        return None

    def _service_account(self, form: dict[str, str]) -> Answer:
        head, payload, signature = form["assertion"].split(".")
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
        try:
            _verify(self.service_account.public_key(), header["alg"], f"{head}.{payload}".encode(), _decode(signature))
        except InvalidSignature:
            return Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        now = time.time() + self.skew
        if not claims["iat"] <= now < claims["exp"] <= now + 3600:
            words = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            return Answer(400, {"error": "invalid_grant", "error_description": words})
        if header["kid"] != "key1" or claims["aud"] != self.token_url or claims["scope"] != "https://mail.google.com/":
            return Answer(401, {"error": "unauthorized_client", "error_description": "Client is unauthorized to "
                                "retrieve access tokens using this method, or client not authorized for any of the "
                                "scopes requested."})  # fmt: skip
        return self._token({"email": claims["sub"]})

    def make_service_account(self, file: Path) -> Path:
        """A key file as Google's console gives it."""
        self.service_account = rsa.generate_private_key(65537, 2048)
        pem = self.service_account.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        document = {
            "type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com", "private_key": pem,
            "private_key_id": "key1", "token_uri": "https://oauth2.googleapis.com/token",
        }  # fmt: skip
        file.write_text(json.dumps(document, indent=2))
        return file

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "IdentityProvider":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that go away, or do not like the certificate, are what tests are about."""


def _verify(key: Any, algorithm: str, data: bytes, signature: bytes) -> None:
    digest = hashes.SHA256()
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert algorithm == "ES256"
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
    elif algorithm == "PS256":
        key.verify(signature, data, padding.PSS(padding.MGF1(digest), 32), digest)
    else:
        assert algorithm == "RS256"
        key.verify(signature, data, padding.PKCS1v15(), digest)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
