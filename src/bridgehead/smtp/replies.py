# SPDX-License-Identifier: MIT
"""The catalogue of replies a server gives: code, enhanced status, fixed public text (RFC 5321 §4.2, RFC 3463).

Texts are Exchange's where it has one, so that what administrators search for keeps working. The cause of a refusal
is not told to the client but logged with the session. Only greeting, EHLO, and the acceptance of a message are made
for each session (functions at the end).
"""

from typing import Final

from bridgehead.mail.reply import Reply

# --- session --------------------------------------------------------------------------------------------
SERVICE_CLOSING: Final = Reply(221, "2.0.0", "Service closing transmission channel")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Service is shutting down")
NO_CONNECTOR: Final = Reply(554, "5.7.1", "No receive connector accepts this connection")
"""RFC 5321 §3.1: the greeting that refuses; after it only QUIT is answered."""
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.3.2", "The maximum number of concurrent connections has been exceeded")
TOO_MANY_CONNECTIONS_FROM_SOURCE: Final = Reply(
    421, "4.3.2", "The maximum number of concurrent connections has exceeded a limit, closing transmission channel"
)
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors on this connection, closing transmission channel")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "Too many commands on this connection, closing transmission channel")
TOO_MANY_LOGON_FAILURES: Final = Reply(421, "4.7.0", "Too many failed logons, closing transmission channel")
IDLE_TIMEOUT: Final = Reply(421, "4.4.1", "Connection timed out")
SESSION_TIMEOUT: Final = Reply(421, "4.4.2", "Connection exceeded its time limit")
HELLO_DOMAIN_REQUIRED: Final = Reply(501, "5.5.4", "Hello requires a domain address")
OK: Final = Reply(250, "2.0.0", "OK")
RESET: Final = Reply(250, "2.0.0", "Resetting")
HELP: Final = Reply(
    214, "2.0.0", "This server supports the following commands:\n"
    "HELO EHLO STARTTLS RCPT DATA RSET MAIL QUIT HELP AUTH BDAT NOOP VRFY EXPN",
)  # fmt: skip
CANNOT_VERIFY: Final = Reply(252, "2.1.5", "Cannot VRFY user")
EXPN_REFUSED: Final = Reply(550, "5.7.1", "Lists are not expanded here")

# --- syntax and order of commands -----------------------------------------------------------------------
COMMAND_UNRECOGNIZED: Final = Reply(500, "5.3.3", "Unrecognized command")
LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Line too long")
BARE_CR_OR_LF_IN_COMMAND: Final = Reply(500, "5.5.2", "A line must end with CR LF and hold no other CR, LF or NUL")
ARGUMENTS: Final = Reply(501, "5.5.4", "Invalid arguments")
PARAMETER_UNKNOWN: Final = Reply(555, "5.5.4", "Unsupported parameter")
BAD_SEQUENCE: Final = Reply(503, "5.5.2", "Bad sequence of commands")
SEND_HELLO_FIRST: Final = Reply(503, "5.5.2", "Send hello first")
NEED_MAIL: Final = Reply(503, "5.5.2", "Need mail command")
NOTHING_MAY_FOLLOW: Final = Reply(503, "5.5.1", "Nothing may be pipelined behind this command")
BINARY_NEEDS_BDAT: Final = Reply(503, "5.6.1", "A BINARYMIME message must be sent with BDAT")

# --- MAIL -----------------------------------------------------------------------------------------------
SENDER_OK: Final = Reply(250, "2.1.0", "Sender OK")
BAD_SENDER_SYNTAX: Final = Reply(501, "5.1.7", "Invalid address")
NOT_AUTHENTICATED: Final = Reply(530, "5.7.1", "Client was not authenticated")
SUBMIT_DENIED: Final = Reply(550, "5.7.1", "Client does not have permissions to submit to this server")
SEND_AS_DENIED: Final = Reply(550, "5.7.60", "Client does not have permissions to send as this sender")
SIGNED_BY_DEVICE: Final = Reply(
    550, "5.7.7", "The author would have to be rewritten, which breaks the DKIM signature of this message"
)  # fmt: skip
SENDER_DOMAIN_DENIED: Final = Reply(550, "5.7.1", "Client does not have permissions to send as this sender's domain")
SMTPUTF8_REQUIRED_SENDER: Final = Reply(550, "5.6.7", "The sender's address needs SMTPUTF8")
CERTIFICATE_REQUIRED: Final = Reply(550, "5.7.5", "Mail from this domain needs the domain's own client certificate")
RATE_LIMITED: Final = Reply(
    421, "4.4.2", "Message submission rate for this client has exceeded the configured limit"
)  # fmt: skip
MESSAGE_TOO_LARGE: Final = Reply(552, "5.3.4", "Message size exceeds fixed maximum message size")

