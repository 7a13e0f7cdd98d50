# SPDX-License-Identifier: MIT
"""A command line as the protocol log may show it.

A client that lost its place in a dialogue sends its password where a command belongs, so of a line that is no proper
command only a verb is shown that cannot be one; the rest is told by its length.
"""

from typing import Final

_SHOWN_WHOLE: Final = frozenset({"EHLO", "HELO", "MAIL", "RCPT", "BDAT", "VRFY", "EXPN"})
"""Commands whose arguments are addresses, names and sizes."""
_SHOWN_BARE: Final = frozenset({
    "AUTH", "DATA", "RSET", "NOOP", "QUIT", "HELP", "STARTTLS", "LHLO", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN",
    "BURL", "XCLIENT", "XFORWARD", "XSHADOW", "XPROXY", "XPROXYFROM", "XPROXYTO", "XSESSIONPARAMS", "X-EXPS",
    "X-ANONYMOUSTLS", "GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT",
})  # fmt: skip
"""Other words that begin a line, of ours, of Exchange, of other programs: shown without what follows them."""

_MECHANISMS: Final = frozenset({
    "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "SPNEGO", "EXTERNAL", "ANONYMOUS", "XOAUTH2",
    "OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512",
})  # fmt: skip


def mechanism(name: str) -> str:
    """An AUTH mechanism for the log, unless it is none and may be a password that came in its place."""
    return name if name.upper() in _MECHANISMS else f"<{len(name)} characters that are no mechanism>"


def shown(line: bytes) -> str:
    """A command line for the log, without its line end."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    verb, _, rest = text.partition(" ")
    name = verb.upper()
    if name in _SHOWN_WHOLE:
        return text
    if name not in _SHOWN_BARE:
        return f"<{len(text)} characters that are no command>"
    if not rest:
        return verb
    return f"{verb} <authentication data>" if name == "AUTH" else f"{verb} <{len(rest)} characters>"
