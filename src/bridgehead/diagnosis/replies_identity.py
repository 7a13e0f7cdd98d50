# SPDX-License-Identifier: MIT
"""What identity providers mean when they refuse a token, and smart hosts when they refuse one. Data.

Codes of Microsoft Entra: learn.microsoft.com, "Microsoft Entra authentication and authorization error codes"; errors of
RFC 6749 §5.2, RFC 8628 §3.5; Google: developers.google.com/identity/protocols/oauth2.
"""

from typing import Final

from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.reply_rule import ReplyRule, reply_rule

FAR, YOU = Owner.FAR_SIDE, Owner.YOU
_ROWS: Final = (28,)
_LOG_IN_AGAIN: Final = 'log on again: bridgehead oauth login "{connector}"'

IDENTITY: Final[list[ReplyRule]] = [
    reply_rule(
        "oauth-wrong-secret", _ROWS, YOU, r"AADSTS7000215\b",
        "Microsoft Entra does not know the client secret: it is wrong, or the secret's id was entered in place of its "
        "value.",
        'make a new secret (Entra, App registrations, Certificates & secrets) and put its Value into the file that '
        'client_secret of "{connector}" names; it is read at the next request',
    ),
    reply_rule(
        "oauth-secret-expired", _ROWS, YOU, r"AADSTS7000222\b",
        "The client secret has expired.",
        'make a new secret (Entra, App registrations, Certificates & secrets) and put its Value into the file that '
        'client_secret of "{connector}" names; set client_secret_expires to be warned in time',
    ),
    reply_rule(
        "oauth-application-unknown", _ROWS, YOU, r"AADSTS700016\b|AADSTS7000229\b|OAuth client was not found"
        r"|deleted_client|invalid_client\b(?!.*AADSTS).*not found",
        "The provider knows no application with this client_id in this directory.",
        'correct client_id or tenant of "{connector}"; consent first to an application of another tenant',
    ),
    reply_rule(
        "oauth-application-disabled", _ROWS, YOU, r"AADSTS7000112\b|disabled_client",
        "The application is disabled in the directory.",
        "enable it (Entra, Enterprise applications, Properties, Enabled for users to sign in)",
    ),
    reply_rule(
        "oauth-tenant-unknown", _ROWS, YOU, r"AADSTS90002\b|AADSTS900023\b|AADSTS50059\b|AADSTS900021\b",
        "There is no such tenant.",
        'set tenant of "{connector}" to the Directory (tenant) ID that Entra shows, or to a domain of the directory',
    ),
    reply_rule(
        "oauth-consent-missing", _ROWS, YOU, r"AADSTS65001\b|AADSTS65004\b|consent_required|AADSTS90094\b",
        "Nobody has consented to what the application asks for.",
        "have an administrator grant consent (Entra, App registrations, API permissions, Grant admin consent)",
    ),
    reply_rule(
        "oauth-scope", _ROWS, YOU,
        r"AADSTS70011\b|AADSTS1002012\b|AADSTS28000\b|AADSTS500011\b|AADSTS650053\b|invalid_scope",
        "The provider knows no such scope for this grant.",
        'remove scopes of "{connector}"; the preset fits Exchange Online and Gmail (an application asks for '
        "https://outlook.office365.com/.default)",
    ),
    reply_rule(
        "oauth-conditional-access", _ROWS, YOU, r"AADSTS5300[0-4]\b|AADSTS53011\b|AADSTS530003\b",
        "The log-on is right but a Conditional Access policy of the tenant bars it.",
        "exclude this application or account from the policy (Entra, Sign-in logs, Conditional Access names it), or "
        "allow our address as a named location",
    ),
    reply_rule(
        "oauth-assertion-key", _ROWS, YOU,
        r"AADSTS700027\b|AADSTS700030\b|AADSTS7000110\b|Invalid JWT Signature|invalid_grant\b.*signature",
        "The provider does not know the key that signed the assertion, or the certificate there has expired.",
        'upload the certificate of "{connector}" (Entra, Certificates & secrets, Certificates), or take a new key of '
        "the service account",
    ),
    reply_rule(
        "oauth-clock", _ROWS, YOU,
        r"AADSTS700024\b|AADSTS500133\b|short-lived token|reasonable timeframe|assertion is (?:expired|not yet)",
        "The provider takes our assertion for too old or of the future: the clocks differ.",
        "set this machine's clock: timedatectl set-ntp true",
    ),
    reply_rule(
        "oauth-public-client", _ROWS, YOU, r"AADSTS7000218\b|client_secret is missing",
        "The provider wants a client secret or assertion, and none was sent.",
        'set client_secret of "{connector}", or allow public client flows (Entra, App registrations, Authentication)',
    ),
    reply_rule(
        "oauth-account-unknown", _ROWS, YOU,
        r"AADSTS50034\b|AADSTS50020\b|invalid_grant\b.*(?:Invalid email or User ID|impersonation|account not found)",
        "The directory has no such account.",
        'correct authentication_username of "{connector}"',
    ),
    reply_rule(
        "oauth-account-disabled", _ROWS, YOU, r"AADSTS50057\b|AADSTS50053\b",
        "The account is disabled or locked.",
        "enable or unlock it (Entra, Users), then " + _LOG_IN_AGAIN,
    ),
    reply_rule(
        "oauth-multi-factor", _ROWS, YOU, r"AADSTS5007[469]\b|AADSTS50158\b|AADSTS70043\b|interaction_required"
        r"|invalid_rapt",
        "The tenant wants a person to prove again who he is (multi-factor authentication, or how often to sign in).",
        _LOG_IN_AGAIN + "; an application of its own (grant = \"ClientCredentials\") is not asked",
    ),
    reply_rule(
        "oauth-refresh-token-gone", _ROWS, YOU,
        r"AADSTS70008\d?\b|AADSTS700082\b|AADSTS50173\b|AADSTS70000\d?\b|AADSTS50078\b"
        r"|token has been expired or revoked|refresh token.{0,40}(?:expired|revoked|invalid)|no refresh token",
        "The refresh token is no longer good: it expired, was revoked, or a password was changed.",
        _LOG_IN_AGAIN,
    ),
    reply_rule(
        "oauth-delegation-missing", _ROWS, YOU, r"unauthorized_client",
        "The provider does not let this client have tokens in this way.",
        "Google: allow the service account's client id with the scope https://mail.google.com/ (Admin console, "
        "Security, API controls, Domain-wide delegation); Microsoft: allow the flow in the app registration",
    ),
    reply_rule(
        "oauth-admin-policy", _ROWS, YOU,
        r"admin_policy_enforced|org_internal|\baccess_denied\b|authorization_declined",
        "The log-on was declined, or a policy of the organization bars the application.",
        "allow the application in the organization (Google: Admin console, API controls, App access control), then "
        + _LOG_IN_AGAIN,
    ),
    reply_rule(
        "oauth-code-expired", _ROWS, YOU, r"expired_token|AADSTS70020\b|code_expired",
        "Nobody entered the code in time.",
        'begin again: bridgehead oauth login "{connector}"',
    ),
    reply_rule(
        "oauth-throttled", _ROWS, FAR, r"\bHTTP 429\b|rate_limit_exceeded|temporarily_unavailable|AADSTS90055\b"
        r"|AADSTS50196\b|slow_down",
        "The identity provider asks us to come back later; the server waits as long as it says.",
        "wait; mail stays in the queue meanwhile",
    ),
    reply_rule(
        "oauth-provider-down", _ROWS, FAR, r"\bHTTP 5\d\d\b",
        "The identity provider has a fault of its own.",
        "wait; mail stays in the queue meanwhile (status.cloud.microsoft, google.com/appsstatus)",
    ),
    reply_rule(
        "oauth-client-refused", _ROWS, YOU, r"\binvalid_client\b",
        "The provider refuses client_id together with its secret or assertion.",
        'correct client_id and client_secret, or certificate_file, of "{connector}"',
    ),
    reply_rule(
        "oauth-grant-refused", _ROWS, YOU, r"\binvalid_grant\b",
        "The provider no longer honours the refresh token or assertion.",
        _LOG_IN_AGAIN + "; with a service account look at its key and at authentication_username",
    ),
]  # fmt: skip
"""What token endpoints say."""

