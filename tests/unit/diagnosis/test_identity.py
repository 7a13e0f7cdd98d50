# SPDX-License-Identifier: MIT
"""What identity providers and smart hosts say of tokens, and what is told of it."""

import pytest

from bridgehead.diagnosis.engine import diagnose
from bridgehead.diagnosis.facts import AttemptFacts, ConnectorFacts, Evidence, How, Owner, Phase
from bridgehead.diagnosis.replies import advice, meaning

SAID = {
    "HTTP 401 invalid_client AADSTS7000215: Invalid client secret provided.": "oauth-wrong-secret",
    "HTTP 401 invalid_client AADSTS7000222: The provided client secret keys are expired.": "oauth-secret-expired",
    "HTTP 400 unauthorized_client AADSTS700016: Application with identifier was not found": "oauth-application-unknown",
    "HTTP 400 invalid_request AADSTS90002: Tenant 'x' not found.": "oauth-tenant-unknown",
    "HTTP 401 invalid_client AADSTS90002: Tenant 'x' not found.": "oauth-tenant-unknown",
    "HTTP 401 invalid_client AADSTS500011: The resource principal named x was not found": "oauth-scope",
    "HTTP 401 invalid_client client not found": "oauth-application-unknown",
    "HTTP 400 invalid_grant AADSTS65001: has not consented to use the application": "oauth-consent-missing",
    "HTTP 400 invalid_scope AADSTS70011: The provided value for scope is not valid.": "oauth-scope",
    "HTTP 400 access_denied AADSTS53003: blocked by Conditional Access policies.": "oauth-conditional-access",
    "HTTP 400 invalid_grant AADSTS50034: The user account does not exist": "oauth-account-unknown",
    "HTTP 400 invalid_grant AADSTS700082: The refresh token has expired due to inactivity.": "oauth-refresh-token-gone",
    "HTTP 400 invalid_grant AADSTS50076: you must use multi-factor authentication": "oauth-multi-factor",
    "HTTP 401 invalid_client AADSTS700027: Client assertion failed signature validation": "oauth-assertion-key",
    "HTTP 401 invalid_client AADSTS700024: Client assertion is not within its valid time": "oauth-clock",
    "HTTP 401 invalid_client AADSTS7000218: The request body must contain": "oauth-public-client",
    "HTTP 400 invalid_grant Token has been expired or revoked.": "oauth-refresh-token-gone",
    "HTTP 400 invalid_grant Invalid JWT Signature.": "oauth-assertion-key",
    "HTTP 400 invalid_grant Invalid JWT: Token must be a short-lived token (60 minutes)": "oauth-clock",
    "HTTP 401 unauthorized_client Client is unauthorized to retrieve access tokens": "oauth-delegation-missing",
    "HTTP 401 invalid_client The OAuth client was not found.": "oauth-application-unknown",
    "HTTP 401 invalid_client Unauthorized": "oauth-client-refused",
    "HTTP 400 invalid_grant Bad Request": "oauth-grant-refused",
    "HTTP 429": "oauth-throttled",
    "HTTP 503": "oauth-provider-down",
}
LOG_ONS = {
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.": (
        "smtp-auth-disabled", "Set-TransportConfig",
    ),
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.": (
        "smtp-auth-disabled", "Set-CASMailbox",
    ),
    "535 5.7.3 Authentication unsuccessful [AM6P.EURPRD]": ("oauth-mailbox-not-granted", "New-ServicePrincipal"),
    "535 5.7.3 Authentication unsuccessful (the token lacks the role SMTP.SendAsApp)": (
        "oauth-role-missing", "grant admin consent",
    ),
    "535 5.7.8 Username and Password not accepted.": ("oauth-token-refused", "authentication_username"),
    "550 5.7.30 Basic authentication is not supported": ("basic-authentication-retired", "OAuth"),
    "430 4.2.0 STOREDRV; mailbox logon failure": ("mailbox-not-opened", "Add-MailboxPermission"),
    "432 4.3.2 Concurrent connections limit exceeded": ("recipient-thread-limit", "max_outbound_connections"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "cause"), SAID.items())
def test_what_a_provider_said(line: str, cause: str) -> None:
    found = meaning(line)
    assert found is not None
    assert found.id == cause
    says, remedy = advice(line, connector="Cloud", who="login.test")
    assert says
    assert remedy
    assert "{" not in says + remedy


@pytest.mark.parametrize(("line", "expected"), LOG_ONS.items())
def test_what_a_smart_host_said(line: str, expected: tuple[str, str]) -> None:
    cause, words = expected
    found = meaning(line, oauth=True)
    assert found is not None
    assert found.id == cause
    assert words in advice(line, connector="Cloud", who="smtp.test", oauth=True)[1]


def test_a_password_that_is_refused_is_still_told_as_one() -> None:
    found = meaning("535 5.7.8 Username and Password not accepted.")
    assert found is not None
    assert found.id == "login-refused"


@pytest.mark.parametrize(
    "line",
    [
        "550 5.1.1 account not found", "550 5.1.1 The email account that you tried to reach does not exist",
        "554 5.7.1 Access denied", "451 4.7.1 Try again later", "550 5.7.1 bad signature",
    ],
)  # fmt: skip
def test_other_refusals_are_not_taken_for_those_of_providers(line: str) -> None:
    found = meaning(line)
    assert found is None or not found.id.startswith("oauth-")


def attempt(how: How, text: str = "", error: str = "it broke", phase: Phase = Phase.TOKEN) -> AttemptFacts:
    return AttemptFacts(queue="Cloud/x", phase=phase, how=how, time=1.0, text=text, error=error, host="smtp.test")


def test_causes_of_sessions_without_a_token() -> None:
    connector = ConnectorFacts(name="Cloud", oauth=True)
    for one, cause, owner in (
        (attempt(How.REPLY, "HTTP 401 AADSTS7000215: wrong"), "oauth-wrong-secret", Owner.YOU),
        (attempt(How.SILENT), "no-token-provider-unreachable", Owner.NETWORK),
        (attempt(How.POLICY), "no-token-own-fault", Owner.YOU),
        (attempt(How.REPLY, "535 5.7.3 Authentication unsuccessful", phase=Phase.AUTH), "oauth-mailbox-not-granted",
         Owner.YOU),
    ):  # fmt: skip
        causes = diagnose(Evidence(now=2.0, attempts=[one], connector=connector))
        assert [(found.id, found.owner) for found in causes] == [(cause, owner)]


def test_what_a_provider_answers_now_counts_however_often_it_answered_otherwise() -> None:
    """The secret was mended, and consent is missing: forty sessions that met the former must not outvote three."""
    attempts = [
        AttemptFacts(
            queue="Cloud/x", phase=Phase.TOKEN, how=How.REPLY, time=time, count=count, host="login.test",
            text=f"HTTP 401 AADSTS{code} Trace ID: {time}", error=f"no token {time}",
        )
        for time, count, code in (
            (1.0, 40, "7000215: wrong"), (2.0, 2, "65001: no consent"), (3.0, 1, "65001: no consent")
        )
    ]  # fmt: skip
    causes = diagnose(Evidence(now=4.0, attempts=attempts, connector=ConnectorFacts(name="Cloud", oauth=True)))
    assert [one.id for one in causes] == ["oauth-consent-missing"]
    assert (causes[0].finding.agreeing, causes[0].finding.seen) == (3, 3)
