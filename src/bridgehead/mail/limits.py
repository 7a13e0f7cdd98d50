# SPDX-License-Identifier: MIT
"""Every bound on size, count, depth and time that input from outside meets and that no setting governs.

Settings (connector limits and the like) live with their rooms; what stands here holds whatever they say.
Each constant names its origin.
"""

from typing import Final

# --- SMTP lines (RFC 5321 §4.5.3.1) -------------------------------------------------------------------------
COMMAND_LINE_BYTES: Final = 2048
"""A command line with its CR LF. RFC 5321 §4.5.3.1.4 asks for 512; SMTPUTF8, AUTH= and ORCPT parameters need more."""
AUTH_LINE_BYTES: Final = 12288
"""A base64 line in an AUTH exchange, or AUTH with its initial response (RFC 4954 §4)."""
REPLY_LINE_BYTES: Final = 2048
"""One line of a remote server's reply; RFC 5321 §4.5.3.1.5 asks for 512, real servers write more."""
REPLY_LINES: Final = 128
"""Lines in one reply; an EHLO answer is the longest honest one."""
TEXT_LINE_BYTES: Final = 998
"""Longest line sent in content without BINARYMIME, without CR LF (RFC 5322 §2.1.1)."""

# --- one session -----------------------------------------------------------------------------------------------
COMMANDS_PER_SESSION: Final = 100_000
"""Commands of any kind before a session is closed with 421."""
IDLE_COMMANDS: Final = 1_000
"""NOOP, RSET, VRFY, EXPN, HELP and empty transactions in a row that bring no message."""
PIPELINE_BYTES: Final = 262_144
"""Bytes a client may send ahead of our replies before reading from it pauses."""
BDAT_CHUNKS: Final = 10_000
"""Chunks in one message (thousands of tiny chunks exhausted the memory of a peer)."""
BDAT_CHUNK_BYTES: Final = 2**31 - 1
"""Largest size a BDAT command may name."""
SKIPPED_BYTES: Final = 64 * 1024 * 1024
"""Bytes read and thrown away after a rejection, before the connection is closed."""

PROXY_HEADER_BYTES: Final = 4096
"""Addresses and TLVs of a PROXY protocol header, version 2; a proxy that passes a client certificate on needs most."""
LOGIN_NAME_CHARACTERS: Final = 256
PASSWORD_CHARACTERS: Final = 1024
LOCKOUTS_KEPT: Final = 50_000
"""Accounts and sources whose failed logons are remembered; the longest unused makes room."""
FAMILIAR_SOURCES_KEPT: Final = 20_000
"""Pairs of account and source of good logons that are remembered."""
GUESSED_ACCOUNTS_SHOWN: Final = 1000
"""Names that are remembered of the failed logons of one source."""
SOURCES_ALARMED: Final = 20
"""Sources that guess passwords with an alarm of their own at a time."""
GSS_ROUNDS: Final = 6
"""Tokens of one GSSAPI exchange; Kerberos has one, negotiating it with SPNEGO takes two more."""
TOKEN_BYTES: Final = 12_000
"""A bearer token; those of people in many groups are long, and a line of SASL has 12,288 octets."""
TOKEN_KEYS: Final = 100
"""Keys of an issuer of tokens that are kept."""
ISSUER_DOCUMENT_BYTES: Final = 256 * 1024
"""What an issuer of tokens may say of itself, or of its keys."""
ISSUER_SECONDS: Final = 10.0
"""For the whole of a request to an issuer of tokens."""
LDAP_ANSWER_BYTES: Final = 256 * 1024
"""All that an LDAP server may answer to one request; an entry in hundreds of groups has some kilobytes."""
LDAP_WAITING: Final = 200
"""Logons that wait for an LDAP directory; further ones get 454 at once."""
LDAP_ADDRESSES: Final = 500
"""Addresses of one login."""
LDAP_IDLE_SECONDS: Final = 60.0
"""A connection to an LDAP server is kept for so long: firewalls forget older ones without a word."""
LDAP_RETRY_SECONDS_MIN: Final = 1.0
LDAP_RETRY_SECONDS_MAX: Final = 30.0
"""How long an LDAP server that failed is left alone: the first time, and at most."""
LDAP_REFUSED_SECONDS_MIN: Final = 900.0
LDAP_REFUSED_SECONDS_MAX: Final = 14_400.0
"""How long a lookup password that a directory refused is not shown to it again: the first time, and at most.
Directories lock accounts after some wrong ones within half an hour or so."""
LDAP_LOGINS_KEPT: Final = 10_000
"""Logons that succeeded and are remembered for cache_time."""
RATE_CLIENTS: Final = 100_000
"""Clients whose message rate a connector remembers."""
SHARED_SLOTS: Final = 65_536
"""Names of connections, two for each, that one of several workers tells the others."""
TOLD_FAILURES: Final = 1024
TOLD_MESSAGES: Final = 32_768
"""Logons, and messages of clients with a rate, that others find told of one worker. They look before they judge, and
for messages once a second at least."""

