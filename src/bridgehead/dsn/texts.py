# SPDX-License-Identifier: MIT
"""Plain language for enhanced status codes (RFC 3463): what happened, and what the sender can do about it.

The most specific text wins: the whole code, then class and subject ("5.1"), then the class alone.
"""

from typing import Final

import msgspec

from bridgehead.mail.delivery_status import Action


class Explanation(msgspec.Struct, frozen=True):
    """What a sender reads.

    Attributes:
        problem: what happened, one or two sentences.
        advice: what to do, "" where there is nothing to do.
    """

    problem: str
    advice: str = ""


HEADLINES: Final = {
    Action.FAILED: "Your message could not be delivered to these recipients:",
    Action.DELAYED: "Your message has not reached these recipients yet:",
    Action.DELIVERED: "Your message was delivered to these recipients:",
    Action.RELAYED: "Your message was handed to the mail servers of these recipients. Those servers do not confirm "
    "delivery, so no further notice may come:",
    Action.EXPANDED: "Your message was delivered to these groups and passed on to their members:",
}

SUBJECTS: Final = {
    Action.FAILED: "Undeliverable",
    Action.DELAYED: "Delivery delayed",
    Action.DELIVERED: "Delivered",
    Action.RELAYED: "Relayed",
    Action.EXPANDED: "Expanded",
}

_CHECK_ADDRESS: Final = "Check the address for mistakes and send the message again."
_ASK_ADMIN: Final = "If this goes on, ask your mail administrator for help and show this report."
_ASK_OTHER: Final = "Ask the recipient, by other means, to have their mail administrator look at this report."
_STILL_TRYING: Final = "You do not need to send the message again; delivery is still being attempted."

