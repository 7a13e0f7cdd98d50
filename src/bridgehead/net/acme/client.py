# SPDX-License-Identifier: MIT
"""One certificate from an ACME authority (RFC 8555), from the account to the last octet of the chain.

Blocking, for a thread of its own. The libraries `acme` and `josepy` are an extra, imported when they are needed. The
account's key is made at the first order and kept with mode 0600; what an authority answers is put into words here.
"""

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.mail.secret import Secret
from bridgehead.net.acme.responders import ChallengeFailed, Responder
from bridgehead.net.acme.settings import AcmeChallenge, AcmeKeyType
from bridgehead.net.durable_files import replace_file

if TYPE_CHECKING:
    from acme import client as acme_client
    from acme import messages

_NONCE_TRIES: Final = 8
_FIRST_POLL_SECONDS: Final = 0.2
_LONGEST_POLL_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 30
_REMEDIES: Final = {
    "rateLimited": "wait; the authority counts orders, failures and duplicates",
    "caa": "let the CAA records of the domain name this authority",
    "dns": "see that the name is in public DNS",
    "connection": "see that the authority reaches this server at the port of the challenge",
    "unauthorized": "see that the name leads to this server and nothing in front of it answers",
    "externalAccountRequired": "set external_account_key_id and external_account_secret",
    "rejectedIdentifier": "this authority does not issue for that name",
    "userActionRequired": "the authority has new terms: read them at its site",
}


