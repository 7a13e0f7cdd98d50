# SPDX-License-Identifier: MIT
"""The ways in which open relays were made of servers that thought they were closed, as data.

Sources: the classic relay test suites; RFC 5321 §4.1.1.3 and appendix C (source routes), RFC 1123 §5.2.16 (percent),
RFC 976 (bang paths), XCLIENT and PROXY spoofing, trust in HELO and in sender addresses.

In the texts stand: {user}@{foreign} a recipient outside of our domains; {sender} a sender outside; {ours} a domain of
ours; {fqdn} our host name; {ip} our address as a literal without brackets.
"""

from typing import Final, NamedTuple


class Trick(NamedTuple):
    """One way.

    Attributes:
        name: for reports.
        rcpt: argument of RCPT TO:.
        mail: argument of MAIL FROM:.
        helo: name in EHLO.
        before: commands said after EHLO; their replies do not count.
        mapped: the client's address is IPv4 mapped into IPv6.
    """

    name: str
    rcpt: str = "<{user}@{foreign}>"
    mail: str = "<{sender}>"
    helo: str = "relay-test.invalid"
    before: tuple[str, ...] = ()
    mapped: bool = False


TRICKS: Final = (
    Trick("plain"),
    # --- trust in the sender
    Trick("null sender", mail="<>"),
    Trick("sender in our domain", mail="<postmaster@{ours}>"),
    Trick("sender in the recipient's domain", mail="<{user}@{foreign}>"),
    Trick("sender on our host", mail="<postmaster@{fqdn}>"),
    Trick("sender at our address", mail="<postmaster@[{ip}]>"),
    Trick("sender on localhost", mail="<postmaster@localhost>"),
    Trick("sender without domain", mail="<postmaster>"),
    Trick("AUTH= in our domain", mail="<{sender}> AUTH=postmaster@{ours}"),
    # --- trust in HELO
    Trick("HELO localhost", helo="localhost"),
    Trick("HELO our name", helo="{fqdn}"),
    Trick("HELO our domain", helo="{ours}"),
    Trick("HELO our address", helo="[{ip}]"),
    # --- trust in what a client says of itself
    Trick("XCLIENT", before=("XCLIENT ADDR=127.0.0.1 LOGIN=postmaster",)),
    Trick("XFORWARD", before=("XFORWARD ADDR=127.0.0.1 SOURCE=LOCAL",)),
    Trick("client address mapped into IPv6", mapped=True),
    Trick("PROXY", before=("PROXY TCP4 127.0.0.1 127.0.0.1 50000 25",)),
    # --- percent
    Trick("percent at our domain", "<{user}%{foreign}@{ours}>"),
    Trick("percent at our host", "<{user}%{foreign}@{fqdn}>"),
    Trick("percent at our address", "<{user}%{foreign}@[{ip}]>"),
    Trick("percent without domain", "<{user}%{foreign}>"),
    Trick("percent, quoted, at our domain", '<"{user}%{foreign}"@{ours}>'),
    # --- quoted @
    Trick("quoted @ without domain", '<"{user}@{foreign}">'),
    Trick("quoted @ at our domain", '<"{user}@{foreign}"@{ours}>'),
    Trick("quoted @ at our address", '<"{user}@{foreign}"@[{ip}]>'),
    Trick("escaped @ at our domain", "<{user}\\@{foreign}@{ours}>"),
    Trick("quoted local part", '<"{user}"@{foreign}>'),
    # --- two @
    Trick("two @, ours last", "<{user}@{foreign}@{ours}>"),
    Trick("two @, our address last", "<{user}@{foreign}@[{ip}]>"),
    Trick("two @, ours first", "<{user}@{ours}@{foreign}>"),
    # --- source routes
    Trick("source route through our domain", "<@{ours}:{user}@{foreign}>"),
    Trick("source route through our host", "<@{fqdn}:{user}@{foreign}>"),
    Trick("source route through our address", "<@[{ip}]:{user}@{foreign}>"),
    Trick("source route of two hops", "<@{ours},@{fqdn}:{user}@{foreign}>"),
    Trick("source route and percent", "<@{ours}:{user}%{foreign}@{ours}>"),
    # --- bang paths
    Trick("bang path", "<{foreign}!{user}>"),
    Trick("bang path at our domain", "<{foreign}!{user}@{ours}>"),
    Trick("bang path at our address", "<{foreign}!{user}@[{ip}]>"),
    Trick("bang path and percent", "<{ours}!{user}%{foreign}>"),
    # --- names that look like ours
    Trick("our domain in front of a foreign one", "<{user}@{ours}.{foreign}>"),
    Trick("our domain behind other letters", "<{user}@relay-test-{ours}>"),
    Trick("foreign domain with a last dot", "<{user}@{foreign}.>"),
    Trick("foreign domain in capitals", "<{user}@{FOREIGN}>"),
    # --- address literals
    Trick("foreign address", "<{user}@[192.0.2.1]>"),
    Trick("foreign IPv6 address", "<{user}@[IPv6:2001:db8::1]>"),
    Trick("foreign address mapped into IPv6", "<{user}@[IPv6:::ffff:192.0.2.1]>"),
    # --- exceptions
    Trick("postmaster elsewhere", "<postmaster@{foreign}>"),
    Trick("abuse elsewhere", "<abuse@{foreign}>"),
    Trick(
        "behind a recipient that is accepted", before=("MAIL FROM:<{sender}>", "RCPT TO:<postmaster@{ours}>"), mail=""
    ),
    # --- syntax
    Trick("without brackets", "{user}@{foreign}"),
    Trick("space in front of the path", " <{user}@{foreign}>"),
    Trick("ORCPT in our domain", "<{user}@{foreign}> ORCPT=rfc822;postmaster@{ours}"),
)