# --- addresses and parameters (RFC 5321 §4.5.3.1, RFC 3461 §4.2, RFC 6531) ----------------------------------------
LOCAL_PART_OCTETS: Final = 315
"""RFC 5321 allows 64; Exchange's limit of 315 admits encapsulated addresses."""
DOMAIN_OCTETS: Final = 255
PATH_OCTETS: Final = 571
"""Exchange's limit for a whole address."""
ENVELOPE_ID_OCTETS: Final = 100
ORIGINAL_RECIPIENT_OCTETS: Final = 500
PARAMETERS_PER_COMMAND: Final = 16

# --- content ------------------------------------------------------------------------------------------------------
INLINE_CONTENT_BYTES: Final = 128 * 1024
"""Content up to this size lives in memory and in the queue database's row; larger goes through a file."""
STREAM_CHUNK_BYTES: Final = 256 * 1024
"""Unit in which large content is read and written."""

SUBMISSION_FILE_BYTES: Final = 150 * 1024 * 1024
"""A file in the pickup or replay directory."""
SUBMISSION_FILES_PER_POLL: Final = 1_000

# --- expansion and depth ----------------------------------------------------------------------------------------
GROUP_DEPTH: Final = 64
EXPANDED_RECIPIENTS: Final = 100_000
ALIAS_STEPS: Final = 16
"""Forwarding, contact and redirection steps followed for one recipient."""

# --- names and DNS ----------------------------------------------------------------------------------------------------
MX_RECORDS: Final = 100
ADDRESSES_PER_HOST: Final = 32
DESTINATION_ADDRESSES: Final = 64
DNS_TTL_SECONDS_MAX: Final = 86_400
DNS_CACHE_ENTRIES: Final = 20_000

# --- text from outside that is stored, logged or quoted ------------------------------------------------------------
LOGGED_TEXT: Final = 1_000
DIAGNOSTIC_TEXT: Final = 2_000
SUBJECT_TEXT: Final = 1_000
LOG_BACKLOG_BYTES: Final = 32 * 1024 * 1024
"""Lines of one log kept in memory while its disk takes none; more are lost and counted."""

# --- reports ----------------------------------------------------------------------------------------------------------
REPORTED_HEADER_BYTES: Final = 262_144
"""Header of an original that a report carries at most; Exchange's MaxHeaderSize is the same."""
ENCODED_ORIGINAL_BYTES: Final = 524_288
"""Body of an original whose header is not ASCII, which a report returns in base64 (RFC 6533 §3); more goes without."""
REPORTED_RECIPIENTS: Final = 10_000
"""Recipients that `dsn.parse` reads from one report. What we report ourselves names every recipient of the message."""
DROPPED_HEADER_BYTES: Final = 4 * 1024 * 1024
"""Header searched for internal fields when a message goes to a drop directory; far above any MaxHeaderSize in use."""
READABLE_HEADER_BYTES: Final = 32_768
"""Header of an original that the readable part of a report quotes."""
DSN_FIELDS_BYTES: Final = 8 * 1024 * 1024
"""message/delivery-status that `dsn.parse` reads."""

