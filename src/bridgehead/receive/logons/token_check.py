# SPDX-License-Identifier: MIT
"""Whether an access token logs somebody in (RFC 7519, RFC 8725, RFC 9068): signature, issuer, audience, scope, times,
and the login that it is for. Until its signature is found good, a token says no more than which key to ask for.
"""

import base64
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from bridgehead.directory.user_record import User, canonical_name
from bridgehead.mail.header import clean_text
from bridgehead.mail.secret import Secret
from bridgehead.receive.logons.issuer_keys import Fetch, IssuerFault, IssuerKeys
from bridgehead.receive.logons.settings import AuthServer
from bridgehead.smtp.sasl_oauth import TokenVerdict

_KEY_TYPE: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Logins(Protocol):
    """Where logins are known."""

    def find(self, name: str) -> User | None: ...
    def find_by_address(self, address: str) -> list[User]: ...


class TokenFault(Exception):
    """The token does not log anybody in. `status`: for the client (RFC 6750 §3.1)."""

    def __init__(self, reason: str, status: str = "invalid_token") -> None:
        super().__init__(reason)
        self.status = status


class TokenChecker:
    """Judges tokens of the issuers that are configured.

    Args:
        fetch_for: how to fetch what an issuer says of itself.
        now: Unix time.
        told: is told (issuer's name, fault), and "" as fault once there is none.
    """

    def __init__(
        self, issuers: Sequence[AuthServer], logins: Logins, fetch_for: Callable[[AuthServer], Fetch], *,
        now: Callable[[], float], monotonic: Callable[[], float], told: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._logins, self._now = logins, now

        def keys_of(issuer: AuthServer) -> IssuerKeys:
            return IssuerKeys(issuer, fetch_for(issuer), monotonic, lambda fault: told(issuer.name, fault))

        self._issuers = {issuer.issuer_identifier: (issuer, keys_of(issuer)) for issuer in issuers}

    async def judge(self, token: Secret, claimed: str) -> TokenVerdict:
        """Whose token this is (`sasl_oauth.TokenJudge`)."""
        issuer: AuthServer | None = None
        try:
            header, unverified = _parts(token.reveal())
            found = self._issuers.get(str(unverified.get("iss")))
            if found is None:
                raise TokenFault("its issuer is none of [[auth_servers]]")
            issuer, keys = found
            claims = await self._verified(token, header, issuer, keys)
            check_claims(claims, issuer, self._now())
            return TokenVerdict(name=self._login(claims, issuer, claimed))
        except IssuerFault as fault:
            return TokenVerdict(reason=str(fault), unavailable=True)
        except TokenFault as fault:
            return TokenVerdict(
                reason=f"the token is refused: {fault}", status=fault.status,
                scope=" ".join(issuer.scopes) if issuer else "",
                configuration=issuer.metadata_url if issuer else "",
            )  # fmt: skip

    async def close(self) -> None:
        """End what is under way."""
        for _, keys in self._issuers.values():
            await keys.close()

    async def _verified(
        self, token: Secret, header: Mapping[str, Any], issuer: AuthServer, keys: IssuerKeys
    ) -> dict[str, Any]:
        """The claims, once their signature is found good by a key of the issuer's that is of the algorithm's kind."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in [one.value for one in issuer.algorithms]:
            raise TokenFault(f"its algorithm {_shown(algorithm)} is none of `algorithms`")
        if "crit" in header or not isinstance(key_id, str | None):
            raise TokenFault("its header asks for what is not known here")
        key = await keys.find(key_id, _KEY_TYPE[algorithm[:2]])
        if key is None:
            raise TokenFault(f"the issuer has no key {_shown(key_id)} for {algorithm}")
        try:
            return dict(jwt.decode(token.reveal(), key, algorithms=[algorithm]).claims)
        except (JoseError, ValueError, TypeError):
            raise TokenFault("its signature is wrong") from None

    def _login(self, claims: Mapping[str, Any], issuer: AuthServer, claimed: str) -> str:
        """The login that the token is for, and that the client says it is, if it says so."""
        value = _user_claim(claims, issuer.user_claims)
        user = self._logins.find(value)
        if user is None:
            found = self._logins.find_by_address(value)
            if len(found) != 1:
                raise TokenFault(f"{'several logins have' if found else 'no login has'} the address {_shown(value)}")
            user = found[0]
        own = {user.name, canonical_name(value), *(address.lower() for address in user.addresses)}
        if claimed and canonical_name(claimed) not in own:
            raise TokenFault(f"it is for {user.name}, not for {_shown(claimed)}")
        return user.name


def check_claims(claims: Mapping[str, Any], issuer: AuthServer, now: float) -> None:
    """Raise TokenFault where claims whose signature is good do not suffice here."""
    skew = issuer.clock_skew.total_seconds()
    if claims.get("iss") != issuer.issuer_identifier:
        raise TokenFault("it is another issuer's")
    if not set(_texts(claims.get("aud"))) & set(issuer.audiences):
        raise TokenFault(f"it is for another audience, {_shown(claims.get('aud'))}")
    expires = _time(claims, "exp")
    if expires is None:
        raise TokenFault("it never expires")
    if now >= expires + skew:
        raise TokenFault("it has expired")
    for name in ("nbf", "iat"):
        since = _time(claims, name)
        if since is not None and now < since - skew:
            raise TokenFault("it is not valid yet")
    if "cnf" in claims:
        raise TokenFault("it is bound to a key (DPoP or mutual TLS), which SASL cannot prove")
    held = {one for name in ("scp", "scope", "roles") for text in _texts(claims.get(name)) for one in text.split(" ")}
    if missing := [scope for scope in issuer.scopes if scope not in held]:
        raise TokenFault(f"it lacks the scope {missing[0]}", "insufficient_scope")


def _user_claim(claims: Mapping[str, Any], names: Collection[str]) -> str:
    """The first claim of these that says who it is; an address that the issuer did not verify does not."""
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value and not (name == "email" and claims.get("email_verified") is False):
            return value
    raise TokenFault(f"it has none of the claims {', '.join(names)}")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a signed token in its compact form, unverified."""
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenFault("it is no signed token (an opaque one cannot be checked here)")
    found = []
    for part in parts[:2]:
        try:
            decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (ValueError, RecursionError):
            decoded = None
        if not isinstance(decoded, dict):
            raise TokenFault("it is malformed")
        found.append(decoded)
    return found[0], found[1]


def _texts(value: object) -> list[str]:
    """A claim that is a text or a list of texts."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenFault(f"{name} is no time")
    return float(min(max(value, -1e15), 1e15))


def _shown(value: object) -> str:
    return clean_text(str(value), 100)