class AcmeFailed(Exception):
    """No certificate came of it.

    Args:
        reason: one sentence.
        remedy: what to do.
        retry_after: seconds that the authority wants to be left alone; 0 where it did not say.
    """

    def __init__(self, reason: str, remedy: str = "", retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.retry_after = clean_text(reason, LOGGED_TEXT), remedy, retry_after


class AcmeAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """An authority and our account there.

    Attributes:
        account_folder: holds the account's key and address.
        terms_agreed: its terms are accepted.
    """

    directory_url: str
    account_folder: Path
    contact: Sequence[str] = ()
    terms_agreed: bool = False
    ca_file: str = ""
    external_key_id: str = ""
    external_secret: Secret | None = None


class AcmeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is ordered.

    Attributes:
        seconds: for all of it.
        say: is told each step, in this thread.
        stopped: whether to give up.
    """

    names: Sequence[str]
    challenge: AcmeChallenge
    key_type: AcmeKeyType
    seconds: float
    say: Callable[[str], None]
    stopped: threading.Event


def obtain(authority: AcmeAuthority, order: AcmeOrder, responder: Responder) -> tuple[bytes, bytes]:
    """Chain and key, PEM. Raises AcmeFailed."""
    try:
        import acme.client
        import acme.errors
        import acme.messages
        import josepy
        import requests
    except ImportError:
        raise AcmeFailed("ACME needs libraries that are not installed", "pip install 'bridgehead[acme]'") from None
    if not authority.terms_agreed:
        remedy = "read them at its site, then set terms_of_service_agreed = true in [acme]"
        raise AcmeFailed("the terms of the authority are not accepted", remedy)
    network: _Waits = _Waits()
    try:
        return _Order(authority, order, responder, network).run()
    except acme.messages.Error as error:
        raise _in_words(error, network.retry_after) from None
    except requests.RequestException as error:
        raise AcmeFailed(f"{authority.directory_url}: {_why(error)}", "see that the authority can be reached") from None
    except (acme.errors.Error, josepy.errors.Error, ChallengeFailed, OSError, ValueError) as error:
        raise AcmeFailed(str(error) or type(error).__name__) from None


class _Waits:
    """What the authority last said of coming back."""

    retry_after = 0.0

    def note(self, response: Any, *_: object, **__: object) -> None:
        """A hook for each response of the HTTP library."""
        value = response.headers.get("Retry-After", "")
        if response.status_code in (429, 503) and value.isdigit():
            self.retry_after = float(min(int(value), 7 * 86400))


class _Order:
    """One order under way."""

    def __init__(self, authority: AcmeAuthority, order: AcmeOrder, responder: Responder, waits: _Waits) -> None:
        self._authority, self._order, self._responder, self._waits = authority, order, responder, waits
        self._ends = time.monotonic() + order.seconds

    def run(self) -> tuple[bytes, bytes]:
        client = self._client()
        key, csr = _key_and_request(self._order.names, self._order.key_type)
        self._say(f"ordering a certificate for {', '.join(self._order.names)}")
        ordered = client.new_order(csr)
        pending = [one for one in ordered.authorizations if not self._is_proved(one)]
        if pending:
            self._prove(client, pending)
        self._say("every name is proved; waiting for the certificate")
        left = timedelta(seconds=max(1.0, self._ends - time.monotonic()))
        # The library compares with local time without a zone.
        done = client.finalize_order(ordered, datetime.now() + left)  # noqa: DTZ005
        self._say("the certificate has come")
        return str(done.fullchain_pem).encode("ascii"), key

    def _client(self) -> "acme_client.ClientV2":
        """Logged on, with an account."""
        import acme.client
        from josepy.jwk import JWKEC

        account_key = _account_key(self._authority.account_folder)
        network = _network(JWKEC(key=account_key), self._authority.ca_file)
        network.session.hooks["response"].append(self._waits.note)
        self._say(f"asking {self._authority.directory_url}")
        directory = acme.client.ClientV2.get_directory(self._authority.directory_url, network)
        client = acme.client.ClientV2(directory, network)
        self._register(client)
        return client

    def _register(self, client: "acme_client.ClientV2") -> None:
        import acme.errors
        import acme.messages

        authority = self._authority
        binding = None
        if authority.external_key_id and authority.external_secret is not None and client.net.key is not None:
            binding = acme.messages.ExternalAccountBinding.from_data(
                account_public_key=client.net.key.public_key(), kid=authority.external_key_id,
                hmac_key=authority.external_secret.reveal(), directory=client.directory,
            )  # fmt: skip
        wanted = acme.messages.NewRegistration.from_data(
            email=",".join(authority.contact) or None, terms_of_service_agreed=True, external_account_binding=binding
        )
        try:
            client.new_account(wanted)
            self._say("a new account was made")
        except acme.errors.ConflictError as known:
            known_account = acme.messages.RegistrationResource(uri=known.location, body=acme.messages.Registration())
            client.net.account = known_account

    def _is_proved(self, authorization: "messages.AuthorizationResource") -> bool:
        import acme.messages

        return bool(authorization.body.status == acme.messages.STATUS_VALID)

    def _prove(self, client: "acme_client.ClientV2", pending: "list[messages.AuthorizationResource]") -> None:
        self._responder.open()
        try:
            chosen = []
            for one in pending:
                challenge = self._challenge_of(one)
                domain = one.body.identifier.value
                self._responder.present(domain, challenge.chall.encode("token"), _authorization(client, challenge))
                self._say(f"{domain}: ready for {self._order.challenge.value}")
                chosen.append((one, challenge))
            for _, challenge in chosen:
                client.answer_challenge(challenge, challenge.chall.response(client.net.key))
            for one, _ in chosen:
                self._await_proof(client, one)
        finally:
            self._responder.close()

    def _challenge_of(self, authorization: "messages.AuthorizationResource") -> "messages.ChallengeBody":
        wanted = self._order.challenge.value
        domain = authorization.body.identifier.value
        for challenge in authorization.body.challenges:
            if challenge.chall.to_partial_json().get("type") == wanted:
                if wanted == AcmeChallenge.TLS_ALPN_01:
                    return _as_tls_alpn(challenge)
                return challenge
        offered = ", ".join(str(one.chall.to_partial_json().get("type")) for one in authorization.body.challenges)
        raise AcmeFailed(f"{domain} cannot be proved by {wanted} here", f"the authority offers {offered or 'nothing'}")

    def _await_proof(self, client: "acme_client.ClientV2", authorization: "messages.AuthorizationResource") -> None:
        import acme.messages

        pause = _FIRST_POLL_SECONDS
        domain = authorization.body.identifier.value
        while True:
            latest, _ = client.poll(authorization)
            if self._is_proved(latest):
                self._say(f"{domain}: proved")
                return
            if latest.body.status != acme.messages.STATUS_PENDING:
                raise self._refusal(domain, latest)
            if time.monotonic() > self._ends:
                raise AcmeFailed(f"{domain}: the authority has not looked within {self._order.seconds:.0f} s")
            if self._order.stopped.wait(pause):
                raise AcmeFailed("the server stops")
            pause = min(_LONGEST_POLL_SECONDS, pause * 1.5)

    def _refusal(self, domain: str, authorization: "messages.AuthorizationResource") -> AcmeFailed:
        """Why a name was not taken for proved."""
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                found = _in_words(challenge.error, 0.0)
                return AcmeFailed(f"{domain}: {found.reason}", found.remedy)
        return AcmeFailed(f"{domain}: the authorization is {authorization.body.status.name}", "try again")

    def _say(self, text: str) -> None:
        self._order.say(clean_text(text, LOGGED_TEXT))


# --- the library ------------------------------------------------------------------------------------------------------


def _network(key: Any, ca_file: str) -> "acme_client.ClientNetwork":
    import acme.client
    import acme.messages
    from josepy.jwa import ES256

    class Network(acme.client.ClientNetwork):
        """Tries again for bad nonces, which authorities with several front ends answer with now and then."""

        def post(self, *args: Any, **kwargs: Any) -> Any:
            for _ in range(_NONCE_TRIES - 1):
                try:
                    return super().post(*args, **kwargs)
                except acme.messages.Error as error:
                    if error.code != "badNonce":
                        raise
            return super().post(*args, **kwargs)

    verify: Any = ca_file or ssl.get_default_verify_paths().cafile or True
    return Network(key, alg=ES256, verify_ssl=verify, user_agent="Bridgehead", timeout=_REQUEST_SECONDS)


def _as_tls_alpn(challenge: "messages.ChallengeBody") -> "messages.ChallengeBody":
    """The challenge as one that has a key authorization. The library dropped its own class, which listened itself."""
    import acme.challenges
    from josepy.json_util import decode_b64jose

    class Response(acme.challenges.KeyAuthorizationChallengeResponse):
        typ = AcmeChallenge.TLS_ALPN_01.value

    class TlsAlpn01(acme.challenges.KeyAuthorizationChallenge):
        response_cls = Response
        typ = Response.typ

        def validation(self, account_key: Any, **_: Any) -> str:
            return str(self.key_authorization(account_key))

    token = decode_b64jose(challenge.chall.to_partial_json()["token"])
    changed: Any = challenge.update(chall=TlsAlpn01(token=token))
    return changed  # type: ignore[no-any-return]


def _authorization(client: "acme_client.ClientV2", challenge: "messages.ChallengeBody") -> str:
    return str(challenge.chall.key_authorization(client.net.key))


def _in_words(error: "messages.Error", retry_after: float) -> AcmeFailed:
    code = error.code or ""
    detail = error.detail or error.title or ""
    subproblems = "; ".join(str(one.detail) for one in error.subproblems or () if one.detail)
    text = f"{detail or error.description or code}{f': {subproblems}' if subproblems else ''}"
    return AcmeFailed(f"the authority says: {text}{f' ({code})' if code else ''}", _REMEDIES.get(code, ""), retry_after)


def _why(error: Exception) -> str:
    """The innermost cause; the library's own words name objects."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return clean_text(str(getattr(cause, "strerror", None) or cause) or type(error).__name__, 200)


# --- keys -------------------------------------------------------------------------------------------------------------


def _account_key(folder: Path) -> Any:
    """P-256, made at the first use. Raises OSError, ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    file = folder / "account.key"
    try:
        return load_pem_private_key(file.read_bytes(), None)
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace_file(file, data)
    return key


def _key_and_request(names: Sequence[str], kind: AcmeKeyType) -> tuple[bytes, bytes]:
    """A new key and the request for a certificate with it, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key: Any = (
        rsa.generate_private_key(65537, 2048) if kind is AcmeKeyType.RSA else ec.generate_private_key(ec.SECP256R1())
    )
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, request.public_bytes(Encoding.PEM)
