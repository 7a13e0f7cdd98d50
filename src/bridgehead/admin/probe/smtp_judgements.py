# SPDX-License-Identifier: MIT
"""What a server's words in a test mean: its banner, its extensions, its replies to MAIL and RCPT."""

import re
from typing import Final

from bridgehead.admin.probe.conversation import Conversation
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.mail.reply import Reply
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse
from bridgehead.smtp.client_events import HelloDone

_ASTERISKS: Final = re.compile(r"\*{4,}")
_SLOW_SECONDS: Final = 5.0
_INSPECTION = "turn off SMTP inspection (Cisco: fixup, Mailguard, inspect esmtp) on the firewalls in between"


def judge_banner(step: StepBuilder, banner: str, conversation: Conversation) -> None:
    """Asterisks, a refusal, a delay."""
    first = next((line for line in conversation.lines if line.mark == "<"), None)
    step.add(*conversation.said())
    if _ASTERISKS.search(banner):
        step.warned("The banner is full of asterisks: a firewall rewrites SMTP on the way to this server", _INSPECTION)
    elif first is not None and not first.text.startswith("2"):
        step.passed(f"The banner is a refusal: {first.text}")
    elif first is not None and first.seconds > _SLOW_SECONDS:
        step.warned(
            f"The banner came only after {first.seconds:.1f} s: {banner}",
            "greylisting by delay, or the server looks up our address in vain: see to the reverse name of our address",
        )
    else:
        step.passed(f"The banner is {banner}")


def judge_hello(step: StepBuilder, event: HelloDone, conversation: Conversation) -> None:
    """Its keywords, or none at all."""
    words = [line.partition(" ")[0].upper() for line in event.reply.text.split("\n")[1:]]
    step.add(*event.reply.text.split("\n")[1:])
    if not words:
        helo_only = any(line.mark == ">" and line.text.upper().startswith("HELO") for line in conversation.lines)
        server = "knows HELO only" if helo_only else "offers no extension"
        step.warned(
            f"The server {server}: no STARTTLS, no SIZE, no DSN",
            f"it is very old, or {_INSPECTION}",
        )
        return
    size = event.extensions.size
    largest = f", messages up to {size / 1024**2:.1f} MB" if size else ""
    step.passed(f"EHLO is answered with {len(words)} keywords{largest}")


def judge_clear(step: StepBuilder, policy: TlsPolicy, hello: HelloDone, host: str) -> None:
    """What it means that the session stays in clear."""
    if policy.use is TlsUse.NEVER:
        step.noted("TLS is not used: ignore_starttls is set for this connector")
    elif hello.extensions.starttls:
        step.warned(f"{host} offers STARTTLS and refuses it; mail goes in clear", "ask its administrator")
    else:
        step.warned(
            f"{host} does not offer STARTTLS: mail goes in clear, for everybody on the way to read",
            "ask its administrator, or set require_tls = true to hold mail back instead",
        )


def certificate_remedy(reason: str) -> str:
    """What to do about a certificate that was not believed."""
    if "expired" in reason:
        return "have the owner of the server renew its certificate"
    if "only its own" in reason:
        return "have the issuer's certificate added to the chain there, or name a file that holds it in tls_ca_file"
    return "name the issuer's certificate in tls_ca_file, or have a certificate of a known authority installed there"


def judge_reply(step: StepBuilder, reply: Reply, what: str, *, guessed: bool) -> bool:
    """Whether a command of the envelope was accepted."""
    if reply.is_positive:
        step.passed(f"{what.capitalize()} is accepted: {reply}")
        return True
    if guessed:
        step.warned(
            f"The server refuses {what}: {reply}",
            "this recipient was only a guess; give one that exists with --recipient",
        )
    elif reply.is_permanent:
        step.failed(f"The server refuses {what}: {reply}", refusal_remedy(str(reply)))
    else:
        step.warned(
            f"The server puts {what} off: {reply}",
            "greylisting looks like this: try again in some minutes",
        )
    return False


def refusal_remedy(reply: str) -> str:
    """What to do about a refusal, by its words."""
    text = reply.lower()
    if "relay" in text:
        return "this server relays for those it knows: log on, or have our address or certificate allowed there"
    if "authent" in text or "5.7.57" in text:
        return "it wants a login: set smart_host_auth_mechanism and its credentials"
    if any(word in text for word in ("blocked", "listed", "reputation", "banned", "spamhaus")):
        return "our address is on a block list: see what was sent from it, then ask for removal"
    if "tls" in text:
        return "it wants TLS: remove ignore_starttls"
    return "the reply says why; ask the administrator of the server"
