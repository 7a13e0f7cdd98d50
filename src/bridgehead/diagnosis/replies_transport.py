# SPDX-License-Identifier: MIT
"""What errors below SMTP mean, as pasted texts have them. Data."""

from typing import Final

from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.reply_rule import ReplyRule, reply_rule

FAR, NETWORK, YOU = Owner.FAR_SIDE, Owner.NETWORK, Owner.YOU

TRANSPORT: Final[list[ReplyRule]] = [
    reply_rule(
        "connection-refused",
        (5, 9),
        FAR,
        r"connection refused|\bRefused\b.*connect",
        "Nothing listens on that port, or a firewall refuses.",
        "test it: bridgehead test smtp {target}",
    ),
    reply_rule(
        "connection-timed-out",
        (6, 7),
        NETWORK,
        r"4\.4\.1\b|4\.2\.1\b.*connect|timed out|no connection within|Unable to connect|time-?out",
        "There was no answer to the attempt to connect: a firewall drops it, or nothing is there.",
        "test it: bridgehead test smtp {target}",
    ),
    reply_rule(
        "connection-dropped",
        (8,),
        NETWORK,
        r"4\.4\.2\b|connection (?:was )?(?:dropped|lost|closed|reset)|lost connection|closed the connection",
        "The connection ended in mid-session without a reply.",
        "see where it breaks: bridgehead why with the queue's name and --transcript",
    ),
    reply_rule(
        "no-route",
        (),
        NETWORK,
        r"no route to host|network is unreachable",
        "This machine has no route to that address.",
        "look at the machine's routes",
    ),
    reply_rule(
        "tls-failed",
        (17, 21, 22),
        YOU,
        r"TLS negotiation failed|TLS handshake|handshake failure|ssl(?:v3)? alert|unsupported protocol"
        r"|no shared cipher",
        "The two sides could not agree on TLS: version, cipher or certificate.",
        "see each step: bridgehead test smtp {target}",
    ),
    reply_rule(
        "port-in-use",
        (32, 42),
        YOU,
        r"cannot listen on|Address already in use|\b10048\b|only one usage of each socket",
        "Another program already listens on the port.",
        "find it: ss -ltnp; stop it or change the connector's bindings",
    ),
]