# --- tests of connectors ----------------------------------------------------------------------------------------------
PROBE_TEXT: Final = 1_000
"""Characters of one sentence or detail in a test's tree."""
PROBE_DETAILS: Final = 60
"""Lines of evidence in one step."""
PROBE_STEPS: Final = 200
"""Events of a probe message that a test shows, each as a step."""
PROBE_ADDRESSES: Final = 16
"""Addresses that one test connects to."""
PROBE_HOSTS: Final = 8
"""Mail hosts whose addresses one test asks each DNS server for."""
PROBE_CHAIN: Final = 10
"""Certificates of a server that a test describes."""
PROBE_SECONDS: Final = 100.0
"""A test as a whole; less than the time in which the management interface must answer."""
PROBES_AT_ONCE: Final = 4
"""Tests that operators run at the same time."""
EXPECTATIONS: Final = 50
"""Expectations of one connector."""

# --- control socket and command line ----------------------------------------------------------------------------
CONTROL_REQUEST_BYTES: Final = 1024 * 1024
CONTROL_RESPONSE_BYTES: Final = 64 * 1024 * 1024
CONTROL_CONNECTIONS: Final = 64
CONTROL_IDLE_SECONDS: Final = 300.0
ADMINISTRATORS: Final = 1_000
"""Logins of the management interface."""
TOKENS_PER_ADMINISTRATOR: Final = 100
LOGON_FAILURES_KEPT: Final = 10_000
"""Names and addresses whose failed log-ons the management interface remembers; the longest unused makes room."""
LOGONS_AT_ONCE: Final = 2
"""Passwords that are compared at a time; more wait."""
LOGONS_KEPT: Final = 1_000
"""Log-ons that are good for some minutes without another comparison."""
API_CORE_CONNECTIONS: Final = 16
"""Questions of the HTTP interface that are with the process that moves mail at a time."""
API_CORE_SECONDS: Final = 300.0
API_CONNECTIONS: Final = 128
"""Open connections of the HTTP interface, local ones and others counted apart."""
API_HEADER_BYTES: Final = 32 * 1024
"""Request line and header fields."""
API_REQUEST_SECONDS: Final = 30.0
"""From a request's first octet, or the connection's beginning, to its last."""
API_IDLE_SECONDS: Final = 30
"""A connection without a request."""
API_PROCESS_IDLE_SECONDS: Final = 600.0
"""The process of the HTTP interface without a connection."""
AUDITED_TEXT: Final = 1_000
"""Characters of one parameter in the audit log."""
AUDITED_ITEMS: Final = 100
"""Items of one list there."""
CONTROL_CONTENT_BYTES: Final = 512 * 1024
"""Octets of a message's content in one response."""
LIST_RESULTS: Final = 1_000
"""Default ResultSize of every list (Exchange)."""
LIST_WINDOW: Final = 100_000
"""Items of one list that can be reached through its parts."""

# --- monitoring -------------------------------------------------------------------------------------------------------
ALARMS: Final = 500
"""Alarms that stand at once; with more the server is past telling them apart."""
ALARM_SILENCES: Final = 500
METRIC_HOPS: Final = 5_000
"""Next hops that are counted each for itself; what comes after them is counted together."""
METRIC_CONNECTORS: Final = 1_000
METRIC_SOURCES: Final = 10_000
"""Clients told apart between two looks at who sends."""
ALARM_TEXT: Final = 500
"""Characters of an alarm's sentence, of its remedy and of a silence's reason."""
ALARM_CHANNELS_FORGOTTEN_SECONDS: Final = 86_400.0
"""After this time the end of an alarm is no longer told by a channel that could tell nobody of it."""

