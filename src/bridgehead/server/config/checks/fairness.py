# SPDX-License-Identifier: MIT
"""Checks of who has how many turns, of priorities' times, and of what the Safety Net leaves out."""

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.server.config.problem import Findings, nearest
from bridgehead.server.config.schema import Configuration


def check_fairness(configuration: Configuration, findings: Findings) -> None:
    """Names that nothing has would silently do nothing."""
    queues = configuration.queues
    seen: set[str] = set()
    for index, one in enumerate(queues.sender_weights):
        path = ("queues", "sender_weights", index, "sender")
        if problem := _sender_problem(one.sender):
            findings.error(path, problem, 'for example "user:newsletter", "news@contoso.com" or "@contoso.com"')
        elif one.sender.lower() in seen:
            findings.error(path, f'"{one.sender}" has a weight already', "give it one weight")
        seen.add(one.sender.lower())
    known = [one.name for one in configuration.send_connectors]
    known += (one.name for one in configuration.foreign_connectors)
    known.append(configuration.mailbox_store.name)
    for index, name in enumerate(queues.safety_net_excluded_connectors):
        if name not in known:
            guess = nearest(name, known)
            findings.error(
                ("queues", "safety_net_excluded_connectors", index),
                f'there is no connector "{name}"',
                f'did you mean "{guess}"?' if guess else f"known here: {', '.join(known)}",
            )


def _sender_problem(sender: str) -> str:
    if sender.startswith("user:") and len(sender) > len("user:"):
        return ""
    try:
        if sender.startswith("@"):
            parse_domain(sender[1:])
        else:
            parse_mailbox(sender)
    except AddressError as error:
        return f'"{sender}" is no login, address or domain: {error}'
    return ""