OAUTH_LOG_ON: Final[list[ReplyRule]] = [
    reply_rule(
        "smtp-auth-disabled", _ROWS, YOU, r"SmtpClientAuthentication is disabled|5\.7\.139\b.*SmtpClientAuth",
        "SMTP AUTH is off {scope} at {who}.",
        "{smtp_auth_remedy}",
    ),
    reply_rule(
        "oauth-role-missing", _ROWS, YOU, r"lacks the role SMTP\.SendAsApp",
        "The token does not carry the application permission SMTP.SendAsApp.",
        "add it and grant admin consent (Entra, App registrations, API permissions, Office 365 Exchange Online, "
        "Application permissions, SMTP.SendAsApp), then: bridgehead oauth refresh \"{connector}\"",
    ),
    reply_rule(
        "oauth-mailbox-not-granted", _ROWS, YOU,
        r"\b535\b.*5\.7\.3\b|5\.7\.139\b|535\b.*Authentication unsuccessful",
        "{who} does not let the application or person log on as this mailbox, though the identity provider gave a "
        "token.",
        "register the application in Exchange Online with the Object ID under Enterprise applications: "
        "New-ServicePrincipal -AppId APP -ObjectId ID, then Add-MailboxPermission -Identity MAILBOX -User ID "
        "-AccessRights FullAccess; see that the mailbox exists and may use SMTP AUTH",
    ),
    reply_rule(
        "oauth-token-refused", _ROWS, YOU, r"\b535\b|\b334\b.*status|5\.7\.8\b|Username and Password not accepted",
        "{who} refuses the access token, a fresh one too.",
        'see that authentication_username of "{connector}" is the account that the token is for and that the scope '
        "covers SMTP, then: bridgehead oauth refresh \"{connector}\"",
    ),
]  # fmt: skip
"""What smart hosts say to an access token; compared before the rows for passwords."""