_TEXTS: Final[dict[str, Explanation]] = {
    "2": Explanation("Delivery succeeded."),
    "4": Explanation("Delivery is delayed by a problem that is expected to pass.", _STILL_TRYING),
    "5": Explanation("The message was refused for good.", _ASK_ADMIN),
    # --- transient ---
    "4.1": Explanation("The address could not be checked just now.", _STILL_TRYING),
    "4.2": Explanation("The recipient's mailbox cannot take mail at the moment.", _STILL_TRYING),
    "4.2.2": Explanation("The recipient's mailbox is full.", _STILL_TRYING),
    "4.3": Explanation("The receiving mail system has a temporary problem.", _STILL_TRYING),
    "4.3.1": Explanation("The receiving mail system is short of resources at the moment.", _STILL_TRYING),
    "4.3.2": Explanation("The receiving mail system does not take messages at the moment.", _STILL_TRYING),
    "4.4": Explanation("The recipient's mail server cannot be reached at the moment.", _STILL_TRYING),
    "4.4.0": Explanation("The recipient's mail server answered with a temporary error.", _STILL_TRYING),
    "4.4.1": Explanation("The recipient's mail server does not answer.", _STILL_TRYING),
    "4.4.2": Explanation("The connection to the recipient's mail server broke off.", _STILL_TRYING),
    "4.4.3": Explanation("The recipient's domain cannot be looked up at the moment.", _STILL_TRYING),
    "4.4.7": Explanation("The message has been waiting for some time and is not delivered yet.", _STILL_TRYING),
    "4.5.3": Explanation("The message has more recipients than the receiving server takes at once.", _STILL_TRYING),
    "4.7": Explanation("The recipient's mail server does not accept the message just yet.", _STILL_TRYING),
    # --- addresses ---
    "5.1": Explanation("There is a problem with the recipient's address.", _CHECK_ADDRESS),
    "5.1.0": Explanation("The sender or recipient address was refused.", _ASK_ADMIN),
    "5.1.1": Explanation("The address does not exist.", _CHECK_ADDRESS),
    "5.1.2": Explanation("The recipient's domain does not exist or takes no mail.", _CHECK_ADDRESS),
    "5.1.3": Explanation("The recipient's address is not written correctly.", _CHECK_ADDRESS),
    "5.1.4": Explanation("The recipient's domain ends in a name that is reserved for tests.", _CHECK_ADDRESS),
    "5.1.5": Explanation("The recipient's domain is one that is reserved for examples.", _CHECK_ADDRESS),
    "5.1.6": Explanation(
        "The recipient's domain is a single word, or the mailbox has moved and left no new address.", _CHECK_ADDRESS
    ),
    "5.1.7": Explanation("The sender's address is not valid or not known.", _ASK_ADMIN),
    "5.1.8": Explanation("The sender's address is not allowed to send this message.", _ASK_ADMIN),
    "5.1.10": Explanation("The address was not found in the recipient's organization.", _CHECK_ADDRESS),
    # --- mailboxes ---
    "5.2": Explanation("The recipient's mailbox does not take this message.", _ASK_OTHER),
    "5.2.1": Explanation("The recipient's mailbox takes no mail, or the message was put into quarantine.", _ASK_OTHER),
    "5.2.2": Explanation("The recipient's mailbox is full.", "Try again later, or tell the recipient by other means."),
    "5.2.3": Explanation(
        "The message is larger than this recipient accepts.",
        "Send it with smaller attachments, or share them as a link.",
    ),
    "5.2.4": Explanation("The distribution list could not be expanded.", _ASK_ADMIN),
    # --- mail systems ---
    "5.3": Explanation("The receiving mail system could not process the message.", _ASK_ADMIN),
    "5.3.0": Explanation("The mail system met too many errors with this message.", _ASK_ADMIN),
    "5.3.2": Explanation("The receiving mail system does not take messages.", _ASK_OTHER),
    "5.3.3": Explanation("The recipient's mail server cannot do what this message needs.", _ASK_OTHER),
    "5.3.4": Explanation(
        "The message is larger than a mail server on its way accepts.",
        "Send it with smaller attachments, or share them as a link.",
    ),
    "5.3.5": Explanation("A mail server on the way is configured wrongly and would send to itself.", _ASK_ADMIN),
    # --- network and routing ---
    "5.4": Explanation("The message could not be brought to the recipient's mail server.", _ASK_ADMIN),
    "5.4.1": Explanation("The recipient's mail server does not take mail for this address.", _CHECK_ADDRESS),
    "5.4.4": Explanation("The recipient's domain does not exist, or no mail server is known for it.", _CHECK_ADDRESS),
    "5.4.6": Explanation("The message went in circles between mail servers.", _ASK_ADMIN),
    "5.4.7": Explanation(
        "Delivery was attempted for as long as it is allowed to, without success. No more attempts will be made.",
        "Send the message again later, or tell the recipient by other means.",
    ),
    "5.4.8": Explanation("The message went in circles between mail servers.", _ASK_ADMIN),
    # --- protocol and content ---
    "5.5": Explanation("The mail servers did not understand each other.", _ASK_ADMIN),
    "5.5.2": Explanation("The mail servers did not understand each other.", _ASK_ADMIN),
    "5.5.3": Explanation("The message has too many recipients.", "Send it to fewer recipients at a time."),
    "5.5.4": Explanation("The mail servers did not understand each other.", _ASK_ADMIN),
    "5.6": Explanation("The message is in a form that the recipient's mail system cannot take.", _ASK_ADMIN),
    "5.6.0": Explanation("The content of the message could not be converted for the recipient.", _ASK_ADMIN),
    "5.6.3": Explanation("The recipient's mail server cannot take the characters in this message.", _ASK_ADMIN),
    "5.6.7": Explanation("The recipient's mail server does not accept addresses with international characters."),
    "5.6.11": Explanation("The message contains characters that are not valid in mail.", _ASK_ADMIN),
    # --- security and policy ---
    "5.7": Explanation("The message was refused by a security rule.", _ASK_ADMIN),
    "5.7.1": Explanation(
        "You are not allowed to send to this recipient, or a server on the way refused to pass the message on.",
        _ASK_ADMIN,
    ),
    "5.7.3": Explanation("The mail servers could not authenticate to each other.", _ASK_ADMIN),
    "5.7.4": Explanation("The recipient's mail server does not offer the security this message requires.", _ASK_ADMIN),
    "5.7.10": Explanation("The recipient's mail server does not offer the encryption that is required.", _ASK_ADMIN),
    "5.7.23": Explanation(
        "The recipient's organization refused the message because of the sender's SPF record.", _ASK_ADMIN
    ),
    "5.7.25": Explanation("The recipient's organization refused the sending server's address.", _ASK_ADMIN),
    "5.7.26": Explanation("The recipient's organization could not confirm who sent the message.", _ASK_ADMIN),
    "5.7.57": Explanation("The sending program did not log on to the mail server.", _ASK_ADMIN),
    "5.7.64": Explanation("The recipient's organization did not recognize the sending mail server.", _ASK_ADMIN),
    "5.7.509": Explanation("The recipient's organization could not confirm who sent the message (DMARC).", _ASK_ADMIN),
    "5.7.512": Explanation("The message does not name exactly one valid sender.", _ASK_ADMIN),
}
_MAIL_FLOW_RULE: Final = Explanation("A mail flow rule of the organization refused the message.", _ASK_ADMIN)


def explanation(status: str) -> Explanation:
    """The text for an enhanced status code; every code has one."""
    if exact := _TEXTS.get(status):
        return exact
    parts = status.split(".")
    if parts[:2] == ["5", "7"] and len(parts) == 3 and parts[2].isdecimal() and 900 <= int(parts[2]) <= 999:
        return _MAIL_FLOW_RULE
    return _TEXTS.get(".".join(parts[:2])) or _TEXTS.get(parts[0]) or _TEXTS["5"]
