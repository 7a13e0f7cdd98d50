# SPDX-License-Identifier: MIT
"""Causes of a log-on that has no token to log on with, where the identity provider itself did not say why."""

from typing import Final

from bridgehead.diagnosis.facts import Evidence, Finding, How, Owner, Phase
from bridgehead.diagnosis.rule import Rule, connector_name, found, pick


def _provider_silent(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.TOKEN and one.how is How.SILENT)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"The identity provider gives no token, so that nobody can log on: {failing[-1].error}.",
        "let this server reach the provider by HTTPS, directly or through http_proxy of "
        f"{connector_name(evidence) or 'the connector'}; see: bridgehead oauth status",
        detail=connector_name(evidence),
    )


def _ours(evidence: Evidence) -> Finding | None:
    failing = pick(evidence.attempts, lambda one: one.phase is Phase.TOKEN and one.how is How.POLICY)
    if not failing:
        return None
    return found(
        evidence,
        failing,
        f"No token can be asked for: {failing[-1].error}.",
        f'mend that, then: bridgehead oauth refresh "{evidence.connector.name or "CONNECTOR"}"',
        detail=connector_name(evidence),
    )


TOKEN_RULES: Final[list[Rule]] = [
    Rule(
        "no-token-provider-unreachable", (28,), Owner.NETWORK, 60, _provider_silent,
        "the identity provider does not answer, or answers nothing of use", "HTTPS to the provider, http_proxy",
    ),
    Rule(
        "no-token-own-fault", (28,), Owner.YOU, 60, _ours,
        "a secret, key or token store of ours cannot be used", "what the error names",
    ),
]  # fmt: skip