# --- diagnosis -------------------------------------------------------------------------------------------------------
EXPLAINED_TEXT: Final = 20_000
EXPLAINED_REPORT_BYTES: Final = 16 * 1024**2
EXPLAINED_RECIPIENTS: Final = 20
EXPLAINED_MESSAGES: Final = 5
"""Characters of an error text or report that `why` reads."""
FLIGHT_DESTINATIONS: Final = 256
"""Pairs of queue and address whose failed sessions are kept; the longest unused makes room."""
FLIGHTS_PER_DESTINATION: Final = 8
"""Failures of different kinds kept for one of them."""
FLIGHT_TRANSCRIPT_BYTES: Final = 4_096
"""Characters of one kept transcript."""
GOOD_SESSIONS: Final = 4
"""Sessions in which all went well whose beginning is kept for each of them."""
REFUSED_SOURCES: Final = 512
"""Clients whose refusals at our door are kept."""
REFUSALS_PER_SOURCE: Final = 8
CERTIFICATE_TEXT: Final = 200
CERTIFICATE_NAMES: Final = 20
CERTIFICATE_FILE_BYTES: Final = 256 * 1024
"""A certificate with its chain, or a key, in PEM."""
JUDGED_CERTIFICATES: Final = 1000
"""Certificates of servers whose worth is remembered, with their chains."""
OCSP_BYTES: Final = 64 * 1024
"""A stapled response, with the certificate of whoever signed it."""
ACME_RESPONDER_CONNECTIONS: Final = 32
ACME_RESPONDER_SECONDS: Final = 10.0
"""What an authority, or a stranger, gets of the port that answers challenges."""
ACME_STEPS: Final = 200
"""Lines of progress of one renewal that are kept."""
POLICY_REQUEST_BYTES: Final = 4_096
POLICY_REQUEST_SECONDS: Final = 10.0
POLICY_CONNECTIONS: Final = 100
"""What clients get of the port that serves our own MTA-STS policies."""
OPENING_PIECES: Final = 40
"""Pieces of a session's beginning that are kept until its first message."""
OPENING_PIECE_BYTES: Final = 2_048

# --- filters and actions of administrators -----------------------------------------------------------------------
FILTER_CHARACTERS: Final = 4_096
FILTER_COMPARISONS: Final = 100
FILTER_DEPTH: Final = 32
REASON_TEXT: Final = 500
"""Why an administrator did something, as it is kept and shown."""
ACTION_BATCH: Final = 200
"""Queued messages that an action changes in one step; other mail goes on between steps."""
ACTION_SAMPLE: Final = 20
"""Messages that a dry run names."""
ACTION_TARGETS: Final = 1_000
"""Messages that one action names by id; more are named by a filter."""
ACTIONS_KEPT: Final = 10_000
CONFIGURATIONS_KEPT: Final = 200
"""Configurations of the past by which stories of messages are told."""
CONFIGURATION_CHANGES_KEPT: Final = 5_000
"""Times at which one of them came into force."""
STANDING_RULES: Final = 100
"""Standing rules at a time: each is compared with every message that enters a delivery queue."""

# --- trace ------------------------------------------------------------------------------------------------------------
TRACE_LINE_BYTES: Final = 64 * 1024 * 1024
"""A line of a tracking log; one with 100,000 recipients has some megabytes."""
TRACE_TEXT: Final = 2_000
"""Characters of one criterion of a search."""
TRACE_RESULTS: Final = 5_000
"""Messages on one page of a search."""
TRACE_ANSWER_BYTES: Final = 48 * 1024 * 1024
"""What a search may answer, as JSON."""
TRACE_SECONDS: Final = 120.0
"""How long a search may take; one without index in a folder of many gigabytes does."""
TRACES_AT_ONCE: Final = 2
TRANSCRIPT_LINES: Final = 400
"""Lines of protocol log that the story of one attempt quotes."""
TRANSCRIPT_SESSIONS: Final = 50
"""Sessions whose protocol log one story looks up."""
LINKED_MESSAGES: Final = 50
"""Reports and other messages that one story is linked with."""

# --- message authentication -------------------------------------------------------------------------------------------
TXT_RECORDS: Final = 100
"""TXT records of one name that are looked at."""
IMPLICIT_HANDSHAKES: Final = 1000
"""TLS handshakes under way on one binding for implicit TLS; more clients wait to be accepted."""
TLS_SESSIONS: Final = 1000
"""Sessions that a client context remembers to take up again."""
SECRET_BYTES: Final = 16 * 1024
"""A password, token or key by reference; the longest are tokens."""
SPF_LOOKUPS: Final = 10
"""Mechanisms and modifiers that ask DNS, in one evaluation (RFC 7208 §4.6.4)."""
SPF_VOID_LOOKUPS: Final = 2
"""Look-ups that find nothing, in one evaluation (RFC 7208 §4.6.4)."""
SPF_NAMES_PER_LOOKUP: Final = 10
"""Exchanges of an `mx`, names of a `ptr` (RFC 7208 §4.6.4)."""
SPF_RECORD_BYTES: Final = 16 * 1024
SPF_TERMS: Final = 500
"""Terms of one record."""
DKIM_SIGNATURES: Final = 5
"""Signatures of one message that are looked at."""
DKIM_SIGNATURE_BYTES: Final = 16 * 1024
"""One DKIM-Signature field."""
DKIM_SIGNED_FIELDS: Final = 200
"""Names in h=."""
DKIM_KEY_BYTES: Final = 4096
"""A key record."""
DKIM_KEY_BITS_MIN: Final = 1024
"""RSA keys below are no signature at all (RFC 8301 §3.2)."""
DKIM_KEY_BITS_MAX: Final = 8192
DMARC_TREE_WALK: Final = 8
"""DNS queries of one tree walk."""
FROM_FIELD_BYTES: Final = 8192
"""Octets of a From field that are read."""
FROM_ADDRESSES: Final = 20
"""Addresses of a From field that are looked at."""
DEVICES_COUNTED: Final = 10_000
"""Devices whose counts are kept, those that are configured no longer included."""
UNKNOWN_SENDERS_SHOWN: Final = 200
"""Clients that send without being a device, in an inventory."""
AUTHOR_PHRASE_BYTES: Final = 500
"""A display name in From that is kept when the address behind it is rewritten."""