# --- RCPT -----------------------------------------------------------------------------------------------
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient OK")
BAD_RECIPIENT_SYNTAX: Final = Reply(501, "5.1.3", "Invalid address")
UNABLE_TO_RELAY: Final = Reply(550, "5.7.1", "Unable to relay")
DEVICE_RECIPIENT_DENIED: Final = Reply(550, "5.7.1", "This device may not send to this recipient")
USER_UNKNOWN: Final = Reply(550, "5.1.1", "User unknown")
RESERVED_TOP_LEVEL_DOMAIN: Final = Reply(550, "5.1.4", "Recipient address reserved by RFC 2606")
RESERVED_SECOND_LEVEL_DOMAIN: Final = Reply(550, "5.1.5", "Recipient address reserved by RFC 2606")
SINGLE_LABEL_DOMAIN: Final = Reply(550, "5.1.6", "Recipient domain has only one label")
DOMAIN_REQUIRED: Final = Reply(501, "5.1.3", "The recipient's address needs a domain")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
DIRECTORY_UNAVAILABLE: Final = Reply(451, "4.3.0", "Recipients cannot be looked up now, try again later")
SMTPUTF8_REQUIRED_RECIPIENT: Final = Reply(553, "5.6.7", "The recipient's address needs SMTPUTF8")

# --- DATA, BDAT and what came with them -----------------------------------------------------------------
START_MAIL_INPUT: Final = Reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
NO_VALID_RECIPIENTS: Final = Reply(554, "5.5.1", "No valid recipients")
HEADER_TOO_LARGE: Final = Reply(552, "5.3.4", "Header size exceeds fixed maximum size")
BARE_LF: Final = Reply(550, "5.6.11", "The message holds a bare line feed, which RFC 5321 forbids")
BARE_CR: Final = Reply(550, "5.6.11", "The message holds a bare carriage return, which RFC 5321 forbids")
NUL: Final = Reply(550, "5.6.11", "The message holds a NUL octet")
HOP_COUNT: Final = Reply(554, "5.4.6", "Hop count exceeded - possible mail loop")
SEVERAL_AUTHORS: Final = Reply(550, "5.1.20", "Multiple From addresses are not allowed without Sender address")
BAD_FROM: Final = Reply(550, "5.6.0", "The From field is not as RFC 5322 has it")
SENDER_IS_OURS: Final = Reply(
    550, "5.7.26", "The sender's domain is accepted here, and neither SPF nor DKIM vouches for this message"
)  # fmt: skip
SENDER_UNCHECKED: Final = Reply(451, "4.4.3", "The sender's domain cannot be checked now, try again later")
TOO_MANY_CHUNKS: Final = Reply(554, "5.5.1", "Too many chunks")
CHUNK_OK: Final = Reply(250, "2.6.0", "Chunk received OK")
INSUFFICIENT_RESOURCES: Final = Reply(452, "4.3.1", "Insufficient system resources")
STORE_FAULT: Final = Reply(451, "4.3.0", "The message cannot be stored now, try again later")
LOCAL_ERROR_CLOSING: Final = Reply(421, "4.3.0", "Local error in processing, closing transmission channel")
LOCAL_ERROR: Final = Reply(451, "4.3.0", "Local error in processing, try again later")

# --- STARTTLS (RFC 3207) --------------------------------------------------------------------------------
READY_FOR_TLS: Final = Reply(220, "2.0.0", "SMTP server ready")
TLS_ACTIVE: Final = Reply(503, "5.5.2", "Only one STARTTLS command can be issued per session")
TLS_NOT_OFFERED: Final = Reply(502, "5.5.1", "STARTTLS is not offered here")
TLS_UNAVAILABLE: Final = Reply(454, "4.7.0", "TLS not available due to temporary reason")
MUST_STARTTLS: Final = Reply(530, "5.7.0", "Must issue a STARTTLS command first")

# --- AUTH (RFC 4954) ------------------------------------------------------------------------------------
AUTH_OK: Final = Reply(235, "2.7.0", "Authentication successful")
AUTH_FAILED: Final = Reply(535, "5.7.8", "Authentication unsuccessful")
AUTH_TEMPORARY: Final = Reply(454, "4.7.0", "Temporary authentication failure")
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")
BAD_BASE64: Final = Reply(501, "5.5.2", "Invalid base64 data")
MECHANISM_UNRECOGNIZED: Final = Reply(504, "5.5.4", "Unrecognized authentication type")
ENCRYPTION_REQUIRED: Final = Reply(538, "5.7.11", "Encryption required for requested authentication mechanism")
ALREADY_AUTHENTICATED: Final = Reply(503, "5.5.1", "Already authenticated")
AUTH_NOT_OFFERED: Final = Reply(502, "5.5.1", "AUTH is not offered here")


def greeting(banner: str, fqdn: str, date: str) -> Reply:
    """220: the connector's banner, or Exchange's form of it. `banner` may carry its own "220 " as Exchange asks.

    Args:
        date: RFC 5322 date-time.
    """
    text = banner.removeprefix("220").lstrip(" -") or f"{fqdn} ESMTP MAIL service ready at {date}"
    return Reply(220, "", text)


def hello(fqdn: str, client_ip: str, lines: list[str]) -> Reply:
    """250 to EHLO and HELO: our name, the client's address, then one keyword a line (RFC 5321 §4.1.1.1)."""
    return Reply(250, "", "\n".join([f"{fqdn} Hello [{client_ip}]", *lines]))


def queued(message_id: str, internal_message_id: int, fqdn: str) -> Reply:
    """250 to the end of a message, with its ids in Exchange's form. `message_id` must be free of controls."""
    text = f"{message_id} [InternalId={internal_message_id}, Hostname={fqdn}] Queued mail for delivery"
    return Reply(250, "2.6.0", text.lstrip())


def challenge(base64_text: str) -> Reply:
    """334 with a server challenge, base64 (RFC 4954 §4)."""
    return Reply(334, "", base64_text)
