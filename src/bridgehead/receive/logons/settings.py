# SPDX-License-Identifier: MIT
"""Settings of logins: lock-out (Active Directory's password policy has the words), issuers of tokens (New-AuthServer),
and Kerberos."""

from enum import StrEnum

import msgspec

from bridgehead.mail.units import Duration


class TokenAlgorithm(StrEnum):
    """Signatures of tokens (RFC 7518 §3.1, RFC 8037): with a key pair, never "none" or a shared secret."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"


class LockoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lock-out of accounts and sources after failed logons.

    Attributes:
        account_lockout_threshold: failed logons of one account until it is locked, from everywhere but where it logged
            in lately; 0: never.
        source_lockout_threshold: failed logons from one address (IPv6: one network of 64 bits); 0: never.
        lockout_observation_window: over which failures are forgotten.
        lockout_duration: of the first lock; each further one lasts twice as long.
        max_lockout_duration: the longest.
        exempt_ip_ranges: sources that are never locked, as many people share them: a gateway's address.
        alarm_accounts: accounts that fail from one source before an alarm says so; 0: none.
    """

    account_lockout_threshold: int = 10
    source_lockout_threshold: int = 30
    lockout_observation_window: Duration = Duration(minutes=15)
    lockout_duration: Duration = Duration(minutes=1)
    max_lockout_duration: Duration = Duration(hours=1)
    exempt_ip_ranges: list[str] = []
    alarm_accounts: int = 10


class AuthServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID provider whose access tokens log in (New-AuthServer); its keys are fetched from itself.

    Attributes:
        name: what logs and alarms call it.
        issuer_identifier: `iss` of its tokens, "https://login.microsoftonline.com/TENANT/v2.0".
        auth_metadata_url: where it describes itself; "": `issuer_identifier` with /.well-known/openid-configuration.
        audiences: one of these must stand in `aud`: the application that was registered for this server.
        scopes: all of these must stand in `scp`, `scope` or `roles`.
        user_claims: the first of these claims that the token has is the login's name or its address.
        algorithms: signatures that are taken.
        clock_skew: by how much its clock may differ.
        key_refresh_interval: how often its keys are fetched anew; for a key that is not known at once.
        max_key_age: how long keys are used when it cannot be reached; later logons get 454.
        ca_file: PEM; whom its certificate must lead to; empty: the system's trust anchors.
    """

    name: str
    issuer_identifier: str
    audiences: list[str]
    auth_metadata_url: str = ""
    scopes: list[str] = []
    user_claims: list[str] = msgspec.field(default_factory=lambda: ["preferred_username", "upn", "email"])
    algorithms: list[TokenAlgorithm] = msgspec.field(
        default_factory=lambda: [TokenAlgorithm.RS256, TokenAlgorithm.PS256, TokenAlgorithm.ES256]
    )
    clock_skew: Duration = Duration(minutes=1)
    key_refresh_interval: Duration = Duration(hours=1)
    max_key_age: Duration = Duration(hours=24)
    ca_file: str = ""

    @property
    def metadata_url(self) -> str:
        """Where it describes itself."""
        return self.auth_metadata_url or f"{self.issuer_identifier.rstrip('/')}/.well-known/openid-configuration"


class KerberosPrincipal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A principal whose login is not its name without the realm.

    Attributes:
        principal: "backup/erp.contoso.com@CONTOSO.COM".
        logins: the first is its own; as the others it may act where it asks to (authorization identity).
    """

    principal: str
    logins: list[str]


class KerberosSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logins by Kerberos ticket.

    Attributes:
        service_principals: tickets for these services log in, and no others: "smtp/mail.contoso.com@CONTOSO.COM";
            Windows clients ask for SMTPSVC/.
        keytab_file: their keys, for the server's account alone. Read with each logon.
        realms: of these realms "ann@REALM" is the login "ann"; upper and lower case differ here.
        principals: principals with a login of another name.
        ntlm_domains: of these domains CONTOSO\\ann is the login "ann", on connectors with `ntlm_enabled`.
        ntlm_password_file: what NTLM knows passwords by, lines "CONTOSO:ann:password" or of smbpasswd, for the server's
            account alone.
    """

    service_principals: list[str] = []
    keytab_file: str = ""
    realms: list[str] = []
    principals: list[KerberosPrincipal] = []
    ntlm_domains: list[str] = []
    ntlm_password_file: str = ""