# --- policies of recipient domains ------------------------------------------------------------------------------------
TLSA_RECORDS: Final = 32
"""Usable TLSA records of one host that are looked at."""
TLSA_DATA_BYTES: Final = 16 * 1024
"""A certificate or key within a TLSA record."""
CHAIN_CERTIFICATES: Final = 10
"""Certificates of a chain whose signatures are checked."""
STS_POLICY_BYTES: Final = 64 * 1024
"""An MTA-STS policy (RFC 8461 §3.3 suggests this bound)."""
STS_HEADER_BYTES: Final = 16 * 1024
"""What a policy host may say before the policy."""
STS_MX_PATTERNS: Final = 500
STS_MAX_AGE_SECONDS: Final = 31_557_600
"""RFC 8461 §3.2."""
STS_FETCH_SECONDS: Final = 30.0
"""For the whole of a fetch, from the name to the last octet (RFC 8461 §3.3: a minute is enough)."""
POLICY_DOMAINS: Final = 50_000
"""Recipient domains whose policy, and whose best TLS, is remembered."""
DOWNGRADE_ALARMS: Final = 100
"""Domains that stand in an alarm of their own at a time."""

# --- tokens for smart hosts -------------------------------------------------------------------------------------------
HTTP_HEADER_BYTES: Final = 32 * 1024
"""What a server may say before the body of its answer."""
HTTP_ANSWER_BYTES: Final = 256 * 1024
"""The body of an answer; those of token endpoints have some kilobytes."""
TOKEN_CHARACTERS: Final = 12 * 1024
"""An access or refresh token: what fits into one line of AUTH in base64 (RFC 4954 §4)."""
TOKEN_SECONDS_MAX: Final = 86_400.0
"""A token counts as expired after this time, however long its provider says it lives."""
SECRET_DOCUMENT_BYTES: Final = 64 * 1024
"""A key file, a service account's JSON."""
TOKEN_STORE_BYTES: Final = 4 * 1024 * 1024
RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""How long an identity provider may ask us to wait."""

# --- TLS reports (RFC 8460) -------------------------------------------------------------------------------------------
TLS_REPORT_MAIL_BYTES: Final = 4 * 1024 * 1024
"""A message with a report in it; larger ones are not read."""
TLS_REPORT_BYTES: Final = 8 * 1024 * 1024
"""A report, decompressed; RFC 8460 §3 leaves the bound to the receiver."""
TLS_REPORT_POLICIES: Final = 1_000
TLS_REPORT_FAILURES: Final = 5_000
"""Kinds of failure of all policies of one report that are kept."""
TLS_REPORT_TEXT: Final = 500
TLS_REPORTED_DOMAINS: Final = 20_000
"""Recipient domains of a day whose sessions are counted."""
TLS_REPORTED_FAILURES: Final = 200
"""Kinds of failure of a domain and day that are told apart."""
TLS_REPORTS_KEPT: Final = 10_000
"""Reports of others that are kept."""
TLS_REPORT_ADDRESSES: Final = 5
"""Addresses that one domain's reports are sent to."""

WORKERS: Final = 32
"""Processes that move mail."""
