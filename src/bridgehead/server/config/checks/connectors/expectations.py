# SPDX-License-Identifier: MIT
"""Checks of what connectors are expected to do: every expectation is one that can be tested."""

from bridgehead.admin.connector.expectations import RECEIVE, SEND, ExpectationError, domain_wanted, parse_expectation
from bridgehead.mail.limits import EXPECTATIONS
from bridgehead.routing.address_space import first_domain
from bridgehead.routing.settings import SendConnector
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_expectations(configuration: Configuration, findings: Findings) -> None:
    """The `expect` of every connector."""
    for index, receiving in enumerate(configuration.receive_connectors):
        _check(receiving.expect, RECEIVE, ("receive_connectors", index, "expect"), findings)
    for index, sending in enumerate(configuration.send_connectors):
        path: KeyPath = ("send_connectors", index, "expect")
        if _check(sending.expect, SEND, path, findings) and sending.expect:
            _check_destination(sending, path, findings)


def _check(texts: list[str], kind: str, path: KeyPath, findings: Findings) -> bool:
    """Whether all of them can be read."""
    if len(texts) > EXPECTATIONS:
        findings.error(path, f"there are {len(texts)} expectations", f"{EXPECTATIONS} at most")
        return False
    fine = True
    for index, text in enumerate(texts):
        try:
            parse_expectation(text, kind)
        except ExpectationError as error:
            findings.error((*path, index), str(error), error.remedy)
            fine = False
    return fine


def _check_destination(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    """A connector that goes by MX to everywhere is tested on the way to one domain."""
    expectations = [parse_expectation(text, SEND) for text in connector.expect]
    named = domain_wanted(expectations) or any(one.form.startswith("recipient ") for one in expectations)
    if connector.routes_by_dns and not named and not first_domain(connector.address_spaces):
        findings.error(
            path, "this connector finds hosts by MX, and no domain is named to test the way to",
            'add "domain NAME" with a domain that mail goes to',
        )  # fmt: skip
