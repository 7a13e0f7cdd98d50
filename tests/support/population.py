# SPDX-License-Identifier: MIT
"""The directory of a small organisation, with every kind of recipient."""

from support.configuration import Settings, group, mailbox

RECIPIENTS: list[Settings] = [
    mailbox("bob", "bob@contoso.test", "robert@contoso.test"),
    mailbox("carol", "carol@contoso.test"),
    mailbox("dave", "dave@contoso.test"),
    mailbox("kept", "kept@contoso.test", forwarding_address="far@adatum.test", deliver_to_mailbox_and_forward=True),
    mailbox("away", "away@contoso.test", forwarding_address="bob@contoso.test"),
    mailbox("small", "small@contoso.test", max_receive_size=2000),
    mailbox("shy", "shy@contoso.test", require_sender_authentication=True),
    mailbox("picky", "picky@contoso.test", reject_messages_from=["pest@fabrikam.test"]),
    {
        "name": "contact",
        "type": "MailContact",
        "primary_smtp_address": "contact@contoso.test",
        "email_addresses": ["contact@contoso.test"],
        "external_email_address": "real@adatum.test",
    },
    group("team", "team@contoso.test", "bob", "carol@contoso.test", "inner"),
    group("inner", "inner@contoso.test", "dave", "bob", "contact", "team"),
]
